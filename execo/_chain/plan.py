"""Who feeds whom: the decisions of a chain copy.  Pure: what has happened goes in, with its date; orders come out.

The hosts that are in order form a chain behind the head (the machine that has the files): each is fed by the one before it.  Every host
keeps what it has received, so it can feed from any offset, and the one that is fed says from which: an order names two hosts, and nothing
that was sent is lost when it changes.  No hop waits for the one behind it.

A host that is slow, stuck or cannot be connected to leaves the chain: what it fed is fed by the one before it.  It stays a leaf, which
feeds nobody, and gets its files if it makes progress.  If the next one behind the same feeder is slow too, the feeder is to blame: it
becomes the leaf, and the first one comes back into the chain.  Leaves that lose their feeder, or get nothing from it, are given others in
turn, first those that have all.

A host that comes late (its connection took longer) joins at the end.
"""

from __future__ import annotations

import errno
from collections import deque
from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

HEAD = -1

START_GRACE = 2.0
"""Seconds that the first hosts wait for the others, so that the chain has the order of the user."""
START_SECONDS = 120.0
"""If no host begins for so long, those that have not are given up."""
WINDOW_BEATS = 5
"""The rate of a host is measured over so many reports."""
CATCH_UP_SECONDS = 10.0
"""A host that needs longer to reach its feeder, at its present rate, may be slow."""
SLOWER = 8
"""It is, if another one is so many times faster,"""
SLOW_RATE = 1 << 20
"""or if it receives fewer bytes per second."""
WORK_RATE = 2 << 20
"""Bytes per second at which a host must at least check its files and put them in place."""


@dataclass(frozen=True)
class Settings:
    """Durations are seconds."""

    beat: float = 0.5
    """Between two reports of a host."""
    connect_timeout: float = 5.0
    silence: float = 30.0
    """A host without any sign of life, or without progress although there is something for it, is given up after this."""
    restarts: int = 5
    """How often a host may begin anew when its files are damaged."""
    losses: int = 10
    """How often a host may lose its feeder."""
    pause: float = 1.0
    """Between two connections to one host, from the second loss on."""

    @property
    def window(self) -> float:
        return max(3.0, WINDOW_BEATS * self.beat)

    @property
    def patience(self) -> float:
        return max(self.silence, 2 * self.window)


@dataclass(frozen=True)
class Failure:
    """Why a host does not get its files."""

    text: str
    errno: int = 0
    """0: no system call has failed."""
    path: str = ""
    checksum: bool = False


@dataclass(frozen=True)
class Feed:
    """To `feeder`: connect to the hop of `target`, and send what it lacks."""

    feeder: int
    target: int
    generation: int
    port: int
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Drop:
    """To `feeder`: stop that feed."""

    feeder: int
    generation: int


@dataclass(frozen=True)
class Commit:
    """To `host`: your files are right, put them in place."""

    host: int


@dataclass(frozen=True)
class Restart:
    """To `host`: forget what you have."""

    host: int


@dataclass(frozen=True)
class Settled:
    """The outcome for `host`; None: it has its files."""

    host: int
    failure: Failure | None


if TYPE_CHECKING:
    Order: TypeAlias = Feed | Drop | Commit | Restart | Settled

# The phases of a host
STARTING, RECEIVING, VERIFYING, COMMITTING, DONE, GONE = "starting", "receiving", "verifying", "committing", "done", "gone"


@dataclass
class _Node:
    phase: str = STARTING
    settled: bool = False
    addresses: tuple[str, ...] = ()
    port: int = 0
    have: int = 0
    feeder: int | None = None
    generation: int = 0
    """Of the feed that it has; 0: none."""
    leaf: bool = False
    retry_at: float | None = None
    """It has no feeder, and is to be given one then."""
    avoid: int | None = None
    """The feeder that it has lost."""
    losses: int = 0
    """Feeds that were lost since something was received."""
    restarting: bool = False
    """It was told to begin anew, and has not said that it did."""
    restarts: int = 0
    heard: float = 0.0
    moved: float = 0.0
    """When its offset has last changed, or it had no reason to."""
    since: float = 0.0
    """Of this phase."""
    fed_since: float = 0.0
    began: float = 0.0
    average: float = 0.0
    """Bytes per second over the whole time, once all is received."""
    reports: deque[tuple[float, int]] = field(default_factory=deque)
    digest: str = ""
    suspect: int | None = None
    """Its feeder when it became a leaf, as long as that may have been the feeder's fault."""
    blamed: bool = False
    """It was a suspect's follower once; the next time it is its own fault."""

    @property
    def alive(self) -> bool:
        return self.phase not in (STARTING, GONE)

    def rate(self, window: float) -> float | None:
        """Bytes per second over the window; None if the reports do not cover it yet."""
        if not self.reports or self.reports[-1][0] - self.reports[0][0] < window * 0.8:
            return None
        (first, begin), (last, end) = self.reports[0], self.reports[-1]
        return (end - begin) / (last - first)


class Plan:
    """One transfer to hosts 0 to n-1.

    :param addresses: of each host, as the user named it.
    :param now: of this and of all events: seconds of one clock that does not go back.
    """

    def __init__(self, addresses: Iterable[str], settings: Settings, now: float) -> None:
        self.settings = settings
        self._named = list(addresses)
        self._nodes = {i: _Node(heard=now, moved=now) for i in range(len(self._named))}
        self._head = _Node(phase=RECEIVING, heard=now, moved=now, since=now)
        self._chain: list[int] = [HEAD]
        self._total: int | None = None
        self._sealed = ""
        self._generation = 0
        self._starting_news = now
        self._first_port: float | None = None
        self._chained = False
        self._orders: list[Order] = []

    @property
    def finished(self) -> bool:
        """All hosts are settled."""
        return all(node.settled for node in self._nodes.values())

    @property
    def total(self) -> int | None:
        """Bytes of the stream."""
        return self._total

    def works(self, host: int) -> bool:
        """Its hop has begun, and its outcome is not known."""
        return self._nodes[host].alive and not self._nodes[host].settled

    def _node(self, host: int) -> _Node:
        return self._head if host == HEAD else self._nodes[host]

    def _taken(self) -> list[Order]:
        orders, self._orders = self._orders, []
        return orders

    # events

    def sized(self, content: int, total: int, now: float) -> list[Order]:
        """The head knows what there is to send; the checksums, after the first `content` bytes, come while the rest is on its way."""
        self._total = total
        self._head.have = content
        self._head.heard = self._head.since = now
        self._join_all(now)
        return self._taken()

    def sealed(self, digest: str, now: float) -> list[Order]:
        self._sealed = digest
        self._head.heard = now
        self._head.phase = DONE
        self._head.have = self._total or 0
        for host, node in self._nodes.items():
            if node.phase == VERIFYING and node.digest:
                self._judge(host, now)
        return self._taken()

    def port(self, host: int, port: int, address: str, now: float) -> list[Order]:
        """A hop listens; `address`: where ssh has reached it, or ''."""
        node = self._nodes[host]
        if node.phase != STARTING:
            return []
        named = self._named[host]
        numeric = ":" in named or not named.strip("0123456789.")
        both = (named, address) if numeric else (address, named)
        node.addresses = tuple(dict.fromkeys(each for each in both if each))
        node.port = port
        node.phase = RECEIVING
        node.heard = node.moved = node.since = self._starting_news = now
        self._first_port = now if self._first_port is None else self._first_port
        if self._chained:
            self._join(host, now)
        else:
            self._join_all(now)
        return self._taken()

    def got(self, host: int, offset: int, now: float) -> list[Order]:
        node = self._node(host)
        node.heard = now
        if host == HEAD or not node.alive:
            return []
        if node.restarting:
            if offset == 0:             # what it said before was on its way
                node.restarting = False
                self._feed_leaf(host, now)
            return self._taken()
        if offset != node.have:
            node.moved = now
            node.have = offset
            node.losses = 0
        node.reports.append((now, offset))
        while len(node.reports) > 2 and node.reports[1][0] <= now - self.settings.window:
            node.reports.popleft()
        if self._total is not None and offset >= self._total and node.phase == RECEIVING:
            self._enter(node, VERIFYING, now)
            node.average = offset / max(now - node.began, 0.5)
            node.feeder, node.generation, node.retry_at = None, 0, None
        return self._taken()

    def lost(self, feeder: int, generation: int, reason: str, now: float) -> list[Order]:
        """A feed has failed, or could not be connected."""
        self._node(feeder).heard = now
        for host, node in self._nodes.items():
            if node.generation == generation and node.feeder == feeder:
                if self._count_loss(host, reason, now):
                    self._blame(host, feeder, now)
                    self._feed_again(host, feeder, now)
                break
        return self._taken()

    def orphan(self, host: int, generation: int, now: float) -> list[Order]:
        """The source of a host has gone."""
        node = self._nodes[host]
        node.heard = now
        feeder = node.feeder
        if node.generation == generation and feeder is not None and self._count_loss(host, "its source has gone", now):
            if host in self._chain and feeder != HEAD:
                self._leave_chain(feeder, now)          # most likely it has ended
                self._feed_leaves_of(feeder, now)
            else:
                self._leave_chain(host, now)
                self._feed_again(host, feeder, now)
        return self._taken()

    def verified(self, host: int, digest: str, now: float) -> list[Order]:
        node = self._nodes[host]
        node.heard = now
        if node.phase in (RECEIVING, VERIFYING):
            self._enter(node, VERIFYING, now)
            node.digest = digest
            if self._sealed:
                self._judge(host, now)
        return self._taken()

    def differs(self, host: int, name: str, now: float) -> list[Order]:
        """A file is not what the head has sent."""
        node = self._nodes[host]
        node.heard = now
        if node.phase in (RECEIVING, VERIFYING):
            self._damaged(host, name, now)
        return self._taken()

    def done(self, host: int, now: float) -> list[Order]:
        node = self._nodes[host]
        node.heard = now
        if node.phase == COMMITTING:
            self._enter(node, DONE, now)
            self._settle(host, None)
        return self._taken()

    def failed(self, host: int, failure: Failure, now: float) -> list[Order]:
        """It has said that it cannot go on, or its process has ended.  Without the head nobody gets more."""
        if host == HEAD:
            self._give_up(failure)
        elif self._nodes[host].phase != GONE:
            self._remove(host, now)
            self._settle(host, failure)
            self._join_all(now)
        return self._taken()

    def again(self, host: int, now: float) -> list[Order]:
        """The hop of a host was lost, through no fault of its own, and another is being started there."""
        node = self._nodes[host]
        self._remove(host, now)
        self._nodes[host] = _Node(heard=now, moved=now, settled=node.settled, restarts=node.restarts)
        self._starting_news = now
        return self._taken()

    def forget(self, host: int, now: float) -> list[Order]:
        """The user has killed it: no outcome is told."""
        node = self._nodes[host]
        if node.phase != GONE:
            self._remove(host, now)
            node.settled = True
            self._join_all(now)
        return self._taken()

    def tick(self, now: float) -> list[Order]:
        """Time has passed; to be called about once a beat."""
        self._give_up_starting(now)
        if not self._chained:
            self._join_all(now)
        self._give_up_silent(now)
        for host, node in self._nodes.items():
            if node.retry_at is not None and now >= node.retry_at and node.phase == RECEIVING:
                self._feed_leaf(host, now, node.avoid)
        self._look_for_slow(now)
        return self._taken()

    # steps

    def _enter(self, node: _Node, phase: str, now: float) -> None:
        if node.phase != phase:
            node.phase = phase
            node.since = now

    def _settle(self, host: int, failure: Failure | None) -> None:
        node = self._nodes[host]
        if not node.settled:
            node.settled = True
            self._orders.append(Settled(host, failure))

    def _judge(self, host: int, now: float) -> None:
        if self._nodes[host].digest == self._sealed:
            self._enter(self._nodes[host], COMMITTING, now)
            self._orders.append(Commit(host))
        else:
            self._damaged(host, "", now)

    def _damaged(self, host: int, name: str, now: float) -> None:
        node = self._nodes[host]
        if node.restarts >= self.settings.restarts:
            self._remove(host, now)
            self._settle(host, Failure("SHA-256 differs from that of the sender", errno.EBADMSG, name, checksum=True))
            return
        node.restarts += 1
        self._leave_chain(host, now)            # and nobody else gets what is damaged
        self._feed_leaves_of(host, now)
        node.have, node.digest, node.restarting, node.moved = 0, "", True, now
        node.reports.clear()
        self._enter(node, RECEIVING, now)
        self._orders.append(Restart(host))

    def _join_all(self, now: float) -> None:
        """Begin the chain, when there is something to send and all hosts have come or enough time has passed."""
        if self._chained or self._total is None or self._first_port is None:
            return
        if now < self._first_port + START_GRACE and any(node.phase == STARTING for node in self._nodes.values()):
            return
        self._chained = True
        for host, node in self._nodes.items():
            if node.phase == RECEIVING:
                self._join(host, now)

    def _join(self, host: int, now: float) -> None:
        self._nodes[host].began = now
        self._feed(self._chain[-1], host, now)
        self._chain.append(host)

    def _feed(self, feeder: int, host: int, now: float) -> None:
        node = self._nodes[host]
        if node.generation and node.feeder is not None and self._node(node.feeder).alive:
            self._orders.append(Drop(node.feeder, node.generation))
        self._generation += 1
        node.feeder, node.generation, node.retry_at = feeder, self._generation, None
        node.fed_since = now
        node.reports.clear()
        self._orders.append(Feed(feeder, host, self._generation, node.port, node.addresses))

    def _before(self, host: int) -> int:
        return self._chain[self._chain.index(host) - 1]

    def _leave_chain(self, host: int, now: float) -> int | None:
        """It becomes a leaf; returns the host that the next one is fed by now, if it was in the chain."""
        node = self._nodes[host]
        node.leaf = True
        if host not in self._chain:
            return None
        place = self._chain.index(host)
        feeder = self._chain[place - 1]
        del self._chain[place]
        if place < len(self._chain):
            follower = self._chain[place]
            if self._nodes[follower].phase == RECEIVING:
                self._feed(feeder, follower, now)
        return feeder

    def _feed_leaves_of(self, feeder: int, now: float) -> None:
        """Give the leaves that it feeds to others."""
        for host, node in self._nodes.items():
            if node.feeder == feeder and node.leaf and node.phase == RECEIVING:
                self._feed_leaf(host, now, feeder)

    def _remove(self, host: int, now: float) -> None:
        """It is not there any more."""
        node = self._nodes[host]
        node.phase, node.retry_at = GONE, None
        if node.generation and node.feeder is not None and self._node(node.feeder).alive:
            self._orders.append(Drop(node.feeder, node.generation))
        node.feeder, node.generation = None, 0
        self._leave_chain(host, now)
        self._feed_leaves_of(host, now)

    def _feed_leaf(self, host: int, now: float, but: int | None = None) -> None:
        """Give it a feeder other than `but`: one that has all, with the fewest to feed; else the one before its present place."""
        load: dict[int, int] = {}
        for node in self._nodes.values():
            if node.generation and node.feeder is not None:
                load[node.feeder] = load.get(node.feeder, 0) + 1
        wanted = self._nodes[host].have
        candidates = [each for each in self._chain if each not in (host, but)] or [HEAD]

        def order(each: int) -> tuple[bool, bool, int, int]:
            has_all = self._node(each).phase == DONE and each != HEAD
            return not has_all, self._node(each).have <= wanted, load.get(each, 0), each

        self._feed(min(candidates, key=order), host, now)

    def _count_loss(self, host: int, reason: str, now: float) -> bool:
        """It has no feeder any more; False if that was once too often."""
        node = self._nodes[host]
        if node.phase != RECEIVING:
            return False
        node.avoid, node.generation, node.feeder = node.feeder, 0, None
        node.losses += 1
        if node.losses > self.settings.losses:
            self._remove(host, now)
            self._settle(host, Failure(f"no connection to it lasts, the last of {node.losses}: {reason}", errno.ECONNABORTED))
            return False
        return True

    def _feed_again(self, host: int, but: int | None, now: float) -> None:
        """Give a leaf that has lost its feeder another one, unless it has one by now."""
        node = self._nodes[host]
        if node.phase != RECEIVING or node.generation:
            return
        if node.losses <= 1:
            self._feed_leaf(host, now, but)
        else:
            node.retry_at = now + self.settings.pause

    def _blame(self, host: int, feeder: int, now: float) -> None:
        """Nothing, or too little, goes from `feeder` to `host`: one of the two leaves the chain."""
        node = self._nodes[host]
        first = next((other for other, its in self._nodes.items() if its.suspect == feeder and other != host), None)
        if host in self._chain and feeder != HEAD and feeder in self._chain and first is not None:
            # The second one behind the same feeder: it was not the fault of the first.
            self._nodes[first].suspect = None
            before = self._before(feeder)
            self._chain.remove(feeder)
            self._nodes[feeder].leaf = True
            if self._nodes[first].leaf and self._nodes[first].phase == RECEIVING:
                self._nodes[first].leaf = False
                self._chain.insert(self._chain.index(host), first)
                self._feed(before, first, now)
                before = first
            self._feed(before, host, now)
            self._feed_leaves_of(feeder, now)
            return
        if host in self._chain and feeder != HEAD and not node.blamed:
            node.blamed, node.suspect = True, feeder
        self._leave_chain(host, now)
        self._feed_leaves_of(host, now)

    # time

    def _give_up(self, failure: Failure) -> None:
        for host, node in self._nodes.items():
            if not node.settled:
                node.phase = GONE
                self._settle(host, failure)

    def _give_up_starting(self, now: float) -> None:
        if now - self._starting_news < START_SECONDS:
            return
        for host, node in self._nodes.items():
            if node.phase == STARTING:
                self._remove(host, now)
                self._settle(host, Failure(f"it did not begin, nor did another host for {START_SECONDS:.0f} s", errno.ETIMEDOUT))

    def _give_up_silent(self, now: float) -> None:
        patience = self.settings.patience
        work = patience + (self._total or 0) / WORK_RATE
        if self._head.alive and now - self._head.heard > patience:
            self._give_up(Failure(f"no sign of life from the sender for {patience:.0f} s", errno.ETIMEDOUT))
            return
        if self._head.phase == RECEIVING and self._total is not None and now - self._head.since > work:
            self._give_up(Failure(f"the sender has not read its files in {work:.0f} s", errno.ETIMEDOUT))
            return
        for host, node in self._nodes.items():
            if not node.alive or node.settled and node.phase != DONE:
                continue
            failure = None
            if now - node.heard > patience:
                failure = f"no sign of life for {patience:.0f} s"
            elif node.phase == RECEIVING and self._chained and self._may_advance(node) and now - node.moved > patience:
                failure = f"no progress for {patience:.0f} s, at byte {node.have} of {self._total}"
            elif node.phase in (VERIFYING, COMMITTING) and now - node.since > work:
                failure = f"its files were not checked and in place after {work:.0f} s"
            elif node.phase == RECEIVING and not self._may_advance(node):
                node.moved = now
            if failure is not None:
                self._remove(host, now)
                self._settle(host, Failure(failure, errno.ETIMEDOUT))

    def _may_advance(self, node: _Node) -> bool:
        """Has its feeder something for it?  Also true if it has no feeder, for which it is to blame."""
        if node.feeder is None:
            return True
        return self._node(node.feeder).have > node.have

    def _receiving(self) -> Iterator[tuple[int, _Node]]:
        for host in self._chain[1:]:
            if self._nodes[host].phase == RECEIVING:
                yield host, self._nodes[host]

    def _look_for_slow(self, now: float) -> None:
        window = self.settings.window
        # One at a time: when it is out of the way, those behind it show what they can do.
        for host, node in self._receiving():
            if node.feeder is not None and self._is_slow(host, node, now):
                self._blame(host, node.feeder, now)
                return
        for host, node in self._nodes.items():
            if (node.leaf and node.phase == RECEIVING and node.generation and self._may_advance(node)
                    and now - node.moved > window and now - node.fed_since > window + self.settings.connect_timeout):
                self._feed_leaf(host, now, node.feeder)

    def _is_slow(self, host: int, node: _Node, now: float) -> bool:
        window = self.settings.window
        if node.feeder is None or not self._may_advance(node) or now - node.fed_since < window:
            return False
        rate = 0.0 if now - node.moved > window else node.rate(window)
        if rate is None:
            return False
        if rate == 0:
            return now - node.moved > window
        if (self._node(node.feeder).have - node.have) / rate < CATCH_UP_SECONDS:
            return False
        return rate < SLOW_RATE or rate * SLOWER < self._best_rate()

    def _best_rate(self) -> float:
        """Of those that receive, now, and of those that have all, over the whole of their time."""
        return max((node.average or node.rate(self.settings.window) or 0.0 for node in self._nodes.values() if node.alive), default=0.0)
