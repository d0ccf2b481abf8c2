"""Runs a plan: what the hops say goes in, its orders go to them, outcomes to the processes that the user sees.

One thread for one transfer, and a queue that all others put their events into, so the plan needs no lock and may take its time: a
thousand hops that report at once hold up nobody else's I/O.
"""

from __future__ import annotations

import os
import queue
import threading
import time

from .._process.base import ProcessLifecycleHandler
from .._process.output import ProcessOutputHandler
from ..log import logger
from .plan import HEAD, Commit, Drop, Failure, Feed, Plan, Restart, Settled
from .protocol import drop_line, feed_line, parse_event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .plan import Order
    from .process import ChainProcess

END_SECONDS = 5.0
"""The hops have so long to end by themselves when all is done, and as long again after SIGTERM."""


class _Lines(ProcessOutputHandler):
    def __init__(self, coordinator: Coordinator, number: int) -> None:
        super().__init__()
        self._coordinator = coordinator
        self._number = number

    def read_line(self, process: Any, stream: int, string: str) -> None:
        self._coordinator.post("line", self._number, string)


class _Ends(ProcessLifecycleHandler):
    inline = True

    def __init__(self, coordinator: Coordinator, number: int) -> None:
        self._coordinator = coordinator
        self._number = number

    def end(self, process: Any) -> None:
        self._coordinator.post("end", self._number, "")


class Coordinator:
    """One transfer.  Make it, `listen_to` all hops before their start, then `start`; any thread may call `kill`.

    :param start_again: starts another hop for a host, for which it calls `listen_to`.
    """

    def __init__(self, plan: Plan, start_again: Callable[[int], None]) -> None:
        self._plan = plan
        self._start_again = start_again
        self._started_again: set[int] = set()
        self._outcomes: dict[int, ChainProcess] = {}
        self._hops: dict[int, Any] = {}
        self._running: set[int] = set()
        self._last_words: dict[int, Failure] = {}
        self._events: queue.SimpleQueue[tuple[str, int, str]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="execo-chain", daemon=True)

    # any thread

    def post(self, what: str, number: int, text: str) -> None:
        self._events.put((what, number, text))

    def kill(self, number: int) -> None:
        self.post("kill", number, "")

    def listen_to(self, number: int, hop: Any, outcome: ChainProcess | None) -> None:
        """To be called before the hop is started; HEAD is one too, without an outcome of its own."""
        self._hops[number] = hop
        if outcome is not None:
            self._outcomes[number] = outcome
        self._running.add(number)
        hop.stdout_handlers.append(_Lines(self, number))
        hop.lifecycle_handlers.append(_Ends(self, number))

    def start(self) -> None:
        self._thread.start()

    # its thread

    def _run(self) -> None:
        try:
            last = self._until_settled()
        except Exception:               # a bug here must not leave anybody waiting
            logger.exception("chain copy:")
            last = [Settled(i, Failure("the coordinator has failed, see the log")) for i in self._outcomes]
        self._end_hops()
        for settled in last:
            self._settle(settled)
        for outcome in self._outcomes.values():
            outcome.cancelled()

    def _until_settled(self) -> list[Settled]:
        """The outcomes that are told when the hops have ended: those after which nothing is left to do."""
        beat = self._plan.settings.beat
        next_tick = time.monotonic() + beat
        while True:
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + beat
                orders = self._plan.tick(now)
                self._on_time()
            else:
                try:
                    orders = self._on_event(*self._events.get(timeout=next_tick - now), time.monotonic())
                except queue.Empty:
                    continue
            outcomes = [order for order in orders if isinstance(order, Settled)]
            for order in orders:
                self._execute(order)
            if self._plan.finished:
                return outcomes
            for settled in outcomes:
                self._settle(settled)

    def _on_time(self) -> None:
        now = time.monotonic()
        for number, outcome in self._outcomes.items():
            if outcome.deadline is not None and now >= outcome.deadline and not outcome.ended and not outcome.timeouted:
                outcome.timeouted = True
                self.kill(number)

    def _on_event(self, what: str, number: int, text: str, now: float) -> list[Order]:
        if what == "line":
            return self._on_line(number, text, now)
        if what == "end":
            self._running.discard(number)
            if number != HEAD and self._outcomes[number].killed:
                self._outcomes[number].cancelled()
            if self._is_worth_another(number):
                logger.info("chain copy: the connection to %s was lost, another is being made", self._name(number))
                self._started_again.add(number)
                orders = self._plan.again(number, now)
                self._start_again(number)
                return orders
            return self._plan.failed(number, self._last_words.get(number) or self._why_ended(number), now)
        if self._outcomes[number].ended:
            return []
        orders = self._plan.forget(number, now)
        self._outcomes[number].killed = True
        if number in self._running:
            self._hops[number].kill()
        return orders

    def _is_worth_another(self, number: int) -> bool:
        """Below a node of a TakTuk tree that dies, all lose their connections."""
        return (number != HEAD and isinstance(self._hops[number].error_reason, ConnectionError) and number not in self._started_again
                and number not in self._last_words and self._plan.works(number) and not self._outcomes[number].killed)

    def _on_line(self, number: int, line: str, now: float) -> list[Order]:
        event = parse_event(line)
        if event is None:
            logger.debug("chain copy: %s said %r", self._name(number), line)
            return []
        plan, (word, fields) = self._plan, event
        if word == "fail":
            errno, text, path = fields
            failure = Failure(str(text), int(errno), str(path))
            if number == HEAD:
                failure = Failure(f"the sender: {failure.text}", failure.errno, failure.path)
            self._last_words[number] = failure
            return plan.failed(number, failure, now)
        if word == "stranger":
            logger.warning("chain copy: %s refused %d connection(s): %s", self._name(number), *fields)
            return []
        if word == "lost":
            logger.debug("chain copy: %s has lost a feed: %s", self._name(number), fields[1])
            return plan.lost(number, int(fields[0]), str(fields[1]), now)
        if number == HEAD:
            of_head: dict[str, Callable[..., list[Order]]] = {"sized": plan.sized, "sealed": plan.sealed}
            if word in of_head:
                return of_head[word](*fields, now)
            return plan.got(HEAD, 0, now) if word == "got" else []
        of_host: dict[str, Callable[..., list[Order]]] = {
            "port": plan.port, "got": plan.got, "orphan": plan.orphan, "verified": plan.verified, "differs": plan.differs,
            "done": plan.done}
        return of_host[word](number, *fields, now) if word in of_host else []

    def _name(self, number: int) -> str:
        return "the sender" if number == HEAD else str(self._outcomes[number].host.address)

    def _why_ended(self, number: int) -> Failure:
        hop = self._hops[number]
        who = "the sender" if number == HEAD else "its hop"
        if hop.connection_failure is not None:
            return Failure(hop.connection_failure.message)
        if hop.error:
            reason = hop.error_reason
            return Failure(f"{who} could not be started: {reason}", getattr(reason, "errno", None) or 0)
        said = hop.stderr.strip().splitlines()
        return Failure(f"{who} has ended with exit code {hop.exit_code}" + (f": {said[-1]}" if said else ""))

    def _execute(self, order: Order) -> None:
        if isinstance(order, Feed):
            self._send(order.feeder, feed_line(order))
        elif isinstance(order, Drop):
            self._send(order.feeder, drop_line(order.generation))
        elif isinstance(order, Commit):
            self._send(order.host, "commit\n")
        elif isinstance(order, Restart):
            logger.info("chain copy: %s begins anew, for its files were damaged", self._name(order.host))
            self._send(order.host, "restart\n")
        elif order.failure is not None:
            self._send(order.host, "quit\n")        # it removes its temporary files; one that is frozen is killed at the end

    def _send(self, number: int, line: str) -> None:
        if number in self._running:
            self._hops[number].write(line)

    def _settle(self, settled: Settled) -> None:
        outcome = self._outcomes[settled.host]
        failure = settled.failure
        if outcome.killed and failure is not None:
            return                                  # told as such when its hop has ended
        hop = self._hops.get(settled.host)
        if failure is None:
            outcome.succeeded()
            return
        outcome.failed(_exception(failure), hop.stderr if hop else "", hop.connection_failure if hop else None)

    def _end_hops(self) -> None:
        """Returns when all have ended, if that can be had."""
        for number in sorted(self._running):
            self._send(number, "quit\n")
        for last_resort in (False, True):
            deadline = time.monotonic() + END_SECONDS
            while self._running and (left := deadline - time.monotonic()) > 0:
                try:
                    what, number, _ = self._events.get(timeout=left)
                except queue.Empty:
                    break
                if what == "end":
                    self._running.discard(number)
            for number in self._running:
                self._hops[number].kill(9 if last_resort else 15)


def _exception(failure: Failure) -> Exception:
    if failure.errno:
        # as a failed system call of this Python would look: OSError chooses its subclass
        text = failure.text or os.strerror(failure.errno)
        return OSError(failure.errno, text, failure.path) if failure.path else OSError(failure.errno, text)
    return ChildProcessError(f"{failure.text}: {failure.path}" if failure.path else failure.text)
