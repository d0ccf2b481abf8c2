"""Reservations by planning, for campaigns: on a Grid'5000 in a box with a clock of its own, and with a real OAR."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from requirements import require

from execo import Host, Remote
from execo_engine.results import Results
from execo_engine.workflow import SweepEngine
from execo_g5k import testbed as testbed_module
from execo_g5k._gridbox.settings import Overlay
from execo_g5k._testbed.choose import Free, choose
from execo_g5k._testbed.plan import Slot
from execo_g5k.charter import g5k_charter_time, oar_datetime_to_unixts
from execo_g5k.config import default_frontend_connection_params
from execo_g5k.gridbox import BoxClock, GridBox
from execo_g5k.kadeploy import Deployment
from execo_g5k.oar import (
    OarSubmission,
    get_current_oar_jobs,
    get_oar_grids,
    get_oar_job_info,
    oardel,
    oardelgrid,
    oarsub,
    wait_oar_job_start,
)
from execo_g5k.testbed import G5kTestbed

HOUR = 3600
SIX = {"size": [1, 2, 3, 4, 5, 6]}


def at(text: str) -> float:
    return oar_datetime_to_unixts(datetime.datetime.fromisoformat(text))


# Which hosts

FREE = [*(Free(f"gros-{n}.nancy.grid5000.fr", "gros", "nancy") for n in (1, 2, 3)), Free("grele-1.nancy.grid5000.fr", "grele", "nancy"),
        *(Free(f"vilaine-{n}.rennes.grid5000.fr", "vilaine", "rennes") for n in (1, 2)),
        *(Free(f"yeti-{n}.grenoble.grid5000.fr", "yeti", "grenoble", only_if_named=True) for n in (1, 2))]


@pytest.mark.parametrize(("wanted", "prefer", "chosen"), [
    ({"nancy": 3}, (), "gros-1 gros-2 gros-3"),
    ({"nancy": 4}, (), "gros-1 gros-2 gros-3 grele-1"),
    ({"nancy": 5}, (), None),
    ({"nancy": 2}, ("grele-1", "gros-3.nancy.grid5000.fr", "gone-1"), "grele-1 gros-3"),
    ({"grid5000": 3}, (), "gros-1 vilaine-1 gros-2"),
    ({"grid5000": 2}, ("gros-2", "gros-1"), "gros-2 gros-1"),
    ({"grid5000": 6}, (), "gros-1 vilaine-1 gros-2 vilaine-2 gros-3 grele-1"),
    ({"grid5000": 7}, (), None),                            # nobody named yeti
    ({"yeti": 2}, (), "yeti-1 yeti-2"),
    ({"yeti-2": 1}, (), "yeti-2"),
    ({"grenoble": 1}, (), None),
    ({"nancy": 2, "gros-2": 1, "gros": 1}, (), "gros-2 gros-1 grele-1 gros-3"),
    ({"grid5000": 1, "rennes": 2}, (), "vilaine-1 vilaine-2 gros-1"),
    ({"lyon": 1}, (), None),
])
def test_hosts_are_chosen_of_those_that_are_free(wanted: dict[str, int], prefer: tuple[str, ...], chosen: str | None) -> None:
    found = choose(FREE, wanted, prefer)
    assert (None if found is None else " ".join(host.name.partition(".")[0] for host in found)) == chosen


@pytest.mark.parametrize(("arguments", "options", "words"), [
    (({}, 60), {}, "numbers of hosts"), (({"lyon": 0}, 60), {}, "numbers of hosts"), (({"lyon": True}, 60), {}, "numbers of hosts"),
    ((2, 0), {}, "walltime"), ((2, "x"), {}, "x"), ((2, 60), {"only": "days"}, "'days'"), ((2, 60), {"tries": 0}, "try"),
    ((2, 60), {"job_type": ["deploy", "besteffort"]}, "besteffort"),
    ((2, 60), {"vlan": "kavlan-5", "environment": "debian12-min"}, "kavlan-local.*'kavlan-5'"),
    ((2, 60), {"vlan": "kavlan"}, "needs an environment"),
    ((2, 60), {"vlan": "kavlan", "environment": Deployment(vlan=4, env_name="x")}, "found both"),
    ((2, 60), {"vlan": "kavlan", "environment": "x", "subnets": {"slash_22": 1}}, "found both"),
    ((2, 60), {"subnets": {"slash_23": 1}}, "slash_16.*slash_23"), ((2, 60), {"subnets": {"slash_22": 0}}, "slash_22"),
])
def test_what_cannot_be_wanted_is_refused_at_once(arguments: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        G5kTestbed(*arguments, **options)


# On both kinds of OAR

@pytest.fixture(scope="module", params=["own", "real"])
def _shared_box(request: pytest.FixtureRequest) -> Iterator[GridBox]:
    if request.param == "real":
        require("oar")
    with GridBox(oar=request.param, nodes_per_cluster=3, sites=["lyon", "nancy"], configure=False) as box:
        yield box


only_own = pytest.mark.parametrize("_shared_box", ["own"], indirect=True)
"""What is ours alone to get right, whatever the OAR: it takes longer on a real one."""


@pytest.fixture
def box(_shared_box: GridBox) -> Iterator[GridBox]:
    """It is configured for one test, and has no jobs after it."""
    overlay = Overlay()
    overlay.apply(_shared_box.settings, None, {})
    try:
        yield _shared_box
        left = get_current_oar_jobs(_shared_box.sites)
        oardelgrid(get_oar_grids())
        oardel(left)
        for job_id, site in left:
            wait_for_end(job_id, site)
    finally:
        overlay.undo()


def wait_for_end(job_id: int, site: Any) -> None:
    deadline = time.monotonic() + 60
    while get_oar_job_info(job_id, site).get("state") not in ("Terminated", "Error"):
        assert time.monotonic() < deadline
        time.sleep(0.2)         # OAR tells nobody


def wait_until(fact: Any, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.1)         # as above


def begun(testbed: G5kTestbed) -> G5kTestbed:
    testbed.reserve()
    assert testbed.wait(150)
    return testbed


def test_nodes_of_two_sites_come_together_and_go_together(box: GridBox) -> None:
    testbed = G5kTestbed({"lyon": 2, "meurthe": 1}, 600, lead=3, charter=False, name="pair")
    assert testbed.time_left() == 0
    testbed.reserve(prefer=["saone-3"])
    with pytest.raises(RuntimeError, match="has a reservation already"):
        testbed.reserve()
    jobs, start = list(testbed.jobs), testbed.start_date
    assert {site for _, site in jobs} == {"lyon", "nancy"}
    assert testbed.hosts == []
    assert testbed.wait(150), [get_oar_job_info(*job) for job in jobs]
    assert testbed.wait(0)
    assert {host.address.partition(".")[0] for host in testbed.hosts} > {"saone-3", "meurthe-1"}
    assert Remote("true", testbed.hosts, process_args={"timeout": 20}).run().ok
    assert start is not None
    left = testbed.time_left()
    assert left is not None
    assert 0 < left <= 600
    assert {get_oar_job_info(*job)["name"] for job in jobs} == {"pair"}
    testbed.release()
    testbed.release()
    assert (testbed.hosts, testbed.time_left(), testbed.jobs, get_oar_grids()) == ([], 0, [], [])
    for job_id, site in jobs:
        wait_for_end(job_id, site)
    with pytest.raises(RuntimeError, match="no reservation to wait for"):
        testbed.wait()


def test_a_job_that_is_killed_is_noticed_and_hosts_can_be_reserved_again(box: GridBox) -> None:
    testbed = begun(G5kTestbed({"lyon": 1}, 600, lead=3, charter=False))
    oardel(testbed.jobs)
    wait_until(lambda: testbed.time_left() == 0)
    testbed.release()
    assert not [thread for thread in threading.enumerate() if thread.name == "execo-g5k-jobs"]
    testbed.reserve()
    assert testbed.time_left() == 0             # it has not begun
    testbed.release()


@only_own
def test_a_job_that_is_deleted_before_it_begins_is_an_error(box: GridBox) -> None:
    testbed = G5kTestbed({"lyon": 1}, 600, lead=120, charter=False)
    testbed.reserve()
    assert not testbed.wait(0)
    oardel(testbed.jobs)
    with pytest.raises(RuntimeError, match=r"job .* on lyon is"):
        testbed.wait(60)
    testbed.release()


def test_the_first_slot_is_when_enough_hosts_are_free(box: GridBox) -> None:
    [(blocking, _)] = oarsub([(OarSubmission("{cluster='saone'}/nodes=2", 1200), "lyon")])
    assert blocking is not None
    assert wait_oar_job_start(blocking, "lyon", timeout=60)
    end = get_oar_job_info(blocking, "lyon")["start_date"] + 1200
    testbed = G5kTestbed({"saone": 2}, 600, charter=False)
    testbed.reserve()
    assert testbed.start_date is not None
    assert end <= testbed.start_date <= end + 180
    testbed.release()


@only_own
def test_a_frontend_that_does_not_answer_ends_no_reservation(box: GridBox, monkeypatch: pytest.MonkeyPatch) -> None:
    testbed = begun(G5kTestbed({"lyon": 1}, 600, lead=3, charter=False))
    asked = threading.Semaphore(0)

    def ask(ask: Any = testbed._ask) -> Any:
        answer = ask()
        asked.release()
        return answer

    monkeypatch.setattr(testbed, "_ask", ask)
    params = default_frontend_connection_params
    with monkeypatch.context() as broken:
        broken.setitem(params, "ssh_options", ("-F", "/dev/null", "-o", "ProxyCommand=false"))
        assert asked.acquire(timeout=60)
        assert asked.acquire(timeout=60)        # one that was begun in this state
        left = testbed.time_left()
        assert left is not None
        assert left > 0
    testbed.release()


@only_own
def test_excluded_hosts_are_not_taken_nor_those_that_do_not_fit(box: GridBox) -> None:
    testbed = G5kTestbed({"lyon": 1}, 600, lead=120, charter=False, excluded=["saone-1", Host("saone-3.lyon.grid5000.fr")])
    testbed.reserve()
    ((job_id, _),) = testbed.jobs
    request = box.oars["lyon"]
    assert [job["assigned_nodes"] for job in request.jobs() if job["uid"] == job_id] in ([["saone-2.lyon.grid5000.fr"]], [[]])
    testbed.release()
    with pytest.raises(RuntimeError, match="no such slot"):
        G5kTestbed({"lyon": 1}, 600, where="cores >= 1000").reserve()
    with pytest.raises(ValueError, match="not all of them are sites"):
        G5kTestbed({"lyon": 1, "paris": 1}, 600).reserve()


@only_own
def test_when_a_site_refuses_the_next_slot_is_tried(box: GridBox, monkeypatch: pytest.MonkeyPatch) -> None:
    [(blocking, _)] = oarsub([(OarSubmission("{cluster='saone'}/nodes=3", 1200), "lyon")])
    assert blocking is not None
    assert wait_oar_job_start(blocking, "lyon", timeout=60)
    host = Free("saone-1.lyon.grid5000.fr", "saone", "lyon")
    now = time.time()
    # As if the planning had been made before that job came.
    monkeypatch.setattr(testbed_module, "slots", lambda *arguments: iter([Slot(now + 60, (host,)), Slot(now + 3000, (host,))]))
    testbed = G5kTestbed({"lyon": 1}, 600)
    testbed.reserve()
    assert testbed.start_date == now + 3000
    testbed.release()
    assert get_oar_grids() == []
    refused = G5kTestbed({"lyon": 1}, 600, tries=1)
    with pytest.raises(RuntimeError, match="OAR refused"):
        refused.reserve()


# With a clock of one's own: on Monday the 23rd of November 2026, at 16:00

@pytest.fixture
def clock() -> BoxClock:
    return BoxClock("2026-11-23 16:00:00")


@pytest.fixture
def monday(clock: BoxClock) -> Iterator[GridBox]:
    with GridBox(oar="own", nodes_per_cluster=4, sites=["lyon", "nancy"], clock=clock, charter=True) as box:
        yield box


def test_nights_and_the_charter(monday: GridBox, clock: BoxClock) -> None:
    def start_of(*arguments: Any, **options: Any) -> float:
        testbed = G5kTestbed(*arguments, **options)
        testbed.reserve()
        start = testbed.start_date
        testbed.release()
        assert start is not None
        return start

    assert start_of({"lyon": 2}, "13:00:00", only="nights") == at("2026-11-23 19:00")
    assert start_of({"lyon": 2}, "15:00:00", only="nights") == at("2026-11-27 19:00")       # the next week-end
    assert start_of({"lyon": 1}, "1:00:00") == pytest.approx(at("2026-11-23 16:00"), abs=60)
    # Across 19:00 it may not run before 17:00 has come
    with pytest.raises(RuntimeError, match="OAR refused"):
        start_of({"lyon": 1}, "4:00:00", charter=False, tries=1)
    assert start_of({"lyon": 1}, "4:00:00") == at("2026-11-23 19:00")
    clock.advance(1.5 * HOUR)
    assert start_of({"lyon": 1}, "4:00:00") == pytest.approx(at("2026-11-23 17:30"), abs=60)


def test_the_quota_of_the_day_counts_the_jobs_that_are_there(monday: GridBox) -> None:
    # Two of four nodes for two hours are half of the quota.
    jobs = oarsub([(OarSubmission("{cluster='saone'}/nodes=2", 2 * HOUR, reservation_date=at("2026-11-23 16:30")), "lyon")])
    assert jobs[0][0] is not None
    fits = G5kTestbed({"saone": 2}, 2 * HOUR)
    fits.reserve()
    assert fits.start_date == pytest.approx(at("2026-11-23 16:00"), abs=60)
    too_much = G5kTestbed({"saone": 1}, "0:30:00", lead=700)
    too_much.reserve()
    assert too_much.start_date == at("2026-11-23 19:00")
    for testbed in (fits, too_much):
        testbed.release()


class Nights(G5kTestbed):
    """Time flies while it waits."""

    clock: BoxClock

    def wait(self, timeout: float | None = None) -> bool:
        if self.start_date is not None and self.clock() < self.start_date - 3:
            self.clock.advance(self.start_date - 3 - self.clock())
        return super().wait(timeout)


def test_a_campaign_over_several_nights(monday: GridBox, clock: BoxClock, tmp_path: Path) -> None:
    starts: list[float] = []
    used: set[str] = set()

    class Campaign(SweepEngine):
        parameters: Any = SIX
        retry_delay = 0.01

        def testbed(self) -> Nights:
            testbed = Nights({"lyon": 1, "nancy": 1}, "13:00:00", only="nights", lead=5)
            testbed.clock = clock
            return testbed

        def hosts_needed(self, combination: Any) -> int:
            return 2

        def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            starts.append(clock())
            used.update(host.address.split(".")[1] for host in hosts)
            if len(starts) == 3:            # the night ends while this one runs
                clock.advance(13 * HOUR)
                Remote("sleep 1000", hosts).run()
            processes = Remote("hostname", hosts).run().processes
            return {"names": sorted(process.stdout.strip() for process in processes)}

    Campaign().start(["-c", str(tmp_path), "-l", "ERROR"])
    assert len(Results(str(tmp_path)).read()) == 6
    assert used == {"lyon", "nancy"}
    assert len(starts) == 7                 # one was begun twice
    assert not any(g5k_charter_time(start) for start in starts)
    assert starts[2] < at("2026-11-24 09:00") < starts[3]
    assert get_current_oar_jobs(["lyon", "nancy"]) == []
    assert get_oar_grids() == []
