"""Small helpers that the other modules share."""

from __future__ import annotations

import functools
import itertools
import os
import re
import shlex
import threading

from execo.config import configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")
    N = TypeVar("N", int, float)

__all__ = [
    "MAXFD",
    "checked_min",
    "comma_join",
    "compact_output",
    "configuration",
    "do_once",
    "get_port",
    "intr_event_wait",
    "is_string",
    "memoize",
    "name_from_cmdline",
    "non_retrying_intr_cond_wait",
    "singleton_to_collection",
    "str_from_cmdline",
]

MAXFD = 20000
"""Kept for scripts that read it; the real limit of open files is the system's."""

_NAME_LENGTH = 39


def comma_join(*args: str) -> str:
    """The non-empty arguments, joined by a comma and a space."""
    return ", ".join(arg for arg in args if arg)


def compact_output(s: str) -> str:
    """`s` shortened in its middle to ``configuration['compact_output_threshold']`` characters (0: never)."""
    threshold = configuration["compact_output_threshold"]
    if not threshold or len(s) <= threshold:
        return s
    half = threshold // 2
    return s[:half] + "\n[...]\n" + s[len(s) - half :]


def str_from_cmdline(cmdline: str | Iterable[Any]) -> str:
    """A string as it is; a list as one shell-quoted line.  Anything else as `str` gives it: it never fails."""
    if isinstance(cmdline, str):
        return cmdline
    if isinstance(cmdline, bytes):
        return os.fsdecode(cmdline)
    try:
        words = list(cmdline)
    except TypeError:
        return str(cmdline)
    return shlex.join(os.fsdecode(word) if isinstance(word, bytes) else str(word) for word in words)


def name_from_cmdline(cmdline: str | Iterable[Any]) -> str:
    """A name of at most 39 characters, on one line."""
    name = re.sub(r"\s+", " ", str_from_cmdline(cmdline))
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 3] + "..."


def checked_min(a: N | None, b: N | None) -> N | None:
    """The smaller one; None stands for no limit."""
    if a is None:
        return b
    if b is None:
        return a
    return min(a, b)


def intr_event_wait(event: threading.Event, timeout: float | None = None) -> bool:
    """Whether the event was set within `timeout` seconds (None: no limit); Ctrl-C interrupts it."""
    return event.wait(_bounded(timeout))


def non_retrying_intr_cond_wait(cond: threading.Condition, timeout: float | None = None) -> bool:
    """One wait on a condition that the caller holds; False after `timeout` seconds; Ctrl-C interrupts it."""
    return cond.wait(_bounded(timeout))


def _bounded(timeout: float | None) -> float | None:
    return None if timeout is None else min(timeout, threading.TIMEOUT_MAX)


def memoize(obj: Callable[P, R]) -> Callable[P, R]:
    """Decorator: remember results by the text of the arguments, in attribute `cache` of the function."""
    cache: dict[str, R] = {}

    @functools.wraps(obj)
    def remembering(*args: P.args, **kwargs: P.kwargs) -> R:
        key = str(args) + str(kwargs)
        if key not in cache:
            cache[key] = obj(*args, **kwargs)
        return cache[key]

    remembering.cache = cache  # type: ignore[attr-defined]  # part of the contract
    return remembering


_done: dict[tuple[Any, Any], object] = {}


def do_once(key: Any, func: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Call ``func(*args, **kwargs)``, unless it was called with this key before."""
    mine = object()
    if _done.setdefault((func, key), mine) is mine:  # setdefault is atomic: one thread wins
        func(*args, **kwargs)


def _random_counter() -> itertools.count[int]:
    return itertools.count(int.from_bytes(os.urandom(4), "big"))


_ports = _random_counter()


def _restart_ports() -> None:
    global _ports
    _ports = _random_counter()


# Else a child would hand out the same ports as its parent.
os.register_at_fork(after_in_child=_restart_ports)


def get_port() -> int:
    """The next port of ``configuration['port_range']`` (its end excluded), in turn from a random start.

    Nothing tells whether the port is free.  Any thread may call it: a counter takes no lock, so a fork cannot
    leave one held in the child.
    """
    first, end = configuration["port_range"]
    if end <= first:
        raise ValueError(f"configuration['port_range'] is empty: {first, end}")
    return int(first + next(_ports) % (end - first))


def singleton_to_collection(arg: Any) -> Any:
    """An empty list for None, a list of one for a string or anything not iterable, else `arg` itself."""
    if arg is None:
        return []
    if isinstance(arg, (str, bytes)) or not hasattr(arg, "__iter__"):
        return [arg]
    return arg


def is_string(s: object) -> bool:
    """Whether `s` is a str."""
    return isinstance(s, str)
