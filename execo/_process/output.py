"""Where the output of a process goes: captured text, lines for handlers, files.

All of it runs in the I/O thread, but for the reading of captured text.  Each chunk is decoded once, by an incremental decoder, so a
character split over two reads arrives whole; files and descriptors get the bytes as they came.  Every part is linear in the size of the
output, whatever the lengths of lines and chunks.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import threading
from functools import lru_cache

from ..log import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STDOUT = 1
STDERR = 2
SEPARATORS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")


def stream_name(stream: int) -> str:
    """'STDOUT' or 'STDERR'."""
    if stream == STDOUT:
        return "STDOUT"
    if stream == STDERR:
        return "STDERR"
    raise ValueError(f"not a stream: {stream!r} (STDOUT is {STDOUT}, STDERR is {STDERR})")


@lru_cache(maxsize=1)
def encoding() -> str:
    """The encoding of the locale."""
    import locale

    return locale.getpreferredencoding(False)


class LineSplitter:
    """Lines from text that comes in pieces.  CR LF is one separator, also when it is split over two pieces."""

    __slots__ = ("_after_cr", "_begun")

    def __init__(self) -> None:
        self._begun: list[str] = []         # pieces of the line that is not complete
        self._after_cr = False              # the last piece ended in CR: its line was given, and an LF belongs to it

    def feed(self, text: str) -> list[str]:
        """Complete lines, without their separators."""
        if self._after_cr and text:
            self._after_cr = False
            if text[0] == "\n":
                text = text[1:]
        if not text:
            return []
        lines = text.splitlines()
        if text[-1] in SEPARATORS:
            self._after_cr = text[-1] == "\r"
            rest = ""
        else:
            rest = lines.pop()
        if self._begun and lines:
            self._begun.append(lines[0])
            lines[0] = "".join(self._begun)
            self._begun = []
        if rest:
            self._begun.append(rest)
        return lines

    def rest(self) -> str:
        """The line that no separator ended; forgets it."""
        rest = "".join(self._begun)
        self._begun = []
        return rest


def splitlines(s: str) -> tuple[list[str], str]:
    """The complete lines of `s` without separators, and the rest."""
    splitter = LineSplitter()
    lines = splitter.feed(s)
    return lines, splitter.rest()


class ProcessOutputHandler:
    """Derive from it, and override `read_line`, or `read` for the pieces as they come.

    Called in the I/O thread, so it must not block.  An exception is logged and does not lose any other line.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[Any, int], LineSplitter] = {}

    def read(self, process: Any, stream: int, string: str, eof: bool, error: bool) -> None:
        """Called with each piece of output, and with '' at the end.

        :param stream: STDOUT or STDERR.
        :param eof: nothing comes after this.
        :param error: nothing comes after this, because of an I/O error.
        """
        buffers = self.__dict__.setdefault("_buffers", {})      # a subclass may have forgotten the parent's __init__
        splitter = buffers.get((process, stream))
        if splitter is None:
            splitter = buffers[process, stream] = LineSplitter()
        lines = splitter.feed(string)
        if eof or error:
            rest = splitter.rest()
            if rest:
                lines.append(rest)
            del buffers[process, stream]
        read_line = self.read_line
        left = iter(lines)
        while True:
            try:
                for line in left:
                    read_line(process, stream, line)
                return
            except (Exception, SystemExit):
                _log_handler_exception(self, process)

    def read_line(self, process: Any, stream: int, string: str) -> None:
        """Called with each line, without its separator; at the end of the output also with a last line that has none."""


def _log_handler_exception(handler: object, process: object) -> None:
    # A handler that fails for each of a million lines is told once a process: the I/O thread writes the log, and has other work.
    said: set[int] = vars(process).setdefault("_failed_handlers", set()) if hasattr(process, "__dict__") else set()
    level = logging.DEBUG if id(handler) in said else logging.ERROR
    said.add(id(handler))
    logger.log(level, "exception in output handler %r of %s (further ones at level DEBUG)", handler, process, exc_info=True)


class OutputFiles:
    """Files that are named as handlers: opened for appending, shared by name, closed when the last process is through."""

    def __init__(self) -> None:
        self.forget_after_fork()

    def forget_after_fork(self) -> None:
        """Begin anew: the files of the parent are not ours to close."""
        self._open: dict[str, list[int]] = {}           # absolute name: [descriptor, users]
        self._users: dict[tuple[int, int, str], str] = {}
        self._lock = threading.Lock()

    def write(self, process: object, stream: int, name: str, data: bytes, last: bool) -> None:
        key = (id(process), stream, name)
        with self._lock:
            path = self._users.get(key)
            if path is None:
                path = os.path.abspath(name)
                if path in self._open:
                    self._open[path][1] += 1
                else:
                    self._open[path] = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666), 1]
                self._users[key] = path
            entry = self._open[path]
        try:
            write_all(entry[0], data)
        finally:
            if last:
                with self._lock:
                    del self._users[key]
                    entry[1] -= 1
                    if not entry[1]:
                        del self._open[path]
                        os.close(entry[0])


output_files = OutputFiles()
os.register_at_fork(after_in_child=output_files.forget_after_fork)


def write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left):]


def is_bytes_handler(handler: object) -> bool:
    """Does it take the bytes as they came?"""
    if isinstance(handler, (str, int, io.RawIOBase, io.BufferedIOBase, os.PathLike)):
        return True
    mode = getattr(handler, "mode", None)       # a wrapper such as tempfile's
    return isinstance(mode, str) and "b" in mode and hasattr(handler, "write")


def feed_bytes(process: object, stream: int, handler: Any, data: bytes, last: bool) -> None:
    """Give raw output to a file name, descriptor or binary file."""
    try:
        if isinstance(handler, (str, os.PathLike)):
            output_files.write(process, stream, os.fspath(handler), data, last)
        elif isinstance(handler, int):
            write_all(handler, data)
        else:
            if data:
                handler.write(data)
            if last:
                handler.flush()
    except (Exception, SystemExit):         # sys.exit() in a handler ends nobody
        _log_handler_exception(handler, process)


def feed_text(process: object, stream: int, handler: Any, text: str, eof: bool, error: bool) -> None:
    """Give decoded output to a handler object or a text file."""
    try:
        if isinstance(handler, ProcessOutputHandler):
            handler.read(process, stream, text, eof, error)
        elif not hasattr(handler, "read_line"):
            if text:
                handler.write(text)
            if (eof or error) and hasattr(handler, "flush"):
                handler.flush()
        else:                                   # looks like a handler
            handler.read(process, stream, text, eof, error)
    except (Exception, SystemExit):         # sys.exit() in a handler ends nobody
        _log_handler_exception(handler, process)


def handle_process_output(process: Any, stream: int, handler: Any, string: str, eof: bool, error: bool) -> None:
    """Give output to one handler, of whatever kind: ProcessOutputHandler, file object, file name, descriptor."""
    if is_bytes_handler(handler):
        feed_bytes(process, stream, handler, string.encode(encoding(), "surrogateescape"), eof or error)
    else:
        feed_text(process, stream, handler, string, eof, error)


class StreamOutput:
    """One output stream of one process: its decoder and the text that was captured.

    One copy is kept, as text, which the surrogateescape error handler makes exactly reversible.  Pieces are joined when somebody looks;
    joining in place keeps a loop that polls while the text grows linear.
    """

    __slots__ = ("_decode", "_lock", "_pieces", "_text")

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder(encoding())("surrogateescape").decode
        self._lock = threading.Lock()           # among readers; the I/O thread only appends, which is atomic
        self._pieces: list[str] = []
        self._text = ""

    def decode(self, data: bytes, final: bool) -> str:
        return self._decode(data, final)

    def append(self, text: str) -> None:
        self._pieces.append(text)

    def text(self, count: int | None = None) -> str:
        """What was captured; with `count`, only its first pieces that have not been joined yet."""
        with self._lock:
            return self._join(len(self._pieces) if count is None else count)

    def text_and(self, lock: threading.Lock, attach: Any) -> str:
        """The captured text up to the very moment when `attach()` was called under `lock`, which `append` is called under too."""
        with self._lock:
            with lock:
                attach()
                count = len(self._pieces)
            return self._join(count)

    def _join(self, count: int) -> str:
        if count:
            new = "".join(self._pieces[:count])
            del self._pieces[:count]
            # Nobody else refers to it, unless a caller kept it: then it grows in place.
            text, self._text = self._text, ""
            text += new
            self._text = text
        return self._text

    def replace(self, text: str) -> None:
        with self._lock:
            self._pieces.clear()
            self._text = text
