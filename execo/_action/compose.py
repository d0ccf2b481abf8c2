"""Actions made of actions: all at once, or one after the other."""

from __future__ import annotations

from collections import deque

from ..conductor import the_conductor
from ..log import logger
from ..report import Report
from .base import Action, SubActionLH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from typing_extensions import Self


class _Composite(Action):
    """What both kinds share.

    :param actions: an iterable of actions that were not started.
    """

    def __init__(self, actions: Iterable[Action], **kwargs: Any) -> None:
        self.actions = list(actions)
        self.hide_subactions = False
        """Leave the parts out of reports."""
        seen: set[Action] = set()
        for action in self.actions:
            if not isinstance(action, Action):
                raise TypeError(f"{type(self).__name__}: expected actions, found {action!r}")
            if action in seen:
                raise ValueError(f"{type(self).__name__}: an action can be one part only, found twice: {action!r}")
            seen.add(action)
        if kwargs.get("name") is None:
            kwargs["name"] = f"{type(self).__name__} {len(self.actions)} actions"
        super().__init__(**kwargs)

    @property
    def processes(self) -> list[Any]:
        """The processes of all parts."""
        return [process for action in self.actions for process in action.processes]

    @processes.setter
    def processes(self, processes: list[Any]) -> None:
        """Ignored: the parts own their processes."""

    def _init_processes(self) -> None:
        for action in self.actions:
            action.reset()

    def _check_start(self) -> None:
        for action in self.actions:
            if action.started:
                raise ValueError(f"a part of {self.name} was started before, by itself or in another action: {action!r}")
            action._check_start()

    def _run_parts(self, steps: list[tuple[Action, Callable[[], object]]]) -> None:
        """Call all steps, each of which starts its action, all at once or one by one; end when all actions have ended."""
        raise NotImplementedError

    def _start_processes(self) -> None:
        self._run_parts([(action, action.start) for action in self.actions])

    def _has_failed(self) -> bool:
        return any(action._has_failed() for action in self.actions)

    def _restart_failed(self) -> None:
        self._clear()
        self.started = True
        self._call_handlers("start")
        self._run_parts([(action, action._restart_failed) for action in self.actions if action._has_failed()])

    def _args(self) -> list[str]:
        return [repr(self.actions)]

    def stats(self) -> dict[str, Any]:
        """Counts for a `Report`: the sum, and those of each part in `sub_stats`."""
        sub_stats = [action.stats() for action in self.actions]
        stats = Report.aggregate_stats(sub_stats)
        stats["name"] = self.name
        stats["sub_stats"] = [] if self.hide_subactions else sub_stats
        return stats


class ParallelSubActionLH(SubActionLH):
    """Tells a `ParallelActions` of the end of a part."""

    def __init__(self, parallel_action: ParallelActions) -> None:
        self.parallel_action = parallel_action

    def end(self, action: Any) -> None:
        self.parallel_action._on_part_ended(action)


class ParallelActions(_Composite):
    """Runs actions all at once; ends when all have ended."""

    def __init__(self, actions: Iterable[Action], **kwargs: Any) -> None:
        super().__init__(actions, **kwargs)
        self._running: set[Action | None] = set()
        handler = ParallelSubActionLH(self)
        for action in self.actions:
            action.lifecycle_handlers.append(handler)

    def _run_parts(self, steps: list[tuple[Action, Callable[[], object]]]) -> None:
        # The None stands for this loop: it cannot end before all were started.
        self._running = {None, *(action for action, _ in steps)}
        for action, start in steps:
            try:
                start()
            except Exception:           # somebody else has started it after we looked: nobody would tell us of its end
                logger.exception("a part of %r cannot be started:", self)
                self._on_part_ended(action)
        if self._kill_requested:        # another thread could not kill those that were not started then
            self.kill()
        self._on_part_ended(None)

    def _on_part_ended(self, action: Action | None) -> None:
        with self._lock:
            if action not in self._running:         # it runs by itself
                return
            self._running.remove(action)
            last = not self._running
        if last:
            self._notify_terminated()

    def kill(self) -> Self:
        """Kill all parts; does not wait."""
        self._note_kill()
        for action in self.actions:
            action.kill()
        return self


class SequentialSubActionLH(SubActionLH):
    """Tells a `SequentialActions` of the end of a part."""

    def __init__(self, sequential_action: SequentialActions) -> None:
        self.sequential_action = sequential_action

    def end(self, action: Any) -> None:
        self.sequential_action._on_part_ended(action)


class SequentialActions(_Composite):
    """Runs actions one after the other, also after a failed one; `kill` stops the sequence."""

    def __init__(self, actions: Iterable[Action], **kwargs: Any) -> None:
        super().__init__(actions, **kwargs)
        self._steps: deque[tuple[Action, Callable[[], object]]] = deque()
        self._running: Action | None = None
        self._due = 0                   # parts that have ended while one was being started
        handler = SequentialSubActionLH(self)
        for action in self.actions:
            action.lifecycle_handlers.append(handler)

    def _run_parts(self, steps: list[tuple[Action, Callable[[], object]]]) -> None:
        self._steps = deque(steps)
        self._due = 0
        self._start_next()

    def _on_part_ended(self, action: Action) -> None:
        with self._lock:
            if action is not self._running:         # it runs by itself
                return
            self._running = None
        # Starting the next one calls the user's handlers, which may block.
        the_conductor.outside_io_thread(self._start_next)

    def _start_next(self) -> None:
        """Start the next part.  If that ends at once, this is called again meanwhile: then the first call goes on, lest it recurse."""
        with self._lock:
            self._due += 1
            if self._due > 1:
                return
        while True:
            with self._lock:
                action, start = (None, None) if self._kill_requested or not self._steps else self._steps.popleft()
                self._running = action
            if action is None or start is None:
                self._notify_terminated()
                return
            try:
                start()
            except Exception:           # somebody else has started it after we looked: nobody would tell us of its end
                logger.exception("a part of %r cannot be started:", self)
                continue
            if self._kill_requested:            # between the choice and the start
                action.kill()
            with self._lock:
                self._due -= 1
                if self._due == 0:
                    return

    def kill(self) -> Self:
        """Kill the running part, and start no further one; does not wait."""
        self._note_kill()
        for action in self.actions:
            action.kill()
        return self
