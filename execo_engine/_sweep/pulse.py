"""The sign of life of this process: a counter that a thread changes while there are claims."""

from __future__ import annotations

import os
import threading
import time
from queue import Empty, SimpleQueue

from execo_engine._sweep import lease, owners
from execo_engine._sweep.say import WARNING, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import weakref

    from execo_engine._sweep.journal_file import JournalFile

__all__ = ["Pulse"]

BEATS = 10
"""Changes of the counter in a lease."""
_LINGER = 0.2
_REST, _STOP = "rest", "stop"


class Pulse:
    """Any thread may call any method.

    :param store: which is not kept: the pulse ends with it.
    """

    def __init__(self, journal: JournalFile, store: weakref.ref[object], lease_seconds: float) -> None:
        self._journal = journal
        self._store = store
        self._thread: threading.Thread | None = None
        self._resting = False
        self._owner = ""
        """Id under which this process beats here."""
        self._pid = os.getpid()
        self._inbox: SimpleQueue[str] = SimpleQueue()
        """Unlike other queues it may be used in a finalizer."""
        self.use_lease(lease_seconds)

    def use_lease(self, seconds: float) -> None:
        """From the next begin of the pulse on."""
        self._every = seconds / BEATS

    def live(self) -> None:
        """This process has claims now: it must give signs of life."""
        if self._is_alive():                # it ends under the lock, and only if there are no claims
            return
        with self._journal.lock:
            if self._is_alive():            # another thread was quicker
                return
            self._owner, self._pid, self._inbox = lease.this_process().id, os.getpid(), SimpleQueue()
            self._resting = False
            try:
                self._write_beat("0")
            except OSError as error:
                say(WARNING, "%s: cannot give a sign of life: %s", self._journal.path, str(error))
            self._thread = threading.Thread(target=self._beat, args=(self._inbox, self._every), name="execo-sweep-pulse", daemon=True)
            self._thread.start()

    def _is_alive(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive()

    def rest(self) -> None:
        """This process may have no claims any more."""
        if not self._resting and self._thread is not None:
            self._resting = True
            self._inbox.put(_REST)

    def close(self) -> None:
        """The store is not there any more."""
        self._inbox.put(_STOP)
        if self._owner and self._pid == os.getpid():
            owners.remove_beat(self._journal.directory, self._owner)

    def end_of_process(self) -> None:
        """Other hosts need not wait for the lease."""
        if self._owner and self._pid == os.getpid() and self._has_claims():
            try:
                self._write_beat(owners.ENDED)
            except OSError:             # then they wait
                pass
            self._owner = ""            # the file stays
        self._inbox.put(_STOP)

    def after_fork(self) -> None:
        """In the child, which has no part in the claims of its parent."""
        self._resting, self._thread = False, None
        self._inbox = SimpleQueue()
        self._owner = ""

    def _has_claims(self) -> bool:
        return lease.this_process().id in self._journal.state.inprogress.values()

    def _write_beat(self, text: str) -> None:
        owners.write_beat(self._journal.directory, lease.this_process().id, text)

    # In the thread

    def _beat(self, inbox: SimpleQueue[str], every: float) -> None:
        """Change the counter while there are claims; ends a moment after there are none, or with the store."""
        count, warned = 0, False
        due = time.monotonic() + every
        while True:
            try:
                message = inbox.get(timeout=max(0.0, due - time.monotonic()))
                if message == _REST:
                    message = inbox.get(timeout=_LINGER)        # most often the next claim is near
                if message == _STOP:
                    return
            except Empty:
                message = ""
            store = self._store()               # while it is held here, nobody closes the directory
            if store is None or self._ends():
                return
            if time.monotonic() >= due:
                count, due = count + 1, time.monotonic() + every
                try:
                    self._write_beat(str(count))
                    warned = False
                except OSError as error:
                    if not warned:
                        say(WARNING, "%s: cannot give a sign of life, so other hosts may take the claims of this process: %s",
                                       self._journal.path, str(error))
                    warned = True
            del store

    def _ends(self) -> bool:
        """Whether there is nothing to say any more."""
        with self._journal.lock:
            self._resting = False
            if self._has_claims():
                return False
            self._thread = None
            self._owner = ""
            owners.remove_beat(self._journal.directory, lease.this_process().id)
            return True
