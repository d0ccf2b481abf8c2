"""Failures of whole groups of processes or actions, as exceptions."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["ActionsFailed", "ProcessesFailed"]


class _GroupFailed(Exception):
    """A pickled one keeps its text only: processes hold locks and threads of the interpreter that made them."""

    _text: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), str(self))


class ProcessesFailed(_GroupFailed):
    """Raised when some processes failed; its text is the dump of each.

    :param processes: the failed processes, kept in attribute `processes`.
    """

    def __init__(self, processes: Iterable[Any]) -> None:
        super().__init__(processes)
        self.processes = processes

    def __str__(self) -> str:
        if self._text is not None:
            return self._text
        dumps = "".join(f" {process.dump()}\n" for process in self.processes)
        return f"<ProcessesFailed> - failed process(es):\n{dumps}"


class ActionsFailed(_GroupFailed):
    """Raised when some actions failed; its text is one line for each.

    :param actions: the failed actions, kept in attribute `actions`.
    """

    def __init__(self, actions: Iterable[Any]) -> None:
        super().__init__(actions)
        self.actions = actions

    def __str__(self) -> str:
        if self._text is not None:
            return self._text
        lines = "".join(f" {action}\n" for action in self.actions)
        return f"<ActionsFailed> - failed action(s):\n{lines}"


def _unpickled(kind: type[ProcessesFailed | ActionsFailed], text: str) -> _GroupFailed:
    failure = kind([])
    failure._text = text
    return failure
