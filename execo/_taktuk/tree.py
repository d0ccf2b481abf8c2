"""One tree: the root TakTuk, as a child in the loop, and the seats of its processes.

A host that cannot be reached, dies, or loses its link ends with an error that says why, and the others go on.  TakTuk tells of a lost
connection only as long as its standard input is open; so it stays open until every command has ended.  What TakTuk does not tell, its end
does: whoever has no status then is lost.
Orders of one turn of the loop go out together, one for all hosts that get the same.
"""

from __future__ import annotations

import logging
import signal
import time
from functools import partial

from .._ssh_failure import ConnectionFailure
from ..log import logger
from ..ssh_utils import BUSY, connection_failure
from .command import guarded, host_item, ranks
from .lines import (
    COMMAND_FAILED,
    COMMAND_STARTED,
    CONNECTION_FAILED,
    CONNECTION_LOST,
    NUMBERED,
    LineParser,
)
from .seat import REPEAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._conductor.run import Run
    from .._conductor.spawn import Spawned
    from .._conductor.streams import Done
    from .seat import Seat

# Why a command has not started.
LOST = "a connection was lost before the commands started"
REFUSED = "refused to another node of the tree"
UNREACHABLE = "no connection"
STUCK = "the tree was stuck because of a lost connection"

CLOSING = 5.0                   # seconds that TakTuk gets to close its connections: one of them may be dead
STUCK_AFTER = 5.0               # seconds after a connection was lost: a tree that is not numbered by then may wait for it for ever
SILENT_AFTER = 40.0             # seconds after that: who has told nothing by then never will; more than a link may be down (`ALIVE`)
NOISE = 4096                    # bytes that are kept of what TakTuk says of itself


class Tree:
    """A `Child` of the loop and the `Listener` of its output.  All of it belongs to the I/O thread, but for the constructor.

    :param seats: those of hosts without a user name first.
    :param keep: the commands go on when Python ends.
    :param on_lost: asked of a seat whose command has not started, with one of the reasons below; True: it is started anew elsewhere.
    :param on_closed: called when nothing is left of the tree.
    """

    def __init__(self, argv: tuple[str, ...], seats: list[Seat], keep: bool, on_lost: Callable[[Seat, str], bool],
                 on_closed: Callable[[Tree], None]) -> None:
        self.argv = argv
        self.seats = seats
        self._on_lost = on_lost
        self._on_closed = on_closed
        self._run: Run | None = None
        self._parser = LineParser(self)
        self._open = set(range(1, len(seats) + 1))      # places whose command may run or start
        self._orders: list[tuple[bytes, set[int], list[Done]]] = []
        self._closing = False
        self._cancelled = False
        self._numbered = False          # before that no command starts anywhere in the tree
        self._noise = b""
        self._copies = any(seat.process._feed is not None for seat in seats)
        self._items = _items(seats)
        self._command = guarded(argv, len(self._items), not keep)
        for place, seat in enumerate(seats, 1):
            seat.tree, seat.place, seat.rank, seat.words = self, place, 0, b""

    def __str__(self) -> str:
        return f"<TakTuk tree of {len(self.seats)} hosts, {len(self._open)} open: {self.argv!r}>"

    @property
    def processes(self) -> list[Any]:
        """One for each host, also those that have ended.  Any thread may ask."""
        return [seat.process for seat in self.seats]

    # the protocol of the loop

    def start(self, run: Run) -> None:
        """May be called by any thread."""
        self._run = run
        run.loop.submit(run)
        run.loop.post(run.write, self._items, None)

    def _on_command(self) -> tuple[tuple[str, ...], bool]:
        # The guardian would find it missing too, but on the other side of a fork.
        from shutil import which  # it imports all compressions

        if which(self.argv[0]) is None:
            raise FileNotFoundError(2, "No such file or directory (Debian package taktuk)", self.argv[0])
        return self._command, False

    def _on_started(self, spawned: Spawned) -> None:
        for seat in self.seats:
            if not seat.process.started and not seat.over:
                seat.process._on_tree_started(spawned.date)

    def _on_failed(self, reason: BaseException) -> None:
        self._closing = True
        for place in sorted(self._open):
            self._fail(self.seats[place - 1], reason)
        self._on_closed(self)

    def _on_cancelled(self) -> None:
        self._on_failed(RuntimeError("cancelled"))

    def _on_output(self, stream: int, data: bytes) -> None:
        if stream == 1:
            self._parser.feed(data)
        else:
            self.on_noise(data.rstrip(b"\n"))

    def _on_eof(self, stream: int, error: bool) -> None:
        if stream == 1:
            self._parser.end()

    def _on_exit(self, status: int | None) -> float | None:
        return None

    def _on_ended(self) -> None:
        self._closing = True            # nobody is there to take an order
        for place in sorted(self._open):
            # In a tree that was never numbered nobody has started.
            self._lose(self.seats[place - 1], _reason("taktuk connection lost", self._noise), LOST if self._numbered else STUCK)
        self._on_closed(self)

    # orders

    def order(self, seat: Seat, order: bytes, done: Done | None = None) -> None:
        """Have it done on one host, which has a rank."""
        if self._closing and done is not None:
            done(BrokenPipeError(32, "the tree is closed"))
        if self._closing or self._run is None:
            return
        if not self._orders:
            self._run.loop.post(self._send_orders)
        if not self._orders or self._orders[-1][0] != order or seat.rank in self._orders[-1][1]:
            self._orders.append((order, set(), []))
        _order, to, waiting = self._orders[-1]
        to.add(seat.rank)
        if done is not None:
            waiting.append(done)

    def _send_orders(self) -> None:
        orders, self._orders = self._orders, []
        for order, to, waiting in orders:
            self._say(b"%s %s;" % (ranks(to), order), _all(waiting))

    def _say(self, text: bytes, done: Done | None = None) -> None:
        if self._run is not None:
            self._run.write(text, done)

    # the listener of its output

    def on_output(self, place: int, stream: int, data: bytes) -> None:
        seat = self._seat(place)
        if seat is not None:
            seat.process._on_output(stream, data)

    def on_status(self, place: int, status: int) -> None:
        seat = self._seat(place, even_cancelled=True)
        if seat is not None:
            seat.on_over()
            self._close_place(place)
            if not seat.cancelled:
                seat.process._on_status(status)

    def on_connector(self, place: int, words: bytes) -> None:
        seat = self._seat(place)
        if seat is None:
            self.on_noise(words)
        else:
            seat.hear(words)

    def on_state(self, place: int, state: int, rank: int, pid: int, peer: int | None, below: list[int]) -> None:
        seat = self._seat(place if peer is None else peer, even_cancelled=True)
        if place == 0 and state == NUMBERED:
            self._numbered = True
        elif seat is None:
            if state == COMMAND_STARTED:        # it was given up
                self._end_command(rank)
        elif state == CONNECTION_FAILED:
            self._not_connected(seat, place)
        elif state == CONNECTION_LOST:
            for each in [seat, *filter(None, map(self._seat, below))]:
                self._lose(each, _reason("taktuk connection lost", seat.words), LOST)
            self._look_later()
        elif state == NUMBERED:
            seat.rank = rank
        elif state == COMMAND_STARTED:
            seat.rank = rank
            seat.started = True
            if seat.cancelled:
                self._end_command(rank)
            else:
                seat.process.pid = pid
                seat.on_command_started(pid)
                self._feed()
        elif state == COMMAND_FAILED:
            self._fail(seat, _reason("taktuk remote command execution failed", self._noise))

    def on_noise(self, words: bytes) -> None:
        self._noise = (self._noise + words + b"\n")[-NOISE:]
        logger.log(logging.DEBUG, "taktuk: %s", words.decode("utf-8", "backslashreplace"))

    def _seat(self, place: int, even_cancelled: bool = False) -> Seat | None:
        """The seat of a place that is open."""
        seat = self.seats[place - 1] if place in self._open else None
        return seat if even_cancelled or seat is None or not seat.cancelled else None

    def _feed(self) -> None:
        """Give copies their input: to all at once, so that each node passes it on, and it leaves this machine but few times."""
        if not self._copies or not all(self.seats[place - 1].started or self.seats[place - 1].cancelled for place in self._open):
            return
        hungry: dict[bytes, list[Seat]] = {}
        for seat in (self.seats[place - 1] for place in sorted(self._open)):
            if seat.process._feed is not None and not seat.fed and not seat.cancelled:
                seat.fed = True
                hungry.setdefault(seat.process._feed, []).append(seat)
        for order, alike in hungry.items():
            for seat in alike:
                seat.order(order)
            for seat in alike:
                seat.order(b"input close")

    # ends

    def _close_place(self, place: int) -> None:
        self._open.discard(place)
        if not self._open:
            self._close()
        elif all(self.seats[one - 1].cancelled for one in self._open):
            self._end_soon()
        else:
            self._feed()

    def _close(self) -> None:
        """Every command has ended: have TakTuk close its connections."""
        run = self._run
        if self._closing or run is None:
            return
        self._send_orders()
        self._closing = True
        self._say(b"quit;")
        self._later(CLOSING, partial(self._end_at_once, run))

    def _end_at_once(self, run: Run) -> None:
        run.signal(signal.SIGQUIT)

    def _end_soon(self) -> None:
        """Nobody waits for what is still open: connections that may never be made, commands that are being killed."""
        run = self._run
        if self._closing or self._cancelled or run is None:
            return
        self._cancelled = True
        self._say(b"network cancel;")
        self._later(CLOSING, self._end_now)

    def _end_now(self) -> None:
        if self._run is not None and not self._closing and all(self.seats[one - 1].cancelled for one in self._open):
            self._closing = True
            self._run.signal(signal.SIGQUIT)

    def on_cancelled(self, seat: Seat) -> None:
        """Its process does not wait for it any more; if the command starts all the same, it is killed."""
        self._feed()
        if self._open and all(self.seats[one - 1].cancelled for one in self._open):
            self._end_soon()

    def _end_command(self, rank: int) -> None:
        """A command has started that nobody wants any more."""
        for pause in (0.0, *REPEAT):
            self._later(pause, partial(self._say, b"%d kill 9;" % rank))

    def _later(self, pause: float, call: Callable[[], None]) -> None:
        if self._run is not None:
            self._run.loop.call_at(time.monotonic() + pause, call)

    def give_up(self, seat: Seat) -> None:
        """It did not answer."""
        self._fail(seat, _reason("taktuk connection lost", b"no answer to SIGKILL"))

    def _not_connected(self, seat: Seat, by: int) -> None:
        """`by`: the place of who tried."""
        if seat.cancelled:
            self._close_place(seat.place)
            return
        words = seat.words.decode("utf-8", "replace")
        failure = connection_failure(255, True, words, seat.process.host.address, True)
        if words.splitlines()[-1:] == ["timeouted"]:            # by TakTuk's option -t
            failure = ConnectionFailure("no answer from the other side: timed out", timed_out=True, retryable=True)
        seat.process.connection_failure = failure
        if failure is not None and failure.server_is_busy:
            why = BUSY
        elif by and (failure is None or not failure.retryable):
            why = REFUSED
        else:
            why = UNREACHABLE
        self._lose(seat, _reason("taktuk connection failed", seat.words), why)

    def _lose(self, seat: Seat, reason: OSError, why: str) -> None:
        # Once the tree is numbered a connected host starts its command, even if the news of it is lost.
        maybe_started = seat.started or why in (LOST, STUCK) and self._numbered
        if maybe_started or seat.cancelled or not self._on_lost(seat, why):
            self._fail(seat, reason)
        else:
            seat.process.connection_failure = None
            self._close_place(seat.place)

    def _look_later(self) -> None:
        """After a loss: TakTuk may not notice that others wait for the lost host."""
        self._later(STUCK_AFTER, self._look)

    def _look(self) -> None:
        run = self._run
        if self._closing or run is None:
            return
        if self._numbered:
            self._later(SILENT_AFTER, self._fail_silent)
        else:
            self._closing = True
            run.signal(signal.SIGQUIT)

    def _fail_silent(self) -> None:
        """Those that are told nothing of may have started, so they are not tried again."""
        for place in sorted(self._open) if not self._closing else ():
            seat = self.seats[place - 1]
            if not seat.started:
                self._fail(seat, _reason("taktuk connection lost", b"it has not started since another host was lost"))

    def _fail(self, seat: Seat, reason: BaseException) -> None:
        if seat.cancelled:
            self._close_place(seat.place)
            return
        if seat.over:
            return
        seat.on_over()
        if seat.words:
            seat.process._on_output(2, seat.words)
        self._close_place(seat.place)
        seat.process._on_lost(reason)


def _items(seats: list[Seat]) -> bytes:
    items = []
    login: str | None = None
    for seat in seats:
        process = seat.process
        items.append(host_item(process.host, process.connection_params, login, process._shell_command()))
        login = process._login
    return b"".join(items)


def _all(waiting: list[Done]) -> Done | None:
    if not waiting:
        return None

    def done(error: OSError | None) -> None:
        for each in waiting:
            each(error)

    return done


def _reason(what: str, words: bytes) -> OSError:
    said = b"; ".join(line.strip() for line in words.splitlines() if line.strip()).decode("utf-8", "backslashreplace")
    return ConnectionError(f"{what}: {said}" if said else what)
