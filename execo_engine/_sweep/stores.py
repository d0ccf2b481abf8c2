"""The stores of this process: one for each directory that is used, through forks and to the end."""

from __future__ import annotations

import atexit
import os
import threading
import weakref

from execo_engine._sweep import files
from execo_engine._sweep.journal_file import JournalFile
from execo_engine._sweep.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from execo_engine._sweep.pulse import Pulse

__all__ = ["open_store"]

_stores: weakref.WeakValueDictionary[tuple[int, int], Store] = weakref.WeakValueDictionary()
"""{(device, inode) of the directory: store}."""
_stores_lock = threading.RLock()        # also taken by finalizers, which the collector may run anywhere


def open_store(path: str, create: bool = False, write: bool = False) -> Store:
    """The store of a directory: the one that this process has already, or a new one.

    :raises FileNotFoundError: without `create`, if there is no journal.
    :raises PermissionError: with `write`, if it can only be read.
    """
    if create:
        _make_directories(path)
    with _stores_lock:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        found = os.fstat(directory)
        store = _stores.get((found.st_dev, found.st_ino))
        if store is not None and (store.writable or not write):
            os.close(directory)
        else:
            journal = JournalFile(os.path.abspath(path), directory)
            store = Store(journal, _close)      # from now on the directory is closed with it
            journal.open(create, write)
        if create:
            store.make_owners()
        _stores[found.st_dev, found.st_ino] = store
        return store


def _close(journal: JournalFile, pulse: Pulse) -> None:
    with _stores_lock:
        pulse.close()
        journal.close()


def _make_directories(path: str) -> None:
    """Like `os.makedirs`, and on disk when it returns."""
    path = os.path.abspath(path)
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_directories(parent)
    try:
        os.mkdir(path)
    except FileExistsError:             # another worker; if it is no directory the open says so
        return
    fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.sync_directory(fd)
    finally:
        os.close(fd)


@atexit.register
def _end_of_process() -> None:
    for store in list(_stores.values()):
        store.end_of_process()


def _after_fork_in_child() -> None:
    global _stores_lock
    _stores_lock = threading.RLock()
    for store in list(_stores.values()):
        store.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
