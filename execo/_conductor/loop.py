"""The poll loop: starts children, moves their bytes, sees their end, keeps their deadlines.  It knows the `Child` protocol only.

One thread runs it and owns every descriptor in it.  In one turn each ready descriptor gets one bounded read, and at most SPAWNS_A_TURN
children are started; so neither a child that prints for ever, nor a thousand starts at once, holds up anybody else.
Children that cannot be started for lack of descriptors or processes wait until one ends; they fail only if none is there to wait for.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable

from ..log import logger
from .mailbox import Mailbox
from .reap import have_pidfd
from .run import Run
from .spawn import DescriptorLimit, Spawned, spawn
from .timers import Timer, Timers
from .watchdog import Watchdog

SPAWNS_A_TURN = 16
SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
SHORTAGE_RETRY = 1.0            # seconds: somebody else may have given back what we lack
WATCHDOG_RETRY = 1.0            # seconds between two watchdogs, if they cannot live
_READABLE = select.EPOLLIN


class Loop:
    """`post`, `submit`, `in_thread` and `stop` are for any thread, all the rest for the I/O thread."""

    def __init__(self, order: Callable[[], str], use_pidfd: bool | None = None) -> None:
        """`order` says what the watchdog is to do with the children at our end."""
        self.mailbox = Mailbox()
        self.alive: set[Run] = set()
        self.limit = DescriptorLimit()
        self._order = order
        self._use_pidfd = have_pidfd() if use_pidfd is None else use_pidfd
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers = Timers()
        self._pending: deque[Run] = deque()
        self._paused: set[Run] = set()  # they have a place in their windows, and `restart` will be called for them
        self._short_until = 0.0         # no spawn before this instant, unless a child ends
        self._said_short = False
        self._asked: set[Run] = set()   # those without a pidfd
        self._asking = False
        self._watchdog = Watchdog()
        self._watchdog_since = 0.0
        self._watched_pipe = -1         # the watchdog's
        self._stopping = False
        self._after_crash = threading.RLock()
        self.crashed = False
        self.over = False               # crashed or stopped: starts nothing more
        self.watch(self.mailbox.fd, self._on_mailbox)
        self.thread = threading.Thread(target=self._run, name="execo-io", daemon=True)

    # any thread

    def post(self, call: Callable[..., None], *args: object) -> None:
        self.mailbox.post(call, *args)
        if self.crashed:                # the I/O thread reads no mail any more
            self._empty_mailbox()

    def submit(self, run: Run) -> None:
        """Have it started, in its turn."""
        self.post(self._on_submit, run)

    def in_thread(self) -> bool:
        return threading.get_ident() == self.thread.ident

    def stop(self) -> None:
        """End the loop and let the watchdog do its order."""
        self.post(self._on_stop)

    # I/O thread: descriptors and deadlines

    def watch(self, fd: int, callback: Callable[[int], None], events: int = _READABLE) -> None:
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        # Closing is not enough: a forked process may hold a copy, which would keep it in the poll set.
        del self._callbacks[fd]
        self._epoll.unregister(fd)

    def call_at(self, deadline: float, call: Callable[[], None]) -> Timer:
        """Call it at a `time.monotonic()` instant."""
        return self._timers.at(deadline, call)

    def cancel(self, timer: Timer) -> None:
        self._timers.cancel(timer)

    def watch_by_asking(self, run: Run) -> None:
        self._asked.add(run)
        if not self._asking:
            self._asking = True
            self.call_at(time.monotonic() + 0.001, lambda: self._ask(0.001))     # not now: its start is not told yet

    def _ask(self, pause: float) -> None:
        before = len(self._asked)
        for run in list(self._asked):
            if run.try_reap():
                self._asked.discard(run)
        if self._asked:
            pause = 0.001 if len(self._asked) < before else min(0.1, pause * 1.5)
            self.call_at(time.monotonic() + pause, lambda: self._ask(pause))
        else:
            self._asking = False

    # I/O thread: starting

    def _on_submit(self, run: Run) -> None:
        if self.crashed:
            run.over = True
            run.child._on_failed(RuntimeError("the I/O thread of execo has failed"))
            return
        window = run.window
        if window is not None:
            if window.alive >= window.size:
                window.waiting.append(run)
                return
            window.alive += 1
        self._pending.append(run)

    def starts_soon(self, run: Run) -> bool:
        """Is it about to be started, without waiting for the end of another?"""
        return not self._short_until and run in self._pending

    def cancel_run(self, run: Run) -> None:
        """End a run that has no child: it waits for its turn, or to be started again."""
        if not run.over and not run.pid and not run.cancelled:
            run.cancelled = True
            run.child._on_cancelled()

    def pause(self, run: Run) -> None:
        """It has no child now; `restart` will be called for it."""
        self.alive.discard(run)
        self._paused.add(run)

    def restart(self, run: Run) -> None:
        """Have it started again, or for the first time; one that was cancelled meanwhile gives its place in its window to the next."""
        self._paused.discard(run)
        if run.cancelled:
            self._release(run)
        else:
            self._pending.append(run)

    def _release(self, run: Run) -> None:
        window = run.window
        if window is None:
            return
        while window.waiting:
            heir = window.waiting.popleft()
            if not heir.cancelled and not heir.doomed:
                self._pending.append(heir)
                return
        window.alive -= 1

    def finish(self, run: Run) -> None:
        """The child has ended: make room for another, then tell."""
        run.over = True
        self.alive.discard(run)
        self._short_until = 0.0
        if run.window is not None:
            self._release(run)
        try:
            run.child._on_ended()
        except BaseException:               # a bug of ours: let `_crash` find the run, and wake who waits for it
            run.over = False
            self.alive.add(run)
            raise

    def _spawn_some(self) -> None:
        started: list[tuple[Run, Spawned]] = []
        for _ in range(min(SPAWNS_A_TURN, len(self._pending))):
            run = self._pending.popleft()
            if run.cancelled:
                self._release(run)
            elif not self._spawn(run, started):
                self._pending.appendleft(run)
                break
        # Told together: a thread that is woken for each one takes the interpreter lock from us for each one.
        for run, spawned in started:
            run.child._on_started(spawned)

    def _spawn(self, run: Run, started: list[tuple[Run, Spawned]]) -> bool:
        """Start one, and add it to `started`; False if it has to wait."""
        try:
            command = run.child._on_command()
            if command is None:
                self.pause(run)
                return True
            argv, pty = command
            self._tend_watchdog()
            # The last descriptors are left to the rest of the program, unless nothing would run at all.
            spawned = spawn(argv, pty, self._watchdog.group, self.limit if self.alive else None, self._use_pidfd)
        except OSError as error:
            if error.errno == errno.EPERM and self._watchdog_died():
                return self._spawn(run, started)
            if error.errno == errno.EMFILE and self.limit.try_raise():
                return self._spawn(run, started)
            if error.errno in SHORTAGE and self.alive:
                self._say_short(error)
                self._short_until = time.monotonic() + SHORTAGE_RETRY
                return False
            self._fail(run, error)
            return True
        except Exception as error:          # an unbalanced quote, a NUL byte, an integer in argv ...: of this child only
            self._fail(run, error)
            return True
        if self.limit.raised:
            self.limit.restore_in(spawned.pid)
        self.alive.add(run)
        self._short_until = 0.0
        run.spawned(spawned)
        started.append((run, spawned))
        return True

    def _fail(self, run: Run, error: BaseException) -> None:
        run.over = True
        self._release(run)
        run.child._on_failed(error)

    def _say_short(self, error: OSError) -> None:
        if not self._said_short:
            self._said_short = True
            logger.info("out of %s (%s): %d processes run now, further ones start as these end",
                        "processes" if error.errno in (errno.EAGAIN, errno.ENOMEM) else "file descriptors",
                        error.strerror or error, len(self.alive))

    def _tend_watchdog(self) -> None:
        if self._watchdog.pid == 0:
            self._start_watchdog()
        else:
            self._watchdog.tell(self._order())

    def _watchdog_died(self) -> bool:
        """EPERM is also what a missing process group gives."""
        if self._watchdog.alive():
            return False
        self._unwatch_watchdog()
        self._start_watchdog()
        return True

    def _start_watchdog(self) -> None:
        self._watchdog_since = time.monotonic()
        self._watchdog.start(self._order())
        self._watched_pipe = self._watchdog.fd
        self.watch(self._watched_pipe, self._on_watchdog_end, 0)       # errors are always told

    def _unwatch_watchdog(self) -> None:
        if self._watched_pipe >= 0:
            self.unwatch(self._watched_pipe)
            self._watched_pipe = -1

    def _on_watchdog_end(self, events: int) -> None:
        """Somebody killed it: the children need another one."""
        self._unwatch_watchdog()
        since = time.monotonic() - self._watchdog_since
        if since < WATCHDOG_RETRY:
            self.call_at(time.monotonic() + WATCHDOG_RETRY - since, self._replace_watchdog)
        else:
            self._replace_watchdog()

    def _replace_watchdog(self) -> None:
        if self._watched_pipe >= 0:         # done meanwhile, for a spawn
            return
        try:
            self._start_watchdog()
        except OSError as error:
            logger.warning("cannot replace the process that guards the children (%s), further try in %.0f s", error, WATCHDOG_RETRY)
            self.call_at(time.monotonic() + WATCHDOG_RETRY, self._replace_watchdog)

    # I/O thread: turns

    def _on_mailbox(self, events: int) -> None:
        for call, args in self.mailbox.take():
            call(*args)

    def _poll_timeout(self) -> float:
        """Seconds, or -1."""
        now = time.monotonic()
        if self._pending and self._short_until <= now:
            return 0
        deadline = self._timers.next_deadline()
        if self._pending:
            deadline = min(self._short_until, deadline if deadline is not None else self._short_until)
        if deadline is None or deadline == float("inf"):
            return -1
        return min(max(0.0, deadline - now), 3600.0)

    def _turn(self) -> None:
        callbacks = self._callbacks
        for fd, events in self._epoll.poll(self._poll_timeout()):
            callback = callbacks.get(fd)
            if callback is not None:        # an earlier one of this turn may have ended it
                callback(events)
        if self._timers:
            for call in self._timers.due(time.monotonic()):
                call()
        if self._pending and self._short_until <= time.monotonic():
            self._spawn_some()

    def _run(self) -> None:
        # A program may have SIGPIPE end it: a child that closes its standard input must not.  Others stay as they are, since a child of
        # the program that an output handler starts inherits them.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGPIPE,))
        try:
            while not self._stopping:
                self._turn()
        except BaseException as error:      # a bug of ours: nobody may wait for ever because of it
            self._crash(error)
        finally:
            self._close()

    def _crash(self, error: BaseException) -> None:
        self.crashed = self.over = True
        logger.critical("the I/O thread of execo failed, all running processes are killed", exc_info=True)
        reason = RuntimeError(f"the I/O thread of execo failed: {error!r}")
        doomed = [*self.alive, *self._pending, *self._paused]
        for run in list(doomed):
            if run.window is not None:
                doomed += run.window.waiting
                run.window.waiting.clear()
        killed = []
        for run in doomed:
            if not run.over and not run.cancelled:
                try:
                    killed.append(run.abandon())
                except Exception:
                    logger.critical("while ending a process:", exc_info=True)
                try:
                    run.child._on_failed(reason)
                except Exception:
                    logger.critical("while ending a process:", exc_info=True)
        self._empty_mailbox()
        for pid in killed:              # now that nobody waits
            if pid:
                try:
                    os.waitpid(pid, 0)
                except ChildProcessError:
                    pass

    def _empty_mailbox(self) -> None:
        """After a crash: whatever still comes is told that it comes too late."""
        with self._after_crash:
            for call, args in self.mailbox.take():
                try:
                    call(*args)
                except Exception:
                    logger.critical("after the I/O thread has failed:", exc_info=True)

    def _on_stop(self) -> None:
        self.over = self._stopping = True
        self._watchdog.tell(self._order())

    def _close(self) -> None:
        self._epoll.close()
        self._watchdog.end()
        if self.crashed and self._watchdog.pid:
            try:
                os.waitpid(self._watchdog.pid, 0)       # it ends within some seconds, and so do we
            except ChildProcessError:
                pass

    def forget_after_fork(self) -> None:
        """In a forked child: close our copies of the parent's descriptors; its children are not ours."""
        self._watchdog.forget_after_fork()
        for run in self.alive:
            for fd in {run.stdin, run.stdout, run.stderr, -1 if run.pidfd is None else run.pidfd}:
                if fd >= 0:
                    try:
                        os.close(fd)
                    except OSError:
                        pass
        self._epoll.close()
        self.mailbox.close()
