"""``{{{host}}}`` and ``{{expression}}`` in the commands and file names of remote actions."""

from __future__ import annotations

import functools
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, FrameType
    from typing import Any, TypeAlias

    from execo.host import Host

    Context: TypeAlias = tuple[dict[str, Any], dict[str, Any]]

__all__ = ["get_caller_context", "needs_context", "remote_substitute"]

_HOST = "{{{host}}}"
_EXPRESSION = r"\{\{(.+?)\}\}"


def needs_context(string: object) -> bool:
    """Whether `remote_substitute` may evaluate an expression in `string`: if not, any context serves."""
    return isinstance(string, str) and "{{" in string.replace(_HOST, "")


def remote_substitute(string: str, all_hosts: Sequence[Host], index: int, frame_context: Context) -> str:
    """`string` for the host at `index`: ``{{{host}}}`` is its address, ``{{expr}}`` is ``expr[index % len(expr)]``.

    :param frame_context: (globals, locals) in which expressions are evaluated; not modified.
    :raises ValueError: if the value of an expression has no length or no items.

    An error inside an expression comes out as it is.
    """
    if "{{" not in string:
        return string
    string = string.replace(_HOST, all_hosts[index].address)
    if "{{" not in string:
        return string
    # One namespace, since before Python 3.12 a comprehension sees only globals; ours, since eval adds __builtins__.
    names = {**frame_context[0], **frame_context[1]}

    def item(found: re.Match[str]) -> str:
        values = eval(_compiled(found[1].strip()), names)
        if not (hasattr(values, "__len__") and hasattr(values, "__getitem__")):
            raise ValueError(f"substitution {found[0]} in {string!r}: expected a list or the like, found {values!r}")
        return str(values[index % len(values)])

    return re.sub(_EXPRESSION, item, string)


@functools.lru_cache(maxsize=1024)
def _compiled(expression: str) -> CodeType:
    # Cached: an action on 1000 hosts evaluates the same few expressions 1000 times.
    return compile(expression, f"<{{{{{expression}}}}}>", "eval")


def get_caller_context(filter_out_funcs: Sequence[str] | None = None, scope_limit_funcs: Sequence[str] = ("__init__",)) -> Context:
    """(globals, locals) of the frame that called into execo, where its strings were written.

    :param filter_out_funcs: names of functions whose frames are passed over.
    :param scope_limit_funcs: names of methods whose frames are passed over if their object is of a class that derives
        from one of execo: the constructor of a user's subclass of Remote passes on what its own caller wrote.

    The locals are a copy, the values in them are not; no frame is kept alive.  Two empty dicts if there is no such
    frame.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_passed_over(frame, filter_out_funcs or (), scope_limit_funcs):
        frame = frame.f_back
    if frame is None:
        return {}, {}
    if frame.f_locals is frame.f_globals:  # top level of a module: its variables are seen as they will be
        return frame.f_globals, frame.f_globals
    return frame.f_globals, _visible_locals(frame)


def _is_passed_over(frame: FrameType, filter_out_funcs: Sequence[str], scope_limit_funcs: Sequence[str]) -> bool:
    name = frame.f_code.co_name
    return (
        _is_of_execo(frame.f_globals.get("__name__"))
        or name in filter_out_funcs
        or (name in scope_limit_funcs and _is_method_of_execo_object(frame))
    )


def _is_of_execo(module: object) -> bool:
    return isinstance(module, str) and (module == "execo" or module.startswith("execo."))


def _is_method_of_execo_object(frame: FrameType) -> bool:
    code = frame.f_code
    if not code.co_argcount:
        return False
    first = frame.f_locals.get(code.co_varnames[0])
    return any(_is_of_execo(parent.__module__) for parent in type(first).__mro__)


def _visible_locals(frame: FrameType) -> dict[str, Any]:
    # Before Python 3.12 a comprehension has a frame of its own, without the variables of the function around it.
    code, around = frame.f_code, frame.f_back
    if code.co_name.endswith(("comp>", "expr>")) and around is not None and code in around.f_code.co_consts:
        return {**_visible_locals(around), **frame.f_locals}
    return dict(frame.f_locals)
