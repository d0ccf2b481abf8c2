"""Threads for the user's life cycle handlers: as many as are busy at once, none when there is no handler.

Guarantees: what is submitted to one `Strand` runs one at a time and in order; a handler may block, start and wait for other
processes without holding up any other strand.  An idle thread is reused, the last used first; one that stays idle for some seconds
ends.  All are daemons: a handler that never returns does not keep the program alive.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable

from ..log import logger

Job = Callable[[], None]
IDLE_SECONDS = 5.0


def run_guarded(job: Job) -> None:
    """Call it; an exception is logged and swallowed, for it is not ours to handle."""
    try:
        job()
    except (Exception, SystemExit):     # sys.exit() in a handler ends nobody
        logger.exception("exception in a handler:")


class Strand:
    """A queue of jobs that run one at a time, in order, on any thread of a pool."""

    __slots__ = ("_busy", "_jobs", "_pool")

    def __init__(self, pool: HandlerThreads) -> None:
        self._pool = pool
        self._jobs: deque[Job] = deque()
        self._busy = False

    @property
    def idle(self) -> bool:
        return not self._busy

    def submit(self, job: Job) -> None:
        with self._pool.lock:
            self._jobs.append(job)
            if self._busy:
                return
            self._busy = True
        self._pool.run(self._drain)

    def _drain(self) -> None:
        while True:
            with self._pool.lock:
                if not self._jobs:
                    self._busy = False
                    return
                job = self._jobs.popleft()
            run_guarded(job)


class HandlerThreads:
    """The pool.  Any thread may submit."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._count = 0
        self.signal_mask: set[int] | None = None
        """Signals that its threads block; None: as the thread that makes them."""

    def run(self, job: Job) -> None:
        """Run `job` on a thread of the pool, at once."""
        with self.lock:
            worker = self._idle.pop() if self._idle else None
            if worker is None:
                self._count += 1
            number = self._count
        if worker is not None:
            worker.give(job)
            return
        try:
            _Worker(self, f"execo-handler-{number}", job).start()
        except RuntimeError:            # the interpreter is shutting down, or no thread can be had: better late than never
            run_guarded(job)

    def rest(self, worker: _Worker) -> None:
        with self.lock:
            self._idle.append(worker)

    def retire(self, worker: _Worker) -> bool:
        """Take an idle worker out; False if a job was given to it in the meantime."""
        with self.lock:
            if worker in self._idle:
                self._idle.remove(worker)
                return True
            return False


class _Worker(threading.Thread):
    def __init__(self, pool: HandlerThreads, name: str, job: Job) -> None:
        super().__init__(name=name, daemon=True)
        self._pool = pool
        self._job: Job | None = job
        self._given = threading.Semaphore(0)

    def give(self, job: Job) -> None:
        self._job = job
        self._given.release()

    def run(self) -> None:
        if self._pool.signal_mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._pool.signal_mask)
        while True:
            job, self._job = self._job, None
            if job is not None:
                run_guarded(job)
            del job                     # an idle thread keeps nobody's process alive
            self._pool.rest(self)
            if not self._given.acquire(timeout=IDLE_SECONDS):
                if self._pool.retire(self):
                    return
                self._given.acquire()
