"""Descriptors 1 and 2 of the program, sent to files or copied to them.

Work on descriptors, not on `sys.stdout`, also catches what child processes print.  A copy goes through a pipe that a thread of ours reads,
so no other process is there to be killed by Ctrl-C, or to stay behind.  At the end of the program the descriptors are what they were, and
all that was printed until then is in the files.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import sys
import termios
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    StrPath = str | os.PathLike[str]

STDOUT, STDERR = 1, 2
_CHUNK = 65536
_STRAGGLERS = 1 << 20
"""At the end at most this many bytes are still read: a child that was left behind may print for ever."""
_PTY_GRACE = 0.1
"""Seconds without output after which a terminal is taken to be empty: the kernel hands its output on with a delay."""

_PATIENCE = 2.0
"""Seconds that the copies still get when Ctrl-C comes while they end."""


def redirect_outputs(stdout_filename: StrPath, stderr_filename: StrPath) -> None:
    """From now on standard output and standard error, of this program and of the children it starts, are appended to these files.

    Both may be the same file.  It takes the place of what `copy_outputs` did.

    :raises OSError: if a file cannot be opened; then nothing has changed.
    """
    files = _open_files(stdout_filename, stderr_filename)
    end_copies()
    _flush_python()
    for fd, file in zip((STDOUT, STDERR), files, strict=True):
        os.dup2(file, fd)
        os.close(file)
    _make_python_write_there()


def copy_outputs(stdout_filename: StrPath, stderr_filename: StrPath, use_pty: bool = False) -> None:
    """From now on standard output and standard error, of this program and of the children it starts, also go to these files, at their end.

    A second call takes the place of the first.  A child that outlives the program cannot print any more: redirect the output of daemons.

    :param use_pty: the program and its children see a terminal, so they print line by line, and in colour if they do that.
    :raises OSError: if a file cannot be opened; then nothing has changed.
    """
    global _copies
    files = _open_files(stdout_filename, stderr_filename)
    end_copies()
    _flush_python()
    _copies = _Copies(files, use_pty)
    _make_python_write_there()


def end_copies() -> None:
    """Write out what was printed so far, and give back the descriptors that `copy_outputs` took; nothing if it did not."""
    global _copies
    copies, _copies = _copies, None
    if copies is not None:
        _flush_python()
        copies.end()


class _Stream:
    """One descriptor that is copied: what it was before, the end of the pipe or terminal that we read, and the file."""

    def __init__(self, fd: int, file: int, use_pty: bool) -> None:
        self.fd = fd
        self.before = os.dup(fd)
        self.file = file
        self._targets = [file, self.before]
        self._begun = b""
        self.grace = _PTY_GRACE if use_pty else 0.0
        self.source, end = os.openpty() if use_pty else os.pipe()
        if use_pty:
            with contextlib.suppress(termios.error):
                _leave_line_ends_alone(end)
        os.dup2(end, fd)
        os.close(end)

    def copy(self) -> int:
        """Copy one piece; 0 at the end."""
        try:
            data = os.read(self.source, _CHUNK)
        except OSError:                     # EIO: nobody has the terminal open any more
            return 0
        # The file gets whole lines, for it may be that of the other stream too, and programs may print a line piece by piece.
        begun = self._begun + data
        complete = len(begun) if len(begun) > _CHUNK else begun.rfind(b"\n") + 1
        self._begun = begun[complete:]
        self._write(self.file, begun[:complete])
        self._write(self.before, data)
        return len(data)

    def _write(self, target: int, data: bytes) -> None:
        if target not in self._targets:
            return
        try:
            _write_all(target, data)
        except OSError as failed:           # the disk is full, or the reader of our output is gone: the other one still gets it
            self._targets.remove(target)
            _complain(self._targets, failed)

    def copy_the_rest(self) -> None:
        left = _STRAGGLERS
        while left > 0 and _readable([self.source], self.grace):
            copied = self.copy()
            if not copied:
                break
            left -= copied
        self._write(self.file, self._begun)

    def give_back(self) -> None:
        os.dup2(self.before, self.fd)

    def close(self) -> None:
        os.close(self.source)
        os.close(self.before)


class _Copies:
    """Both descriptors, and the thread that copies them: one for both, which keeps the order of what it sees at once."""

    def __init__(self, files: tuple[int, int], use_pty: bool) -> None:
        self._files = files
        self._streams: list[_Stream] = []
        self._stop, self._stopper = os.pipe()
        try:
            for fd, file in zip((STDOUT, STDERR), files, strict=True):
                self._streams.append(_Stream(fd, file, use_pty))
        except BaseException:               # too many open files: nobody would read what was taken already
            for stream in self._streams:
                stream.give_back()
            self.close()
            raise
        self._thread = threading.Thread(target=self._run, name="execo-copy-outputs", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        of = {stream.source: stream for stream in self._streams}
        while True:
            ready = _readable([self._stop, *of])
            if self._stop in ready:
                break
            for source in ready:
                if not of[source].copy():
                    del of[source]          # what is left of it comes below
        for stream in self._streams:
            stream.copy_the_rest()

    def end(self) -> None:
        for stream in self._streams:
            stream.give_back()
        os.write(self._stopper, b".")
        try:
            self._thread.join()
        except KeyboardInterrupt:           # at the very end; what was printed before is to be saved all the same
            self._thread.join(_PATIENCE)
            raise
        self.close()

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        for fd in (*self._files, self._stop, self._stopper):
            os.close(fd)


_copies: _Copies | None = None
atexit.register(end_copies)


def _after_fork_in_child() -> None:
    # The thread is the parent's; a child prints into its pipe, and must not end the copies when it exits.
    global _copies
    copies, _copies = _copies, None
    if copies is not None:
        copies.close()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _open_files(*names: StrPath) -> tuple[int, int]:
    _fill_standard_descriptors()
    opened: list[int] = []
    try:
        for name in names:
            opened.append(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666))
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    return opened[0], opened[1]


def _fill_standard_descriptors() -> None:
    # A daemon may have closed them; the next file that is opened would become its standard output.
    while (fd := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(fd, True)
    os.close(fd)


def _flush_python() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except (OSError, ValueError):   # the reader is gone, or the stream is closed: nothing is left to save
                pass


def _make_python_write_there() -> None:
    sys.stdout = _stream_on(STDOUT, sys.stdout)
    sys.stderr = _stream_on(STDERR, sys.stderr)


def _stream_on(fd: int, stream: TextIO) -> TextIO:
    """`stream`, if it writes to the descriptor (a notebook's does not), else a new one; line by line, for who watches the file."""
    try:
        there = stream.fileno() == fd
    except (AttributeError, OSError, ValueError):       # None, closed, or an object that has no descriptor
        there = False
    if not there:
        return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(line_buffering=True)
    return stream


def _leave_line_ends_alone(terminal: int) -> None:
    attributes = termios.tcgetattr(terminal)
    attributes[1] &= ~termios.OPOST         # else each LF becomes CR LF, in the file too
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)


def _readable(fds: list[int], timeout: float | None = None) -> list[int]:
    poll = select.poll()                    # select() refuses descriptors above 1023
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if timeout is None else timeout * 1000)]


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left):]
        except BlockingIOError:             # a terminal that another program made non-blocking
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


def _complain(targets: list[int], failed: OSError) -> None:
    for target in targets:
        try:
            _write_all(target, f"execo: an output is not copied any more: {failed}\n".encode())
        except OSError:
            pass
