"""Settings of the documentation: `make doc`, or `python -m sphinx -W -n -b html doc doc/_build/html`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))           # the reference is that of this tree, installed or not

from execo import __version__ as release  # noqa: E402

project = "execo"
copyright = "execo remake contributors, MIT licence"
version = release
extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
default_role = "py:obj"                 # docstrings write `name`: a link where the name is documented here, else code
nitpicky = True
smartquotes = False                     # options begin with --, and have to be copied

html_theme = "alabaster"
html_theme_options = {
    "description": "Control of thousands of local and remote Unix processes",
    "fixed_sidebar": True,
    "page_width": "1080px",
    "sidebar_width": "230px",
    "font_family": "system-ui, sans-serif",
    "head_font_family": "system-ui, sans-serif",
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True


def _plain_where_not_documented(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    # An explicit role (:class:`Process`) carries `refwarn` and is checked.  A single backquote, an annotation and a
    # `:raises:` may name what is documented elsewhere, or nowhere; so may the list of bases, by a private path.
    private = "._" in node.get("reftarget", "")
    return contnode if node.get("reftype") == "obj" or "refwarn" not in node or private else None


def setup(app: Any) -> dict[str, bool]:
    app.connect("missing-reference", _plain_where_not_documented)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
