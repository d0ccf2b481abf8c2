"""Files that several processes and hosts share: locks, writes that are on disk when they return, atomic replacement."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["append_line", "lock", "read_file", "read_from", "replace_file", "sync_directory", "unlock", "write_at"]


def _flock(kind: int) -> bytes:
    # struct flock: l_type, l_whence, l_start, l_len, l_pid, which is 0 for locks of open file descriptions; the whole file
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


_WRITE, _NONE = _flock(fcntl.F_WRLCK), _flock(fcntl.F_UNLCK)
_SETLK, _SETLKW = getattr(fcntl, "F_OFD_SETLK", 37), getattr(fcntl, "F_OFD_SETLKW", 38)


def lock(fd: int) -> None:
    """Wait for the only lock of the file.

    It belongs to the open file: unlike a POSIX lock it also keeps other threads out, and stays when some other part of the program opens
    and closes the same file.  On NFS both are the same to the server.  A file system without it gets a POSIX lock; the two exclude each
    other.

    :raises OSError: if the file system has no locks.
    """
    try:
        fcntl.fcntl(fd, _SETLKW, _WRITE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        fcntl.lockf(fd, fcntl.LOCK_EX)


def unlock(fd: int) -> None:
    """Whichever lock it is, and also if there is none."""
    try:
        fcntl.fcntl(fd, _SETLK, _NONE)
    except OSError:
        fcntl.lockf(fd, fcntl.LOCK_UN)


def read_from(fd: int, offset: int, end: int) -> bytes:
    """The bytes from offset to end; fewer if the file ends before."""
    pieces = []
    while offset < end and (piece := os.pread(fd, min(end - offset, 1 << 26), offset)):
        pieces.append(piece)
        offset += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def write_at(fd: int, data: bytes, offset: int) -> None:
    """On disk when it returns.

    :raises OSError: if not all could be written; a part may be.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]
    os.fdatasync(fd)        # the new length too, but not the date


def sync_directory(fd: int) -> None:
    """Names that were made, changed or removed in it are on disk when this returns."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:         # a file system where directories need no sync
            raise


def replace_file(directory: int, name: str, pieces: Iterable[bytes]) -> int:
    """Write a file that has either its old or its new content, whenever the machine stops; returns its size.

    :param directory: descriptor of its directory.
    """
    temporary = f".{name}.{os.getpid()}.{os.urandom(4).hex()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=directory)
    try:
        size = 0
        with os.fdopen(fd, "wb") as file:
            for piece in pieces:
                size += file.write(piece)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        try:
            os.unlink(temporary, dir_fd=directory)
        except FileNotFoundError:       # it was renamed
            pass
        raise
    sync_directory(directory)
    return size


def append_line(directory: int, name: str, line: bytes) -> None:
    """Add a line to a file, which is made if it is not there; on disk when it returns.  Under the lock of the store."""
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666, dir_fd=directory)
    try:
        write_at(fd, line, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def read_file(directory: int, name: str) -> tuple[bytes, str] | None:
    """(content, what identifies it) of a file of the directory; None if it is not there or empty."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        content = file.read()
        found = os.fstat(fd)
    return (content, f"{found.st_size}-{found.st_mtime_ns}") if content else None
