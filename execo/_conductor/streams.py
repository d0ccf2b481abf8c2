"""Reading a bounded piece, and writing without ever blocking: the two directions of a child's pipes, for the I/O thread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

CHUNK = 1 << 16             # one turn of one descriptor; the capacity of a pipe
DRAIN = 1 << 20             # read at most at a child's exit: the largest pipe that a child can ask for

Done = Callable[["OSError | None"], None]


def read_chunk(fd: int) -> bytes | None:
    """What can be read now, at most CHUNK bytes; b"" at end of file, None if nothing is there.

    :raises OSError: other than that.
    """
    try:
        return os.read(fd, CHUNK)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == 5:        # EIO: the last holder of a pty's slave is gone
            return b""
        raise


class StdinWriter:
    """The bytes that wait for a child's standard input.

    Additions keep their order.  Each is told once through `done`: None when its last byte is in the pipe, or the error.
    The descriptor is not closed here: `closed` says that it is to be.
    """

    __slots__ = ("_fd", "_is_pty", "_queue", "closed", "watched")

    def __init__(self, fd: int, is_pty: bool) -> None:
        self._fd = fd
        self._is_pty = is_pty
        self._queue: deque[tuple[memoryview | None, Done | None]] = deque()     # None: close
        self.closed = False
        self.watched = False            # the loop polls it
        os.set_blocking(fd, False)

    def add(self, data: bytes | None, done: Done | None = None) -> None:
        """Bytes to write; None: the end of input."""
        if data is None and self._is_pty:
            data = b"\x04"              # one descriptor serves both directions, so it is the terminal's end-of-file character
        self._queue.append((None if data is None else memoryview(data), done))

    def flush(self) -> bool:
        """Write what fits; True if some is left, so that the descriptor is to be polled."""
        queue = self._queue
        while queue and not self.closed:
            data, done = queue[0]
            error = None
            if data is None:
                self.closed = True
            else:
                try:
                    written = os.write(self._fd, data)
                except BlockingIOError:
                    return True
                except OSError as failure:
                    error = failure
                    self.closed = not self._is_pty
                else:
                    if written < len(data):
                        queue[0] = (data[written:], done)
                        return True
            queue.popleft()
            if done is not None:
                done(error)
        return False

    def fail(self, error: OSError) -> None:
        """Tell all that still wait."""
        self.closed = True
        while self._queue:
            _, done = self._queue.popleft()
            if done is not None:
                done(error)
