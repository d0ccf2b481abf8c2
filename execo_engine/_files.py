"""Files that survive a crash, a full disk and each other's writers.

A line is appended under a lock between threads, processes and hosts, at an explicit offset (never O_APPEND, on which NFS clients disagree),
and is on the disk before the lock is given back.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from ._sweep.files import lock, unlock, write_at
from .log import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK = 65536


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Put `content` in the file: at any moment, and after a crash, it has the old content or the new one."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            write_at(fd, content.encode() if isinstance(content, str) else content, 0)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk, where the file system can do that."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:             # a folder may be writable and not readable
        return
    try:
        os.fsync(fd)
    except OSError:             # some network file systems refuse it for folders
        pass
    finally:
        os.close(fd)


class LineFile:
    """A file of lines that any number of threads, processes and hosts append to.

    :param quarantine: where the rest of a line goes whose writer died.
    :param intact: whether a line, without its end, is whole.
    """

    def __init__(self, path: Path, quarantine: Path, intact: Callable[[bytes], bool]) -> None:
        self.path = path
        self.quarantine = quarantine
        self._intact = intact

    def append(self, line: bytes) -> None:
        """Add the line (it ends in LF) and wait until it is on the disk.

        :raises OSError: if it cannot be written, as on a full disk; then the file is what it was.
        """
        with _exclusive(self.path, os.O_CREAT) as fd:
            found = os.fstat(fd).st_size
            size = self._mended(fd, found)
            try:
                write_at(fd, line, size)
            except BaseException:
                os.ftruncate(fd, size)
                raise
            if not found:
                sync_folder(self.path.parent)

    def read(self) -> bytes:
        """All of it; b'' if there is no file.  Needs no right to write."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return b""
        if content and not content.endswith(b"\n"):         # someone is writing, or died while writing
            try:
                with _exclusive(self.path):
                    return self.path.read_bytes()
            except OSError:
                pass                    # where we may not lock, the last line stays as we saw it
        return content

    def _mended(self, fd: int, size: int) -> int:
        """The size after what a dead writer left at the end has been put right."""
        if not size or os.pread(fd, 1, size - 1) == b"\n":
            return size
        tail = _after_last_newline(fd, size)
        if self._intact(tail):                              # only the end of the line is missing
            write_at(fd, b"\n", size)
            return size + 1
        self._set_aside(tail)
        os.ftruncate(fd, size - len(tail))
        os.fsync(fd)
        logger.warning("%s: the last line was not complete, for its writer died; its %d bytes are now in %s",
                       self.path, len(tail), self.quarantine.name)
        return size - len(tail)

    def _set_aside(self, tail: bytes) -> None:
        fd = os.open(self.quarantine, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            write_at(fd, tail + b"\n", os.fstat(fd).st_size)
        finally:
            os.close(fd)
        sync_folder(self.quarantine.parent)


def _after_last_newline(fd: int, size: int) -> bytes:
    tail = b""
    while len(tail) < size:
        start = max(0, size - len(tail) - _BLOCK)
        block = os.pread(fd, size - len(tail) - start, start)
        _, newline, end = block.rpartition(b"\n")
        tail = end + tail
        if newline or not block:
            break
    return tail


_thread_locks: dict[str, threading.Lock] = {}
os.register_at_fork(after_in_child=_thread_locks.clear)     # those of threads that the child does not have


@contextlib.contextmanager
def _exclusive(path: Path, flags: int = 0) -> Iterator[int]:
    # Where the file system has POSIX locks only, these do not exclude threads of one process, hence the first lock.
    with _thread_locks.setdefault(os.path.realpath(path), threading.Lock()):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o666)
        try:
            lock(fd)
            yield fd
        finally:
            unlock(fd)                  # not left to the closing: a child that was forked meanwhile has the open file too
            os.close(fd)
