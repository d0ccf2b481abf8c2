"""Small tools for experiments: names that are safe in a path, and files that receive the output of the program."""

from __future__ import annotations

import re
import unicodedata

from execo.utils import MAXFD

from ._outputs import copy_outputs, redirect_outputs

__all__ = ["MAXFD", "copy_outputs", "redirect_outputs", "slugify"]

for _function in (copy_outputs, redirect_outputs):
    _function.__module__ = __name__     # so that the documentation shows the public path


def slugify(value: object, separator: str = "-") -> str:
    """`value` as text of lower-case ASCII letters, digits, underscores and single separators, for names of files.

    Accents are dropped; what has no ASCII counterpart vanishes, so different values may give the same text.
    """
    ascii_only = unicodedata.normalize("NFKD", str(value)).encode("ascii", "ignore").decode("ascii")
    kept = re.sub(r"[^\w\s-]", "", ascii_only).strip().lower()
    return re.sub(rf"[{re.escape(separator)}\s]+" if separator else r"\s+", lambda _: separator, kept)
