"""Waiting for text in the output of a process.

The I/O thread only stores what comes and wakes who waits; the search runs in the thread that called `expect`, so a slow
regular expression slows nobody else.  A thread searches all that has come since its last match each time it is woken: while it searches,
more comes, so the number of searches stays small also for much output.
"""

from __future__ import annotations

import re
import threading
import time

from ..time_utils import get_seconds
from .output import ProcessOutputHandler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeAlias

    from .state import Duration

    Regex: TypeAlias = "str | re.Pattern[str]"
    Regexes: TypeAlias = "Regex | Iterable[Regex]"


def compile_regexes(regexes: Regexes) -> list[re.Pattern[str]]:
    """One or several regular expressions; a string is compiled with MULTILINE."""
    if isinstance(regexes, (str, re.Pattern)):
        regexes = [regexes]
    compiled = []
    for regex in regexes:
        if isinstance(regex, str):
            regex = re.compile(regex, re.MULTILINE)
        elif not isinstance(getattr(regex, "pattern", None), str):
            raise TypeError(f"expect needs regular expressions for text, as str or compiled, not {regex!r}")
        compiled.append(regex)
    return compiled


def first_match(regexes: list[re.Pattern[str]], text: str) -> tuple[int, re.Match[str]] | None:
    """The match that begins first; at the same place, that of the first regex of the list.  With its index."""
    best = None
    for index, regex in enumerate(regexes):
        match = regex.search(text)
        if match is not None and (best is None or match.start() < best[1].start()):
            best = index, match
    return best


class _Stream:
    """What has come on one stream and was not consumed by a match."""

    __slots__ = ("ended", "new", "text")

    def __init__(self, text: str = "") -> None:
        self.text = text                    # belongs to who searches
        self.new: list[str] = []            # under the handler's condition
        self.ended = False


class ExpectOutputHandler(ProcessOutputHandler):
    """Add it to the output handlers of one or more processes, then call its `expect` from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._came = threading.Condition(threading.Lock())
        self._searching = threading.Lock()
        self._streams: dict[tuple[Any, int], _Stream] = {}

    def attach(self, process: Any, stream: int, text: str = "") -> None:
        """Make a stream known before anything comes from it; `text` has come already."""
        with self._came:
            known = self._streams.get((process, stream))
            if known is None:
                self._streams[process, stream] = _Stream(text)
            elif text:                      # more has come meanwhile, perhaps also the end
                known.new.insert(0, text)

    def read(self, process: Any, stream: int, string: str, eof: bool, error: bool) -> None:
        with self._came:
            known = self._streams.get((process, stream))
            if known is None:
                known = self._streams[process, stream] = _Stream()
            if string:
                known.new.append(string)
            if eof or error:
                known.ended = True
            self._came.notify_all()

    def expect(self, regexes: Regexes, timeout: Duration = None) -> dict[tuple[Any, int], tuple[int, re.Match[str]]]:
        """Wait until something matches on any stream.

        :param timeout: any duration; None: no limit; 0: only look.
        :returns: `{(process, stream): (index of the regex, match)}` of all streams that match now; {} if the time is up, or if all
          streams have ended without a match.  The text of a stream is consumed up to the end of its match.
        """
        compiled = compile_regexes(regexes)
        seconds = get_seconds(timeout)
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            with self._searching:
                with self._came:
                    streams = dict(self._streams)
                    fresh = []
                    for known in streams.values():
                        fresh.append(known.new)
                        known.new = []
                    over = bool(streams) and all(known.ended for known in streams.values())
                found = {}
                for (key, known), new in zip(streams.items(), fresh, strict=True):
                    if new:
                        known.text += "".join(new)
                    match = first_match(compiled, known.text)
                    if match is not None:
                        found[key] = match
                        known.text = known.text[match[1].end():]
            if found or over:
                return found
            with self._came:
                if any(known.new for known in self._streams.values()):
                    continue
                if self._streams and all(known.ended for known in self._streams.values()):
                    continue
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return {}
                self._came.wait(None if left is None else min(left, threading.TIMEOUT_MAX))
