"""The journal on disk: what is read of it, under its lock or without, and what is written at its end."""

from __future__ import annotations

import errno
import json
import os
import threading

from execo_engine._sweep import files
from execo_engine._sweep.journal import Damage, is_sound, scan
from execo_engine._sweep.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FORMAT", "JOURNAL", "JournalFile"]

VERSION = 1
FORMAT = {"execo_engine": VERSION}
JOURNAL = "journal"


class JournalFile:
    """The open journal of a directory, and the state that it says.  All but `close` under `lock`.

    :param directory: descriptor, which is ours from now on.
    """

    def __init__(self, path: str, directory: int) -> None:
        self.path = path
        """Of the directory."""
        self.directory = directory
        self.lock = threading.RLock()
        """Of the threads of this process; that of the file is for all others."""
        self.writable = False
        self.state = State()
        self.epoch = 0
        """Changes when `state` is read anew from the beginning."""
        self.stale = True
        """Whether memory may say other than the disk: then all is read again."""
        self.end = 0
        """Of what was read, in bytes."""
        self._cut_off = False
        """Whether the journal ends in the middle of a line."""
        self.fd = -1
        """-1: to be opened at the next step."""

    def open(self, create: bool, write: bool) -> None:
        """The one that is in place.

        :raises FileNotFoundError: without `create`, if there is none.
        :raises PermissionError: with `write`, if it can only be read.
        """
        flags = os.O_CLOEXEC | (os.O_CREAT if create else 0)
        name = os.path.join(self.path, JOURNAL)
        try:
            fd = os.open(JOURNAL, flags | os.O_RDWR, 0o666, dir_fd=self.directory)
            self.writable = True
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "there is no sweep here, or it was removed: no journal", name) from None
        except OSError as error:
            if write or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            fd = os.open(JOURNAL, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.directory)
            self.writable = False
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = fd
        if self.writable and (create or os.fstat(fd).st_size):
            files.sync_directory(self.directory)        # who replaced it may have been stopped before
        self._forget()

    def _forget(self) -> None:
        """Read all again: what memory holds may not be what is on disk."""
        self.state = State()
        self.epoch += 1
        self.end, self._cut_off, self.stale = 0, False, False

    def begin(self) -> list[Damage]:
        """Lock the journal that is in place, and take in what others wrote; returns the damages that nobody set aside yet.

        The caller unlocks, also after an error, if `fd` is open.

        :raises PermissionError: if it can only be read.
        """
        if not self.writable:
            raise PermissionError(errno.EACCES, "the journal can only be read", os.path.join(self.path, JOURNAL))
        while True:
            if self.fd < 0:
                self.open(create=False, write=True)
            files.lock(self.fd)
            try:
                found = os.fstat(self.fd)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                found = None                    # NFS: compaction on another host
            if found is not None and found.st_nlink > 0:
                return self._read(found.st_size, locked=True)
            os.close(self.fd)                   # unlocks
            self.fd = -1

    def refresh(self) -> None:
        """Read what others wrote, without lock."""
        if self.fd >= 0:
            try:
                found = os.fstat(self.fd)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                found = None
            if found is not None and found.st_nlink > 0:
                self._read(found.st_size, locked=False)
                return
        self.open(create=False, write=False)
        self._read(os.fstat(self.fd).st_size, locked=False)

    def _read(self, size: int, locked: bool) -> list[Damage]:
        """Take in what is new; returns the damages that nobody set aside yet.

        Without the lock, the last line may be just being written: it is left for the next time.
        """
        if self.stale or size < self.end:
            self._forget()
        if size == self.end:
            return []
        data = files.read_from(self.fd, self.end, size)
        found = scan(data, self.end)
        if self.end == 0:
            _check_version(found.lines, self.path)
        end = self.end + len(data)
        if not found.damages and not found.tail:        # as nearly always
            self.state.apply(found.lines)
            self.end = end
            return []
        lines, damages = found.lines, found.damages
        if found.tail and locked and is_sound(found.tail):
            lines = [*lines, found.tail]        # only its newline is missing
            self._cut_off = True
        elif found.tail and locked:
            damages = [*damages, Damage(end - len(found.tail), found.tail, "cut off")]
            self._cut_off = True
        elif found.tail:
            end -= len(found.tail)
        self.state.apply(lines)
        damages = [damage for damage in damages if damage.offset not in self.state.set_aside]
        if damages and not locked:
            # Who holds the lock will judge.  Until then the sound lines from there on are read again, which changes nothing.
            end = min(end, damages[0].offset)
        self.end = end
        return damages

    def append(self, lines: list[bytes]) -> None:
        """On disk when it returns.  The state has them already."""
        data = (b"\n" if self._cut_off else b"") + b"".join(lines)
        try:
            files.write_at(self.fd, data, self.end)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: not recorded", os.path.join(self.path, JOURNAL)) from None
        self.end += len(data)
        self._cut_off = False

    def replace(self, lines: Iterable[bytes]) -> int:
        """Put another one in its place, under the lock; returns its size."""
        return files.replace_file(self.directory, JOURNAL, lines)

    def close(self) -> None:
        for fd in (self.fd, self.directory):
            if fd >= 0:
                os.close(fd)
        self.fd = self.directory = -1

    def after_fork(self) -> None:
        """In the child: its own lock, its own open file."""
        self.lock = threading.RLock()
        if self.fd >= 0:
            os.close(self.fd)                  # the lock of an open file is shared with the parent
            self.fd = -1
        self.stale = True


def _check_version(lines: list[bytes], path: str) -> None:
    if lines and lines[0][13:19] == b"format":
        version = json.loads(lines[0])[2].get("execo_engine")
        if version != VERSION:
            raise ValueError(f"{path}: the journal has format {version!r}, this version of execo_engine reads {VERSION}")
