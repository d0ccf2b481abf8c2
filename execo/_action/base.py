"""What all actions share: a group of processes with one start, one end, one outcome.

An action ends when its last process has; the user's `end` handlers run before `ended` becomes true, outside the I/O thread.  A composite
action is told through the same list of handlers, after that.
"""

from __future__ import annotations

import threading
import time

from .._conductor.run import Window
from .._process.base import ProcessBase, ProcessLifecycleHandler
from .._process.output import STDOUT, stream_name
from ..conductor import the_conductor
from ..config import configuration
from ..host import Host
from ..hostset import expand
from ..log import logger
from ..report import Report
from ..time_utils import format_unixts, get_seconds
from ..utils import singleton_to_collection

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

    from .._process.expect import ExpectOutputHandler, Regexes
    from .._process.state import Duration


class ActionLifecycleHandler:
    """Derive from it and override what you need.  An exception is logged."""

    def start(self, action: Any) -> None:
        """Called in the thread that starts the action, before its processes start."""

    def end(self, action: Any) -> None:
        """Called when the last process has ended, before `action.ended` becomes true; may block."""

    def reset(self, action: Any) -> None:
        """Called in the thread that resets the action."""


class SubActionLH(ActionLifecycleHandler):
    """A composite action listening to one of its parts: called after `ended` became true, maybe in the I/O thread."""


class ActionNotificationProcessLH(ProcessLifecycleHandler):
    """Counts the ends of the processes of an action, and tells it of the last."""

    inline = True

    def __init__(self, action: Any, total_processes: int) -> None:
        self.action = action
        self.total_processes = total_processes
        self.terminated_processes = 0
        self._lock = threading.Lock()           # the ends come from the I/O thread and from handler threads

    def action_reset(self) -> None:
        """Count anew."""
        with self._lock:
            self.terminated_processes = 0

    def end(self, process: Any) -> None:
        with self._lock:
            self.terminated_processes += 1
            last = self.terminated_processes == self.total_processes
        if last:
            self.action._notify_terminated()


class Action:
    """A group of processes.

    :param lifecycle_handlers: an `ActionLifecycleHandler`, or several.
    :param name: for reports.
    :param default_expect_timeout: of `expect`; None: no limit.

    Any thread may call its methods.
    """

    fanout: int | bool | None = False
    """At most so many processes at a time; None: all at once; False: what `configuration['fanout']` says."""

    def __init__(self, lifecycle_handlers: Any = None, name: str | None = None, default_expect_timeout: Duration = None) -> None:
        self.name = f"{type(self).__name__} {id(self):#x}" if name is None else name
        self.lifecycle_handlers: list[ActionLifecycleHandler] = list(singleton_to_collection(lifecycle_handlers))
        get_seconds(default_expect_timeout)
        self.default_expect_timeout = default_expect_timeout
        self.started = False
        self.ended = False
        self._processes: list[Any] = []
        self._notification: ActionNotificationProcessLH | None = None
        self._lock = threading.Lock()
        self._ended_event = threading.Event()
        self._at_end: list[Callable[[], None]] = []
        self._kill_requested = False

    @property
    def processes(self) -> list[Any]:
        """Its processes, in the order of its hosts."""
        return self._processes

    @processes.setter
    def processes(self, processes: list[Any]) -> None:
        self._processes = processes

    # text

    def _args(self) -> list[str]:
        return []

    def _kwargs(self) -> list[str]:
        return []

    def _infos(self) -> list[str]:
        stats = self.stats()
        return [
            f"name={self.name}", f"started={self.started}", f"start_date={format_unixts(stats['start_date'])!r}",
            f"ended={self.ended}", f"end_date={format_unixts(stats['end_date'])!r}",
            *(f"{count}={stats[count]}" for count in (
                "num_processes", "num_started", "num_ended", "num_timeouts", "num_errors", "num_forced_kills",
                "num_non_zero_exit_codes", "num_ok", "num_finished_ok")),
            f"ok={self.ok}"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join([*self._args(), *self._kwargs()])})"

    def __str__(self) -> str:
        return f"<{type(self).__name__}({', '.join([*self._args(), *self._kwargs(), *self._infos()])})>"

    # life

    def start(self) -> Self:
        """Start all processes; does not wait.

        :raises ValueError: if it was started before (`reset` makes it possible again), or cannot be; nothing was started then.
        """
        if not self.started:
            self._check_start()
        with self._lock:
            if self.started:
                raise ValueError(f"Actions may be started only once: {self!r}")
            self.started = True
        self._call_handlers("start")
        self._start_processes()
        return self

    def _check_start(self) -> None:
        """:raises ValueError, TypeError: if it cannot be started; before anything has changed."""
        self._new_window()
        for process in self._processes:
            process._check_settings()

    def _start_processes(self) -> None:
        self._launch(self._processes)

    def _new_window(self) -> Window | None:
        fanout = configuration.get("fanout") if self.fanout is False else self.fanout
        return None if fanout is None else Window(checked_fanout(fanout))

    def _launch(self, processes: list[ProcessBase]) -> None:
        """Start these, in the window of this action."""
        if not processes:
            self._notify_terminated()
            return
        window = self._new_window()
        for process in processes:
            process._window = window  # type: ignore[attr-defined]     # of those that the conductor starts
            process.start()  # type: ignore[attr-defined]
        if self._kill_requested:            # another thread could not kill those that were not started then
            self.kill()

    def _adopt(self, processes: list[Any]) -> None:
        """Make these its processes, and have their ends counted."""
        self._notification = ActionNotificationProcessLH(self, len(processes))
        for process in processes:
            process.lifecycle_handlers.append(self._notification)
        self._processes = processes

    def _init_processes(self) -> None:
        """Make the processes anew."""

    def run(self, timeout: Duration = None) -> Self:
        """`start`, then `wait`."""
        return self.start().wait(timeout)

    def wait(self, timeout: Duration = None) -> Self:
        """Wait until it has ended, or for `timeout`; does not kill it.

        :raises ValueError: without a timeout, if it was not started.
        :raises RuntimeError: in an output handler, which would wait for itself, or in a child that was forked after the start.
        """
        seconds = get_seconds(timeout)
        if not self.ended:
            if seconds is None and not self.started:
                raise ValueError(f"wait without timeout for an action that was not started: {self!r}")
            if seconds is None or seconds > 0:
                _check_may_wait([self])
            self._ended_event.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))
        return self

    def kill(self) -> Self:
        """Kill what runs, cancel what waits for its turn; does not wait.  Nothing if it was not started or has ended."""
        self._note_kill()
        for process in reversed(self.processes):        # those that wait before those whose end makes room for them
            process.kill()
        return self

    def _note_kill(self) -> None:
        with self._lock:
            self._kill_requested = self.started and not self.ended

    def reset(self) -> Self:
        """Back to the state before the start, with new processes, after killing it if it runs."""
        if self.started and not self.ended:
            self.kill()
            self.wait()
        self._call_handlers("reset")
        self._init_processes()
        self._clear()
        return self

    def _clear(self) -> None:
        with self._lock:
            self._ended_event.clear()
            self.started = self.ended = self._kill_requested = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, t: type[BaseException] | None, v: BaseException | None, traceback: TracebackType | None) -> None:
        self.kill()

    def _notify_terminated(self) -> None:
        """Its last process has ended (in the I/O thread, or in a handler thread)."""
        if any(not isinstance(handler, SubActionLH) for handler in self.lifecycle_handlers):
            the_conductor.outside_io_thread(self._finish)
        else:
            self._finish()

    def _call_handlers(self, what: str) -> None:
        for handler in list(self.lifecycle_handlers):
            _call_guarded(getattr(handler, what), self)

    def _finish(self) -> None:
        handlers = list(self.lifecycle_handlers)
        for handler in handlers:
            if not isinstance(handler, SubActionLH):
                _call_guarded(handler.end, self)
        with self._lock:
            self.ended = True
            callbacks, self._at_end = self._at_end, []
        self._ended_event.set()
        for callback in callbacks:
            callback()
        for handler in handlers:
            if isinstance(handler, SubActionLH):
                _call_guarded(handler.end, self)

    def _call_at_end(self, callback: Callable[[], None]) -> None:
        """Call it once when this ends, now if it has; it must not block."""
        with self._lock:
            if not self.ended:
                self._at_end.append(callback)
                return
        callback()

    def _forget_callback(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if callback in self._at_end:
                self._at_end.remove(callback)

    # outcome

    @property
    def ok(self) -> bool:
        """All processes are ok."""
        return all(process.ok for process in self.processes)

    @property
    def finished_ok(self) -> bool:
        """It was started, has ended, and all processes are ok."""
        return self.started and self.ended and self.ok

    @property
    def failed_processes(self) -> list[Any]:
        """Those that have ended and are not ok, for whatever reason."""
        return [process for process in self.processes if process.ended and not process.ok]

    @property
    def finished_ok_processes(self) -> list[Any]:
        """Those that have ended and are ok."""
        return [process for process in self.processes if process.finished_ok]

    @property
    def timeouted_processes(self) -> list[Any]:
        """Those that were killed because of `timeout` or `idle_timeout`."""
        return [process for process in self.processes if process.timeouted or process.idle_timeouted]

    @property
    def unreachable_processes(self) -> list[Any]:
        """Those whose connection could not be made, as ssh or scp itself says (`process.connection_failure`)."""
        return [process for process in self.processes if process.unreachable]

    def retry_failed(self, timeout: Duration = None) -> Self:
        """Run again the processes that failed, only these, and wait for them, at most for `timeout`; what was ok stays as it is.

        Handlers of the action are called as for a run.

        :raises ValueError: if it has not ended.
        """
        if not self.ended:
            raise ValueError(f"retry_failed of an action that has not ended: {self}")
        if not self._has_failed():
            return self
        self._restart_failed()
        return self.wait(timeout)

    def _has_failed(self) -> bool:
        """Is there something for `retry_failed`?"""
        return self.ended and bool(self.failed_processes)

    def _restart_failed(self) -> None:
        """Start again what failed, once it has ended; does not wait."""
        self._check_start()
        failed = self.failed_processes
        for process in failed:
            process.reset()
        if self._notification is not None:
            self._notification.total_processes = len(failed)
            self._notification.action_reset()
        self._clear()
        self.started = True
        self._call_handlers("start")
        self._launch(failed)

    def gather(self, stream: int = STDOUT) -> list[tuple[list[Host], str]]:
        """The hosts by identical output so far: (hosts, output), the largest group first.

        :param stream: STDOUT or STDERR.

        Groups of one size come in the order of their first hosts, as do the hosts of a group.
        """
        of_stream = {"STDOUT": "stdout", "STDERR": "stderr"}[stream_name(stream)]
        groups: dict[str, list[Host]] = {}
        for process in self.processes:
            groups.setdefault(getattr(process, of_stream), []).append(process.host)
        return sorted(((hosts, output) for output, hosts in groups.items()), key=lambda group: -len(group[0]))

    def stats(self) -> dict[str, Any]:
        """Counts for a `Report`."""
        stats = Report.aggregate_stats([process.stats() for process in self.processes])
        stats["name"] = self.name
        stats["sub_stats"] = []
        outcomes: dict[str, list[str]] = {}
        for process in self.processes:
            if process.host is not None:
                outcomes.setdefault(process.outcome, []).append(process.host.address)
        stats["outcomes"] = outcomes
        return stats

    def expect(self, regexes: Regexes, timeout: Duration | bool = False, stream: int = STDOUT, backtrack: bool = True,
               expect_output_handler: ExpectOutputHandler | None = None) -> list[tuple[Any, int | None, re.Match[str] | None]]:
        """`expect` in the output of each process; the timeout is for all together.

        :param timeout: any duration; False: `default_expect_timeout`; None: no limit; 0: only look.
        :returns: (process, index of the regex, match) for each process; index and match are None where there is none.
        """
        if not isinstance(regexes, str) and not hasattr(regexes, "search"):
            regexes = list(regexes)         # an iterator serves only once
        seconds = get_seconds(self.default_expect_timeout if timeout is False else timeout)
        deadline = None if seconds is None else time.monotonic() + seconds
        found = []
        for process in self.processes:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            found.append((process, *process.expect(regexes, left, stream, backtrack, expect_output_handler)))
        return found


def checked_fanout(fanout: object) -> int:
    """:raises ValueError: for what is not a number of processes."""
    if not isinstance(fanout, int) or isinstance(fanout, bool) or fanout < 1:
        raise ValueError(f"fanout: expected a number of processes, 1 or more, or None for all at once, found {fanout!r}")
    return fanout


def _call_guarded(call: Callable[[Any], None], action: Action) -> None:
    try:
        call(action)
    except Exception:
        logger.exception("exception in a life cycle handler of %s:", action)


def _check_may_wait(actions: list[Action]) -> None:
    for action in actions:
        for process in action.processes[:1]:
            if not action.ended:
                process._check_may_wait()


def wait_any_actions(actions: Iterable[Action], timeout: Duration = None) -> list[Action]:
    """Wait until one of them has ended, or for `timeout`.

    :returns: those that have ended; [] if none has in time.
    :raises ValueError: without a timeout, if none of them was started.
    :raises RuntimeError: as `Action.wait`.
    """
    actions = list(actions)
    seconds = get_seconds(timeout)
    if seconds is None and actions and not any(action.started for action in actions):
        raise ValueError(f"wait without timeout for actions of which none was started: {actions!r}")
    if seconds is None or seconds > 0:
        _check_may_wait(actions)
    one = threading.Event()
    callback = one.set
    for action in actions:
        action._call_at_end(callback)
    if actions:
        one.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))
    for action in actions:
        action._forget_callback(callback)
    return [action for action in actions if action.ended]


def wait_all_actions(actions: Iterable[Action], timeout: Duration = None) -> list[Action]:
    """Wait until all of them have ended, or for `timeout`.

    :returns: those that have ended.
    :raises ValueError, RuntimeError: as `Action.wait`.
    """
    actions = list(actions)
    seconds = get_seconds(timeout)
    deadline = None if seconds is None else time.monotonic() + seconds
    for action in actions:
        action.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    return [action for action in actions if action.ended]


def filter_bad_hosts(action: Action, hosts: Iterable[Any]) -> list[Any]:
    """The hosts whose processes in the action are ok, or that have none there; the same objects, in their order."""
    bad = {process.host for process in action.processes if process.host is not None and not process.ok}
    given = expand(hosts) if isinstance(hosts, str) else singleton_to_collection(hosts)
    return [host for host in given if Host(host) not in bad]
