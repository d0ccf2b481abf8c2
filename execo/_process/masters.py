"""The masters of shared connections: their sockets, and their end.

The sockets are in one private directory of this program.  A lock on a file in it says that the program lives; the next program
that shares connections removes the directories whose owner has died.  Masters end by themselves when they have been idle for as
long as `control_persist` says, whatever becomes of us.
"""

from __future__ import annotations

import atexit
import errno
import os
import re
import threading
import time

from ..conductor import the_conductor
from ..config import configuration
from ..log import logger
from .shared import ALONE, LOCK, MAKE, WAIT, Slots, client_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .shared import Holder, Slot, Way

PREFIX = "execo-ssh-"
# The shortest limit of any system (104 with the NUL), less what ssh adds to the name while it makes the socket.
LONGEST_PATH = 103 - len(".XXXXXXXXXXXXXXXX")
_LONGEST_BASE = LONGEST_PATH - len(f"/{PREFIX}XXXXXXXX/0123456789abcdef.123456")


class _Directory:
    """The sockets of this program, from the first master until `close`."""

    __slots__ = ("lock_fd", "path", "ways")

    def __init__(self, path: str, lock_fd: int) -> None:
        self.path = path
        self.lock_fd = lock_fd
        self.ways: dict[str, Slots] = {}

    def busy(self) -> set[str]:
        """The sockets of the masters that processes of ours use."""
        return {slot.name for slots in self.ways.values() for slot in slots.slots if slot.sessions}

    def settled(self) -> bool:
        """Will no process make a socket here any more?"""
        for slots in self.ways.values():
            for slot in slots.slots:
                if slot.maker is not None and not os.path.exists(f"{self.path}/{slot.name}"):
                    return False
        return True


class Place:
    """A slot that a process has until it ends, and the options for its client."""

    __slots__ = ("directory", "slot", "to_do", "words")

    def __init__(self, directory: _Directory | None, slot: Slot | None, to_do: str, words: tuple[str, ...]) -> None:
        self.directory = directory
        self.slot = slot
        self.to_do = to_do
        self.words = words


class Masters:
    """All masters of this program.  Any thread may call `prepare` and `close`, the I/O thread all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._directory: _Directory | None = None
        self._closing: list[_Directory] = []        # those in which a socket may still be made
        self._swept = False

    def prepare(self) -> None:
        """Once in a program: remove what dead ones have left.  May take a moment."""
        with self._lock:
            swept, self._swept = self._swept, True
        if not swept:
            for base in _bases():
                _sweep(base)

    def take(self, way: Way, holder: Holder, may_wait: bool) -> Place:
        """A place; one that is to wait has it until `look` calls its `_on_turn`."""
        try:
            return self._take(way, holder, may_wait)
        except OSError as error:
            logger.warning("no directory for the sockets of shared connections (%s): each process connects for itself", error)
            return Place(None, None, ALONE, client_words(ALONE, way, ""))

    def _take(self, way: Way, holder: Holder, may_wait: bool) -> Place:
        from .mux import listens  # milliseconds, only for who shares

        with self._lock:
            if self._directory is not None and not os.path.isdir(self._directory.path):     # somebody tidied up
                os.close(self._directory.lock_fd)
                self._directory = None
            if self._directory is None:
                self._directory = _make_directory()
            directory = self._directory
            slots = directory.ways.setdefault(way.name, Slots(way.name))
            to_do, slot = slots.take(holder, way.room, time.monotonic(), lambda name: listens(f"{directory.path}/{name}"), may_wait)
            if to_do == MAKE and slot is not None:
                _unlink(f"{directory.path}/{slot.name}")        # of a master that was killed: the file is to say that one is there
            return Place(directory, slot, to_do, client_words(to_do, way, f"{directory.path}/{slot.name}" if slot else ""))

    def leave(self, place: Place, holder: Holder, lost: bool) -> None:
        """The process has ended, or will not be started."""
        directory, slot = place.directory, place.slot
        if directory is None or slot is None:
            return
        last = False
        waiters: list[Holder] = []
        with self._lock:
            if place.to_do == WAIT:
                if holder in slot.waiters:
                    slot.waiters.remove(holder)
            else:
                waiters = slot.leave(holder, lost)
                last = directory in self._closing and place.to_do == MAKE and directory.settled()
                if last:
                    self._closing.remove(directory)
        for waiter in waiters:
            waiter._on_turn()
        if last:
            the_conductor.outside_io_thread(lambda: _end(directory, directory.busy()))

    def look(self, place: Place) -> bool:
        """Have those that wait for this slot continue, if its master is there or they have waited enough.  False if they still wait."""
        directory, slot = place.directory, place.slot
        if directory is None or slot is None:
            return True
        with self._lock:
            if slot.waiters and slot.maker is not None and time.monotonic() < slot.patience:
                if not os.path.exists(f"{directory.path}/{slot.name}"):
                    return False
                slot.maker = None
            waiters = slot.release()
        for waiter in waiters:
            waiter._on_turn()
        return True

    def close(self) -> None:
        """No further process uses these masters; each ends when its last session does."""
        with self._lock:
            directory, self._directory = self._directory, None
            if directory is None:
                return
            settled, busy = directory.settled(), directory.busy()
            if not settled:         # ssh fails if the directory has gone when it makes its socket
                self._closing.append(directory)
        if settled:
            _end(directory, busy)
        else:
            from .mux import tell_all

            tell_all(directory.path, busy)

    def _at_exit(self) -> None:
        directories = self._all()
        if directories:
            the_conductor._stop()           # from now on nobody logs that a connection was closed
        for directory in directories:
            _end(directory, set() if configuration["kill_childs_at_end"] else directory.busy())

    def _all(self) -> list[_Directory]:
        """Those that there were; there is none after this."""
        with self._lock:
            directories = self._closing if self._directory is None else [*self._closing, self._directory]
            self._directory, self._closing = None, []
        return directories

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        for directory in self._all():       # the parent's
            os.close(directory.lock_fd)


masters = Masters()
atexit.register(masters._at_exit)
os.register_at_fork(after_in_child=masters._after_fork_in_child)


def close_shared_connections() -> None:
    """End the shared connections (connection param `control_persist`): idle ones now, the others when their last process ends.

    A process that starts later makes new ones.  At the end of the program it is done by itself.
    """
    masters.close()


def _bases() -> list[str]:
    """Directories for our directory: short enough for the name of a socket, and without what ssh would expand."""
    import tempfile

    try:
        first = tempfile.gettempdir()
    except FileNotFoundError:               # none can be written to
        return []
    bases = dict.fromkeys((first, "/tmp", "/var/tmp", "/dev/shm"))
    return [base for base in bases if len(os.fsencode(base)) <= _LONGEST_BASE and re.fullmatch(r"/[\w./+@,-]*", base, re.ASCII)
            and os.path.isdir(base)]


def _make_directory() -> _Directory:
    """:raises OSError: if it can be made nowhere."""
    import fcntl
    import tempfile

    reason = OSError(errno.ENAMETOOLONG, "no temporary directory with a short name")
    for base in _bases():
        try:
            path = tempfile.mkdtemp(prefix=PREFIX, dir=base)
        except OSError as error:
            reason = error
            continue
        lock_fd = -1
        try:
            # Locked before it has the name that `_sweep` looks for.
            lock_fd = os.open(f"{path}/{LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(f"{path}/{LOCK}.new", f"{path}/{LOCK}")
        except OSError as error:            # the disk is full, or its file system has no locks
            if lock_fd >= 0:
                os.close(lock_fd)
            _remove(path)
            reason = error
            continue
        return _Directory(path, lock_fd)
    raise reason


def _sweep(base: str) -> None:
    """Remove our directories whose owner has died, and have their masters end when they are idle."""
    import fcntl

    try:
        names = [name for name in os.listdir(base) if name.startswith(PREFIX)]
    except OSError:
        return
    for name in names:
        path = f"{base}/{name}"
        try:
            if os.lstat(path).st_uid != os.getuid():
                continue
            lock_fd = os.open(f"{path}/{LOCK}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:                     # another user's, or not one of ours
            continue
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:                     # its owner lives
            os.close(lock_fd)
            continue
        _end(_Directory(path, lock_fd), None)


def _end(directory: _Directory, busy: set[str] | None) -> None:
    from .mux import tell_all

    tell_all(directory.path, busy)
    _remove(directory.path)
    os.close(directory.lock_fd)


def _remove(path: str) -> None:
    from .mux import names

    for name in names(path):
        _unlink(f"{path}/{name}")           # if its master was not faster
    try:
        os.rmdir(path)
    except OSError as error:
        logger.debug("cannot remove the directory of shared connections: %s", error)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
