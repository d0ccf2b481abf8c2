"""Who feeds whom in a chain copy: the plan alone, against a network that is made of numbers."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execo._chain.plan import (
    HEAD,
    START_GRACE,
    START_SECONDS,
    Commit,
    Drop,
    Failure,
    Feed,
    Plan,
    Restart,
    Settings,
    Settled,
)
from execo._chain.protocol import feed_line, head_line, join_line, parse_event, program

if TYPE_CHECKING:
    from execo._chain.plan import Order

DIGEST = "d"
GONE = Failure("gone")


def begun(n: int, total: int = 1000, settings: Settings | None = None) -> tuple[Plan, list[Order]]:
    """All hosts have come, at date 0; the orders that this gave."""
    plan = Plan([f"h{i}" for i in range(n)], settings or Settings(), 0.0)
    orders = plan.sized(total, total, 0.0)
    for i in range(n):
        orders += plan.port(i, 1000 + i, "", 0.0)
    return plan, orders


def feeds(orders: list[Order]) -> list[tuple[int, int]]:
    return [(order.feeder, order.target) for order in orders if isinstance(order, Feed)]


def complete(plan: Plan, host: int, now: float) -> list[Order]:
    return plan.got(host, 1000, now) + plan.verified(host, DIGEST, now)


def test_the_hosts_form_a_chain_in_the_order_of_the_user() -> None:
    plan = Plan(["a", "b", "c"], Settings(), 0.0)
    assert plan.sized(10, 10, 0.0) == []
    assert plan.port(2, 1002, "", 0.1) == plan.port(0, 1000, "10.0.0.1", 0.2) == []
    orders = plan.port(1, 1001, "", 0.3)
    assert feeds(orders) == [(HEAD, 0), (0, 1), (1, 2)]
    assert orders[0] == Feed(HEAD, 0, 1, 1000, ("10.0.0.1", "a"))


@pytest.mark.parametrize(("named", "found", "tried"), [
    ("node", "10.0.0.1", ("10.0.0.1", "node")), ("10.1.0.1", "10.0.0.1", ("10.1.0.1", "10.0.0.1")), ("node", "", ("node",)),
    ("::1", "10.0.0.1", ("::1", "10.0.0.1")), ("10.0.0.1", "10.0.0.1", ("10.0.0.1",)),
])
def test_a_number_is_taken_at_its_word_and_a_name_after_what_ssh_has_found(named: str, found: str, tried: tuple[str, ...]) -> None:
    plan = Plan([named], Settings(), 0.0)
    plan.sized(10, 10, 0.0)
    (order,) = plan.port(0, 1000, found, 0.0)
    assert isinstance(order, Feed)
    assert order.addresses == tried


def test_late_hosts_join_at_the_end_and_nobody_waits_for_them_long() -> None:
    plan = Plan(["a", "b", "c"], Settings(), 0.0)
    plan.sized(10, 10, 0.0)
    plan.port(2, 1002, "", 0.0)
    assert plan.tick(START_GRACE / 2) == []
    assert feeds(plan.tick(START_GRACE)) == [(HEAD, 2)]
    assert feeds(plan.port(0, 1000, "", 9.0)) == [(2, 0)]


def test_hosts_that_never_come_are_given_up() -> None:
    plan = Plan(["a", "b"], Settings(), 0.0)
    plan.sized(10, 10, 0.0)
    plan.sealed(DIGEST, 0.0)
    for now in range(int(START_SECONDS)):
        plan.got(HEAD, 0, now)
        assert plan.tick(now) == []
    plan.got(HEAD, 0, START_SECONDS)
    assert [order.host for order in plan.tick(START_SECONDS) if isinstance(order, Settled)] == [0, 1]
    assert plan.finished


def test_files_are_put_in_place_only_if_they_are_those_of_the_head() -> None:
    plan, _ = begun(2)
    assert complete(plan, 0, 1.0) == []                     # the head has not read all of its files yet
    assert plan.sealed(DIGEST, 2.0) == [Commit(0)]
    assert plan.done(0, 3.0) == [Settled(0, None)]
    plan.got(1, 1000, 3.0)
    assert plan.verified(1, "another", 3.0) == [Restart(1)]
    assert plan.got(1, 1000, 3.0) == []                     # said before it has obeyed
    assert feeds(plan.got(1, 0, 3.1)) == [(0, 1)]
    assert complete(plan, 1, 4.0) == [Commit(1)]
    assert plan.done(1, 4.0) == [Settled(1, None)]
    assert plan.finished


def test_a_host_whose_files_are_always_damaged_is_given_up() -> None:
    plan, _ = begun(1, settings=Settings(restarts=2))
    plan.sealed(DIGEST, 0.0)
    for _ in range(2):
        plan.got(0, 1000, 1.0)
        assert plan.differs(0, "file", 1.0) == [Restart(0)]
        plan.got(0, 0, 1.0)
    plan.got(0, 1000, 1.0)
    (settled,) = plan.differs(0, "file", 1.0)
    assert isinstance(settled, Settled)
    assert settled.failure is not None
    assert (settled.failure.checksum, settled.failure.path) == (True, "file")


def test_a_host_that_has_failed_is_skipped() -> None:
    plan, _ = begun(3)
    assert plan.failed(1, GONE, 1.0) == [Drop(0, 2), Feed(0, 2, 4, 1002, ("h2",)), Settled(1, GONE)]
    assert feeds(plan.failed(0, GONE, 1.0)) == [(HEAD, 2)]
    assert plan.failed(0, GONE, 1.0) == []


def test_without_the_head_nobody_gets_more() -> None:
    plan, _ = begun(3)
    plan.sealed(DIGEST, 0.0)
    complete(plan, 0, 1.0)
    plan.done(0, 1.0)
    assert plan.failed(HEAD, GONE, 2.0) == [Settled(1, GONE), Settled(2, GONE)]
    assert plan.finished


def test_a_host_that_was_killed_is_skipped_without_an_outcome() -> None:
    plan, _ = begun(2)
    assert feeds(plan.forget(0, 1.0)) == [(HEAD, 1)]
    assert plan.forget(0, 1.0) == []
    plan.forget(1, 1.0)
    assert plan.finished


def test_a_host_that_cannot_be_connected_leaves_the_chain_and_is_tried_by_others() -> None:
    plan, orders = begun(3)
    generation = next(order.generation for order in orders if isinstance(order, Feed) and order.target == 1)
    assert feeds(plan.lost(0, generation, "refused", 1.0)) == [(0, 2), (HEAD, 1)]
    assert plan.lost(0, generation, "refused", 1.0) == []   # of a feed that is no more


def test_a_host_that_is_lost_too_often_is_given_up() -> None:
    plan, orders = begun(1, settings=Settings(losses=3, pause=1.0))
    now = 0.0
    for _ in range(3):
        (feed,) = (order for order in orders if isinstance(order, Feed))
        orders = plan.lost(HEAD, feed.generation, "refused", now)
        if not orders:
            assert plan.tick(now + 0.5) == []
            now += 1.0
            orders = plan.tick(now)
    (feed,) = (order for order in orders if isinstance(order, Feed))
    (settled,) = plan.lost(HEAD, feed.generation, "refused", now)
    assert isinstance(settled, Settled)
    assert settled.failure is not None
    assert "refused" in settled.failure.text


def test_a_source_that_has_gone_is_skipped_at_once() -> None:
    plan, orders = begun(4)
    generation = next(order.generation for order in orders if isinstance(order, Feed) and order.target == 2)
    assert feeds(plan.orphan(2, generation, 1.0)) == [(0, 2)]
    assert feeds(plan.failed(1, GONE, 1.0)) == []


def test_a_host_whose_hop_is_started_again_begins_anew_at_the_end() -> None:
    plan, _ = begun(3)
    plan.got(1, 500, 1.0)
    assert plan.works(1)
    assert feeds(plan.again(1, 1.0)) == [(0, 2)]
    assert not plan.works(1)
    assert plan.port(1, 2000, "10.0.0.1", 2.0) == [Feed(2, 1, 5, 2000, ("10.0.0.1", "h1"))]


def report(plan: Plan, begin: float, end: float, offset: Callable[[int, float], int], hosts: range) -> list[Order]:
    """Half-second beats from `begin` to `end`."""
    orders: list[Order] = []
    now = begin
    while now <= end:
        plan.got(HEAD, 0, now)
        for host in hosts:
            orders += plan.got(host, offset(host, now), now)
        orders += plan.tick(now)
        now += 0.5
    return orders


GIGA = 1 << 30


def test_a_slow_host_leaves_the_chain_and_goes_on_as_a_leaf() -> None:
    plan, _ = begun(4, total=GIGA)
    speeds = [100e6, 8e3, 8e3, 8e3]
    orders = report(plan, 0.5, 5.0, lambda host, now: int(now * speeds[host]), range(4))
    assert feeds(orders) == [(0, 2)]
    # the next ones are fast now; the slow one is not given up as long as it goes on
    speeds = [100e6, 8e3, 90e6, 90e6]
    orders = report(plan, 5.5, 100.0, lambda host, now: min(GIGA, int(now * speeds[host])), range(4))
    assert [order for order in orders if isinstance(order, Settled)] == []
    assert (HEAD, 3) not in feeds(orders)


def test_a_slow_feeder_is_found_by_its_second_victim_and_the_first_comes_back() -> None:
    plan, _ = begun(5, total=GIGA)
    speeds = [100e6, 100e6, 8e3, 8e3, 8e3]
    orders = report(plan, 0.5, 5.0, lambda host, now: int(now * speeds[host]), range(5))
    assert feeds(orders) == [(1, 3)]
    orders = report(plan, 5.5, 11.0, lambda host, now: int(now * speeds[host]), range(5))
    assert feeds(orders)[:2] == [(0, 2), (2, 3)]


def test_equally_slow_hosts_are_left_alone() -> None:
    plan, _ = begun(4, total=100 * GIGA)
    orders = report(plan, 0.5, 60.0, lambda host, now: int(now * 5e6), range(4))
    assert feeds(orders) == []


def test_a_stuck_host_is_skipped_then_fed_by_others_then_given_up() -> None:
    plan, _ = begun(3, total=GIGA, settings=Settings(silence=30.0))

    def offset(host: int, now: float) -> int:
        return min(int(now * 100e6), GIGA if host == 0 else 200_000_000)
    orders = report(plan, 0.5, 29.0, offset, range(3))
    assert feeds(orders)[0] == (0, 2)
    assert len([feed for feed in feeds(orders) if feed[1] == 1]) >= 2
    orders = report(plan, 29.5, 45.0, offset, range(3))
    settled = [order for order in orders if isinstance(order, Settled)]
    assert [order.host for order in settled] == [1, 2]
    assert settled[0].failure is not None
    assert "no progress" in settled[0].failure.text


def test_a_silent_host_is_given_up() -> None:
    plan, _ = begun(2, total=GIGA, settings=Settings(silence=10.0))
    report(plan, 0.5, 3.0, lambda host, now: int(now * 5e6), range(2))
    orders = report(plan, 3.5, 20.0, lambda host, now: int(now * 5e6), range(1, 2))
    settled = [order for order in orders if isinstance(order, Settled)]
    assert [order.host for order in settled] == [0]
    assert (HEAD, 1) in feeds(orders)


def test_a_host_that_never_ends_its_check_is_given_up() -> None:
    plan, _ = begun(1, total=1000, settings=Settings(silence=10.0))
    plan.sealed(DIGEST, 0.0)
    orders = report(plan, 0.5, 30.0, lambda host, now: 1000, range(1))
    assert [order.host for order in orders if isinstance(order, Settled)] == [0]


def assert_no_loop(plan: Plan) -> None:
    for host in plan._nodes:
        seen, at = set(), host
        while at != HEAD and plan._nodes[at].generation:
            assert at not in seen, f"a loop: {seen}"
            seen.add(at)
            feeder = plan._nodes[at].feeder
            assert feeder is not None
            at = feeder


class Network:
    """Hops that obey orders, in simulated time, some of which fail: what the real ones would say."""

    def __init__(self, n: int, seed: int, total: int = 20_000_000) -> None:
        self.random = random.Random(seed)
        self.n, self.total, self.now = n, total, 0.0
        self.plan = Plan([f"h{i}" for i in range(n)], Settings(silence=10.0, losses=4, restarts=2), 0.0)
        self.have = {HEAD: total, **dict.fromkeys(range(n), 0)}
        self.source: dict[int, tuple[int, int]] = {}
        self.alive = {HEAD, *range(n)}
        self.frozen: set[int] = set()
        self.speed = {i: self.random.choice([100_000, 5_000_000, 20_000_000]) for i in range(n)}
        self.unreachable = {i for i in range(n) if self.random.random() < 0.1}
        self.damaging = {i for i in range(n) if self.random.random() < 0.1}
        self.verified: set[int] = set()
        self.outcomes: dict[int, Failure | None] = {}
        self.later: list[tuple[float, int, Callable[[], list[Order]]]] = []
        self.ticket = 0

    def after(self, seconds: float, call: Callable[[], list[Order]]) -> None:
        self.ticket += 1
        heapq.heappush(self.later, (self.now + seconds, self.ticket, call))

    def obey(self, orders: list[Order]) -> None:
        for order in orders:
            if isinstance(order, Settled):
                assert order.host not in self.outcomes, "settled twice"
                self.outcomes[order.host] = order.failure
                if order.failure is not None:
                    self.alive.discard(order.host)
            elif isinstance(order, Feed):
                assert order.feeder != order.target
                self.after(0.01, lambda order=order: self.connect(order))  # type: ignore[misc]
            elif isinstance(order, Drop):
                for host, source in list(self.source.items()):
                    if source == (order.feeder, order.generation):
                        del self.source[host]
            elif isinstance(order, Commit):
                assert self.have[order.host] == self.total
                self.after(0.1, lambda host=order.host: self.plan.done(host, self.now) if host in self.alive else [])  # type: ignore[misc]
            elif isinstance(order, Restart):
                self.source.pop(order.host, None)
                self.have[order.host] = 0
                self.verified.discard(order.host)
                self.after(0.01, lambda host=order.host: self.plan.got(host, 0, self.now))  # type: ignore[misc]

        assert_no_loop(self.plan)

    def connect(self, order: Feed) -> list[Order]:
        if order.feeder not in self.alive or order.feeder in self.frozen:
            return []
        if order.target not in self.alive or order.target in self.unreachable:
            return self.plan.lost(order.feeder, order.generation, "refused", self.now)
        if self.source.get(order.target, (0, 0))[1] < order.generation:
            self.source[order.target] = (order.feeder, order.generation)
        return []

    def end(self, host: int) -> list[Order]:
        self.alive.discard(host)
        orphans = [(other, generation) for other, (feeder, generation) in self.source.items() if feeder == host]
        for other, generation in orphans:
            del self.source[other]
            self.after(0.01, lambda o=other, g=generation: self.plan.orphan(o, g, self.now) if o in self.alive else [])  # type: ignore[misc]
        self.after(self.random.random(), lambda: self.plan.failed(host, GONE, self.now))
        return []

    def move(self, seconds: float) -> None:
        for host, (feeder, _) in list(self.source.items()):
            if {host, feeder} & self.frozen or not {host, feeder} <= self.alive:
                continue
            room = min(self.total, self.have[feeder]) - self.have[host]
            self.have[host] += max(0, min(room, int(self.speed[host] * seconds)))

    def beat(self) -> None:
        self.obey(self.plan.got(HEAD, 0, self.now))
        for host in range(self.n):
            if host not in self.alive or host in self.frozen:
                continue
            self.obey(self.plan.got(host, self.have[host], self.now))
            if self.have[host] == self.total and host not in self.verified:
                self.verified.add(host)
                wrong = host in self.damaging and self.random.random() < 0.7
                self.obey(self.plan.differs(host, "f", self.now) if wrong else self.plan.verified(host, DIGEST, self.now))
        self.obey(self.plan.tick(self.now))

    def run(self, limit: float) -> None:
        self.obey(self.plan.sized(self.total, self.total, 0.0))
        self.after(self.random.random() * 5, lambda: self.plan.sealed(DIGEST, self.now))
        for host in range(self.n):
            self.after(self.random.random() * 4, lambda host=host: self.plan.port(host, 1, "", self.now))  # type: ignore[misc]
            chance = self.random.random()
            if chance < 0.15:
                self.after(self.random.random() * 8, lambda host=host: self.end(host))  # type: ignore[misc]
            elif chance < 0.25:
                self.after(self.random.random() * 8, lambda host=host: self.frozen.add(host) or [])  # type: ignore[misc,func-returns-value]
        next_beat = 0.5
        while not self.plan.finished:
            assert self.now < limit, f"waits for ever: {self.plan._nodes}"
            if self.later and self.later[0][0] < next_beat:
                date, _, call = heapq.heappop(self.later)
                self.move(date - self.now)
                self.now = date
                self.obey(call())
            else:
                self.move(next_beat - self.now)
                self.now = next_beat
                next_beat += 0.5
                self.beat()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1 << 30))
def test_whatever_fails_every_host_is_settled_once_and_the_good_ones_have_their_files(n: int, seed: int) -> None:
    network = Network(n, seed)
    network.run(limit=3 * 20_000_000 / 100_000 + 200)       # what the slowest needs, if it begins anew twice
    assert set(network.outcomes) == set(range(n))
    for host, failure in network.outcomes.items():
        assert failure is not None or network.have[host] == network.total
        if failure is not None and host not in network.damaging | network.unreachable | network.frozen:
            assert failure is GONE, (host, failure)


EVENTS = ["sized", "sealed", "port", "got", "lost", "orphan", "verified", "differs", "done", "failed", "forget", "again", "tick"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 4), st.integers(0, 30)), max_size=60))
def test_no_order_of_events_confuses_it(events: list[tuple[str, int, int]]) -> None:
    plan = Plan(["a", "b", "c", "d", "e"], Settings(), 0.0)
    settled: list[int] = []
    now = 0.0
    for what, host, number in events:
        now += number / 10
        arguments: dict[str, tuple[object, ...]] = {
            "sized": (25, 25), "sealed": (DIGEST,), "port": (host, 1 + number, ""), "got": (host, number), "lost": (host - 1, number, "?"),
            "orphan": (host, number), "verified": (host, DIGEST if number % 2 else "x"), "differs": (host, "f"), "done": (host,),
            "failed": (host, GONE), "forget": (host,), "again": (host,), "tick": ()}
        if what == "again" and not plan.works(host):
            continue
        for order in getattr(plan, what)(*arguments[what], now):
            if isinstance(order, Settled):
                settled.append(order.host)
            elif isinstance(order, Feed):
                assert order.feeder != order.target
                assert order.target not in settled
        assert_no_loop(plan)
    assert len(settled) == len(set(settled))


def test_a_sender_that_falls_silent_ends_each_host_once() -> None:
    plan = Plan(["a", "b", "c"], Settings(), 0.0)
    plan.sized(25, 25, 0.0)
    for host in range(3):
        plan.port(host, 1, "", 0.0)
    settled = [order for order in plan.tick(10 * Settings().patience) if isinstance(order, Settled)]
    assert [order.host for order in settled] == [0, 1, 2]
    assert all(order.failure is not None and "the sender" in order.failure.text for order in settled)


# what is said

@pytest.mark.parametrize(("line", "event"), [
    ("port 123 31", ("port", (123, "1"))), ("port 123 -", ("port", (123, ""))), ("got 5", ("got", (5,))), ("done", ("done", ())),
    ("fail 28 66756c6c 2f78", ("fail", (28, "full", "/x"))), ("sized 1 2", ("sized", (1, 2))), ("sealed 00ff", ("sealed", ("00ff",))),
    ("lost 7 6e6f", ("lost", (7, "no"))), ("stranger 2 41", ("stranger", (2, "A"))), ("differs c3a9", ("differs", ("é",))),
    ("", None), ("got", None), ("got x", None), ("got -1", None), ("got 1 2", None), ("port 1 zz", None), ("Welcome to node-1!", None),
    ("got 1 ", None), (" got 1", None), ("fail 1 0 0", None), ("quit", None),
])
def test_lines_of_a_hop_are_read(line: str, event: object) -> None:
    assert parse_event(line) == event


@given(st.text())
def test_no_line_of_a_hop_is_a_surprise(line: str) -> None:
    parse_event(line)


def test_lines_to_a_hop_are_printable() -> None:
    lines = [join_line("t", 0.5, 5.0, "a b\né"), join_line("t", 0.5, 5.0, ""), head_line("t", 0.5, 5.0, ["x\n", "-y", "\udcff"]),
             feed_line(Feed(1, 2, 3, 4, ("h", "::1")))]
    assert lines == ["join t 0.5 5.0 6120620ac3a9\n", "join t 0.5 5.0 -\n", "head t 0.5 5.0 780a 2d79 ff\n", "feed 3 4 68 3a3a31\n"]


def test_the_program_comes_with_its_length_and_without_its_comments() -> None:
    length, _, text = program().partition("\n")
    assert int(length) == len(text.encode())
    assert "\n#" not in text
    assert len(text) < 60_000           # with a pipe of 64 KiB, writing it waits for nobody
