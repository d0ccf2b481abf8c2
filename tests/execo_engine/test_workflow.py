"""Campaigns in this interpreter: what runs where and when, how it ends, what is recorded."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from facts import all_gone

from execo import Host, Process, Remote, TaktukRemote
from execo.localcluster import LocalCluster, LocalHost
from execo.log import logger as execo_logger
from execo_engine._workflow.stint import Stint
from execo_engine.sweep import ParameterSpace, SweepDirectory
from execo_engine.testbeds import ClusterTestbed, StaticTestbed
from execo_engine.workflow import ReservationOver, SweepEngine

SIX = {"kind": ["a", "b"], "size": [1, 2, 3]}


class Campaign(SweepEngine):
    """Without ssh: the hosts are names."""

    parameters: Any = SIX
    testbed: Any = None
    check_hosts = False
    retry_delay = 0.01

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[Any] = []
        if self.testbed is None:
            self.testbed = StaticTestbed(["h1", "h2"])

    def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> Mapping[str, Any] | None:
        self.begun.append(combination)
        return self.measure(combination, hosts, directory)

    def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
        return {"double": combination["size"] * 2}


def run(campaign: SweepEngine, folder: Path, *options: str) -> Any:
    campaign.start(["-c", str(folder), "-l", "ERROR", *options])
    return campaign


def end_combinations(before: set[threading.Thread]) -> None:
    """Wait for the threads of combinations that were not there before."""
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("combination-"):
            thread.join(30)


def counts(folder: Path) -> dict[str, int | None]:
    with SweepDirectory(str(folder / "sweep")) as sweep:
        assert sweep.verify().ok
        return sweep.counts()


def reasons(folder: Path, state: str) -> list[str | None]:
    """Of a campaign that has ended, skipped ones are to do, and say why they were not."""
    with SweepDirectory(str(folder / "sweep")) as sweep:
        return [record.reason for record in sweep.records(state)]


def test_each_combination_is_run_once_and_recorded(tmp_path: Path) -> None:
    campaign = run(Campaign(), tmp_path)
    assert len(campaign.begun) == len(set(campaign.begun)) == 6
    assert counts(tmp_path) == {"total": 6, "todo": 0, "inprogress": 0, "done": 6, "skipped": 0, "failed": 0}
    rows = campaign.results.rows()
    assert sorted((row["kind"], row["size"], row["double"]) for row in rows) == [(k, s, 2 * s) for k in "ab" for s in (1, 2, 3)]
    assert {row["run.host"] for row in rows} <= {"h1", "h2"}
    notebook = json.loads((tmp_path / "notebook.json").read_text())
    assert (notebook["seed"], notebook["order"], notebook["testbed"]) == (0, "plan", "StaticTestbed(2 hosts)")
    assert notebook["combinations"]["done"] == 6
    assert notebook["outcome"]["kind"] == "ok"


def test_a_campaign_that_is_continued_runs_only_what_is_left(tmp_path: Path) -> None:
    run(Campaign(), tmp_path)
    again = Campaign()
    again.parameters = {"kind": ["a", "b"], "size": [1, 2, 3, 4]}
    run(again, tmp_path)
    assert sorted(one["kind"] for one in again.begun) == ["a", "b"]
    assert {one["size"] for one in again.begun} == {4}


def test_combinations_run_at_once_on_hosts_of_their_own(tmp_path: Path) -> None:
    class Pairs(Campaign):
        meeting = threading.Barrier(2, timeout=30)
        used: list[tuple[str, ...]] = []  # noqa: RUF012

        def hosts_needed(self, combination: Any) -> int:
            return 2

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            self.used.append(tuple(host.address for host in hosts))
            self.meeting.wait()                 # passes only if two are here at once

    campaign = Pairs()
    campaign.testbed = StaticTestbed("h[1-5]")
    run(campaign, tmp_path)
    assert set(campaign.used) == {("h1", "h2"), ("h3", "h4")}
    assert len(campaign.used) == 6


def test_a_failure_is_tried_again_and_then_put_aside_with_its_reason(tmp_path: Path) -> None:
    class Failing(Campaign):
        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if combination["size"] == 2:
                raise ValueError(f"no {combination['kind']}")
            return {}

    campaign = run(Failing(), tmp_path)
    assert len(campaign.begun) == 4 + 2 * 3
    assert counts(tmp_path) == {"total": 6, "todo": 0, "inprogress": 0, "done": 4, "skipped": 0, "failed": 2}
    assert sorted(map(str, reasons(tmp_path, "failed"))) == ["ValueError: no a", "ValueError: no b"]
    reports = [file.read_text() for file in tmp_path.glob("combinations/*/failure.txt")]
    assert len(reports) == 2
    assert all("in measure" in report for report in reports)


def test_what_is_logged_while_a_combination_runs_is_in_its_folder(tmp_path: Path) -> None:
    class Talking(Campaign):
        meeting = threading.Barrier(2, timeout=30)

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if combination["size"] < 3:
                self.meeting.wait()
                execo_logger.warning("it is %s", combination["size"])

    campaign = Talking()
    campaign.parameters = {"size": [1, 2, 3]}
    run(campaign, tmp_path)
    logs = {folder.name[:6]: (folder / "log.txt").read_text() if (folder / "log.txt").exists() else None
            for folder in (tmp_path / "combinations").iterdir()}
    assert {name: text and text.rstrip().endswith(f"WARNING: it is {name[-1]}") and text.count("\n") for name, text in logs.items()} == {
        "size-1": 1, "size-2": 1, "size-3": None}


@pytest.mark.parametrize(("value", "reason"), [
    (3, "run_combination returned a int: expected {name: value} or None"),
    ({"x": object()}, "TypeError"),
])
def test_what_cannot_be_recorded_is_a_failure_that_says_so(value: object, reason: str, tmp_path: Path) -> None:
    campaign = Campaign()
    campaign.parameters = {"size": [1]}
    campaign.measure = lambda *_: value  # type: ignore[method-assign]
    campaign.max_attempts = None
    run(campaign, tmp_path)
    [found] = reasons(tmp_path, "failed")
    assert str(found).startswith(reason)
    assert campaign.results.read() == []


def test_what_never_fits_is_skipped_with_the_reason_and_the_rest_is_done(tmp_path: Path) -> None:
    class Sized(Campaign):
        def hosts_needed(self, combination: Any) -> int:
            return int(combination["size"])

    campaign = run(Sized(), tmp_path)
    assert counts(tmp_path)["done"] == 4
    assert len(campaign.begun) == 4
    assert set(reasons(tmp_path, "todo")) == {"it needs 3 hosts, a reservation has 2"}


def test_declared_durations_decide_what_begins_before_the_end(tmp_path: Path) -> None:
    class Declared(Campaign):
        reservations = 0

        def duration(self, combination: Any) -> Any:
            return {1: 0.1, 2: "0:00:50", 3: 120}[combination["size"]]

        def prepare(self, hosts: list[Host]) -> None:
            self.reservations += 1

    campaign = Declared()
    campaign.testbed = StaticTestbed(["h1"], walltime=60)
    run(campaign, tmp_path)
    assert [one["size"] for one in campaign.begun] == [1, 2, 1, 2]      # they end at once; one after the other, in order
    assert set(reasons(tmp_path, "todo")) == {"it takes 120 s, a reservation 60 s"}


class Refusing(StaticTestbed):
    """Gives hosts at the fourth request only."""

    def __init__(self, refusals: int) -> None:
        super().__init__(["h1"])
        self.left = refusals
        self.released = 0

    def wait(self, timeout: float | None = None) -> bool:
        if self.left:
            self.left -= 1
            raise RuntimeError("no nodes today")
        return True

    def release(self) -> None:
        self.released += 1
        super().release()


def test_a_reservation_that_is_refused_is_asked_for_again(tmp_path: Path) -> None:
    campaign = Campaign()
    campaign.testbed = Refusing(3)
    run(campaign, tmp_path)
    assert len(campaign.begun) == 6
    assert campaign.testbed.released == 4


def test_a_testbed_that_always_refuses_ends_the_campaign_with_what_it_said(tmp_path: Path) -> None:
    campaign = Campaign()
    campaign.testbed = Refusing(100)
    campaign.max_refusals = 3
    with pytest.raises(RuntimeError, match=r"3 reservations in a row could not be used; the last: RuntimeError: no nodes today"):
        run(campaign, tmp_path)
    assert counts(tmp_path)["todo"] == 6
    assert campaign.testbed.released == 3


def test_only_hosts_that_were_deployed_are_used(tmp_path: Path) -> None:
    class Deploying(StaticTestbed):
        deployments = 0

        def deploy(self) -> list[Host]:
            self.deployments += 1
            if self.deployments == 1:
                raise OSError("no environment of this name")
            return self.hosts[1:]

    campaign = Campaign()
    campaign.testbed = Deploying("h[1-3]")
    run(campaign, tmp_path)
    assert campaign.testbed.deployments == 2
    assert {row["run.host"] for row in campaign.results.rows()} == {"h2", "h3"}


@pytest.mark.parametrize(("left", "in_time", "looked"), [([5, 4], True, 1), ([1, -1], False, 1), ([0], False, 0), ([None, None], True, 1)])
def test_a_failure_counts_only_if_the_reservation_goes_on_after_it(
        left: list[float | None], in_time: bool, looked: int, tmp_path: Path) -> None:
    ends: SimpleQueue[Stint | None] = SimpleQueue()
    looks: list[Stint] = []

    def fail(stint: Stint) -> None:
        raise OSError("the host is gone")

    tidied: list[Stint] = []
    Stint("combination", [], tmp_path, 1).start(fail, lambda: left.pop(0), ends, looks.append, tidied.append)
    stint = ends.get(timeout=30)
    assert stint is not None
    assert len(tidied) == in_time
    assert (stint.in_time, stint.reason, len(looks), left) == (in_time, "OSError: the host is gone", looked, [])


def test_what_is_tidied_up_costs_no_result_and_its_hosts_are_nobody_elses(tmp_path: Path) -> None:
    class Tidy(Campaign):
        parameters: Any = ParameterSpace({"size": [1, 2, 3]})
        threads: dict[Any, int] = {}  # noqa: RUF012
        busy: set[str] = set()  # noqa: RUF012
        max_attempts = None

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            assert hosts[0].address not in self.busy
            self.busy.add(hosts[0].address)
            self.threads[combination] = threading.get_ident()
            return {"double": 2} if combination["size"] < 3 else 1 / 0

        def tidy_up(self, combination: Any, hosts: list[Host]) -> None:
            assert self.threads[combination] == threading.get_ident()
            self.busy.remove(hosts[0].address)
            if combination["size"] == 2:
                raise OSError("the broom is broken")

    campaign = Tidy()
    campaign.start(["-c", str(tmp_path), "-l", "WARNING"])
    assert (counts(tmp_path)["done"], counts(tmp_path)["failed"]) == (2, 1)
    assert reasons(tmp_path, "failed") == ["ZeroDivisionError: division by zero"]
    assert campaign.busy == set()
    (log,) = tmp_path.glob("combinations/size-2*/log.txt")
    assert "the broom is broken" in log.read_text()


@pytest.mark.parametrize("deaf", [False, True])
def test_a_result_is_kept_when_the_campaign_stops_while_it_is_tidied_up(deaf: bool, tmp_path: Path) -> None:
    freed = threading.Event()

    class Stopped(Campaign):
        parameters: Any = ParameterSpace({"size": [1]})
        end_timeout = 0.2 if deaf else 30

        def tidy_up(self, combination: Any, hosts: list[Host]) -> None:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
            if deaf:
                freed.wait(60)
            else:
                Process("sleep 1000").run()

    before = set(threading.enumerate())
    campaign = Stopped()
    try:
        with pytest.raises(SystemExit):
            run(campaign, tmp_path)
    finally:
        freed.set()
    end_combinations(before)
    assert counts(tmp_path)["done"] == 1
    assert [row["double"] for row in campaign.results.rows()] == [2]


def test_a_result_is_on_the_disk_while_its_hosts_are_tidied_up(tmp_path: Path) -> None:
    class Slow(Campaign):
        parameters: Any = ParameterSpace({"size": [1]})
        found: list[dict[str, int]] = []  # noqa: RUF012

        def tidy_up(self, combination: Any, hosts: list[Host]) -> None:
            end = time.monotonic() + 30
            while counts(tmp_path)["done"] == 0 and time.monotonic() < end:
                time.sleep(0.01)
            self.found.append({"done": counts(tmp_path)["done"], "rows": len(self.results.rows())})

    campaign = Slow()
    run(campaign, tmp_path)
    assert campaign.found == [{"done": 1, "rows": 1}]


def test_an_error_of_prepare_gives_the_hosts_back_and_is_tried_again(tmp_path: Path) -> None:
    class Preparing(Campaign):
        calls = 0

        def prepare(self, hosts: list[Host]) -> None:
            self.calls += 1
            if self.calls == 1:
                raise OSError("no space left there")

    campaign = Preparing()
    campaign.testbed = Refusing(0)
    run(campaign, tmp_path)
    assert (campaign.calls, campaign.testbed.released, len(campaign.begun)) == (2, 2, 6)


def test_a_mistake_in_the_script_is_told_at_once_and_leaves_nothing_in_progress(tmp_path: Path) -> None:
    class Wrong(Campaign):
        def choose_hosts(self, combination: Any, free: list[Host]) -> list[Host]:
            return [Host("elsewhere")]

    campaign = Wrong()
    campaign.testbed = Refusing(0)
    with pytest.raises(ValueError, match="which is not free"):
        run(campaign, tmp_path)
    assert counts(tmp_path)["todo"] == 6
    assert campaign.testbed.released == 1


@pytest.mark.parametrize(("name", "value"), [("parameters", None), ("testbed", "node-1")])
def test_a_campaign_without_parameters_or_testbed_says_which(name: str, value: object, tmp_path: Path) -> None:
    campaign = Campaign()
    setattr(campaign, name, value)
    with pytest.raises(TypeError, match=rf"^Campaign.{name}: expected .*, found "):
        run(campaign, tmp_path)


def test_parameters_and_testbed_may_be_methods_that_see_the_options(tmp_path: Path) -> None:
    class Late(SweepEngine):
        check_hosts = False

        def __init__(self) -> None:
            super().__init__()
            self.args_parser.add_argument("n", type=int)

        def parameters(self) -> Any:
            assert self.args is not None
            return range(self.args.n)

        def testbed(self) -> Any:
            return StaticTestbed(["h1"])

        def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> Mapping[str, Any] | None:
            return None

    run(Late(), tmp_path, "3")
    assert counts(tmp_path)["done"] == 3


@pytest.mark.parametrize("hosts_needed", [None, lambda combination: 1 + combination["p0"] % 2])
def test_a_plan_that_nobody_could_list_is_begun_and_continued(hosts_needed: Any, tmp_path: Path) -> None:
    class Endless(Campaign):
        parameters: Any = ParameterSpace({f"p{number}": list(range(10)) for number in range(150)})

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if len(self.begun) == 6:
                signal.raise_signal(signal.SIGTERM)

    if hosts_needed is not None:
        Endless.hosts_needed = lambda _, combination: hosts_needed(combination)  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(SystemExit):
            run(Endless(), tmp_path, "--seed", "1")
    with SweepDirectory(str(tmp_path / "sweep")) as sweep:
        assert len(sweep.records("done")) >= 10
        assert sweep.records("inprogress") == []


# seed, replay, plan

def test_a_seed_gives_an_order_and_a_continued_campaign_keeps_it(tmp_path: Path) -> None:
    def order(folder: Path, *options: str) -> list[Any]:
        campaign = Campaign()
        campaign.testbed = StaticTestbed(["h1"])
        run(campaign, folder, *options)
        return campaign.begun

    in_order = order(tmp_path / "a")
    seven = order(tmp_path / "b", "--seed", "7")
    assert in_order == list(ParameterSpace(SIX))
    assert order(tmp_path / "c", "--seed", "7") == seven != in_order
    assert sorted(map(str, seven)) == sorted(map(str, in_order))
    continued = Campaign()
    run(continued, tmp_path / "b")
    assert continued.seed == 7
    assert json.loads((tmp_path / "b" / "notebook-2.json").read_text())["order"] == "random"


def test_a_combination_has_the_same_seed_whenever_it_runs() -> None:
    campaign, other = Campaign(), Campaign()
    other.seed = 1
    seeds = {campaign.combination_seed(one) for one in ParameterSpace(SIX)}
    assert len(seeds) == 6
    assert campaign.combination_seed({"size": 1, "kind": "a"}) == campaign.combination_seed({"kind": "a", "size": 1})
    assert other.combination_seed({"size": 1, "kind": "a"}) not in seeds


def test_a_replay_has_the_order_the_hosts_and_the_seed_of_the_run(tmp_path: Path) -> None:
    class Slow(Campaign):
        where: dict[Any, str]

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            self.__dict__.setdefault("where", {})[combination] = hosts[0].address
            return {}

    first = Slow()
    first.testbed = StaticTestbed(["h3"])
    run(first, tmp_path / "first", "--seed", "5")
    second = Slow()
    second.testbed = StaticTestbed(["h1", "h2", "h3"])
    second.hosts_needed = lambda _: 1           # type: ignore[method-assign]
    run(second, tmp_path / "second", "--replay", str(tmp_path / "first"))
    assert second.begun[0] == first.begun[0]
    assert second.seed == 5
    assert second.where[second.begun[0]] == "h3"


def test_a_replay_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not the directory of a campaign"):
        run(Campaign(), tmp_path / "new", "--replay", str(tmp_path))
    assert not (tmp_path / "new").exists()


def test_a_dry_run_shows_the_plan_and_leaves_nothing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Declared(Campaign):
        def duration(self, combination: Any) -> Any:
            return 10

    monkeypatch.chdir(tmp_path)
    campaign = Declared()
    campaign.start(["--dry-run"])
    assert capsys.readouterr().out == (
        "Declared: 6 combinations\n  kind: a, b\n  size: 1, 2, 3\nin order on StaticTestbed(2 hosts)\n"
        "about 30s on 2 hosts, in 1 reservation\n")
    assert list(tmp_path.iterdir()) == []
    assert campaign.begun == []


def test_a_dry_run_of_a_campaign_knows_what_is_done_and_how_long_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(Campaign(), tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    again = Campaign()
    again.parameters = {"kind": ["a", "b", "c"], "size": [1, 2, 3]}
    capsys.readouterr()
    run(again, tmp_path, "--dry-run")
    said = capsys.readouterr().out
    assert "9 combinations, 6 of them are finished" in said
    assert "about 0" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == before


# the end of a reservation

def test_a_combination_that_outlives_its_reservation_returns_and_one_that_needs_all_of_it_fails(tmp_path: Path) -> None:
    class Long(Campaign):
        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if combination["size"] == 1:
                Process("sleep 100").run()          # ended with the reservation, and `ok` then, for it was killed
            return {"ok": True}

    campaign = Long()
    campaign.parameters = {"size": [1, 2]}
    campaign.max_attempts = 2
    campaign.testbed = StaticTestbed(["h1", "h2"], walltime=1)
    begin = time.monotonic()
    run(campaign, tmp_path)
    assert time.monotonic() - begin < 30
    assert [one["size"] for one in campaign.begun].count(1) == 2
    [reason] = reasons(tmp_path, "failed")
    assert re.fullmatch(r"it was not done after [\d.]+s, when the reservation ended", str(reason))
    assert [row["size"] for row in campaign.results.rows()] == [2]


def test_a_combination_may_ask_whether_to_go_on(tmp_path: Path) -> None:
    class Polite(Campaign):
        raised: list[BaseException]

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if len(self.begun) > 1:
                return {}
            try:
                while True:
                    self.check(combination)
                    time.sleep(0.01)
            except ReservationOver as over:
                self.raised = [over]
                raise

    campaign = Polite()
    campaign.parameters = {"size": [1]}
    campaign.testbed = StaticTestbed(["h1"], walltime=0.5)
    run(campaign, tmp_path)
    assert len(campaign.raised) == 1
    assert counts(tmp_path)["done"] == 1


def test_a_thread_that_nothing_ends_does_not_hold_up_the_campaign(tmp_path: Path) -> None:
    stuck = threading.Event()

    class Deaf(Campaign):
        tidied = 0

        def tidy_up(self, combination: Any, hosts: list[Host]) -> None:
            self.tidied += 1

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if len(self.begun) == 1:
                threads.append(threading.current_thread())
                stuck.wait(60)
                return {"late": True}
            stuck.set()
            threads[0].join(60)         # it ends while the next reservation lasts
            return {"late": False}

    campaign = Deaf()
    campaign.parameters = {"size": [1]}
    campaign.testbed = StaticTestbed(["h1"], walltime=0.3)
    campaign.end_timeout = 0.2
    threads: list[threading.Thread] = []
    try:
        run(campaign, tmp_path)
        assert counts(tmp_path)["done"] == 1
    finally:
        stuck.set()
    assert [row["late"] for row in campaign.results.rows()] == [False]
    assert campaign.tidied == 1         # for its hosts are another's by now


def test_a_claim_that_was_taken_by_others_leaves_no_result(tmp_path: Path) -> None:
    class Robbed(Campaign):
        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if len(self.begun) == 1:
                # An administrator takes it back, and another worker has done it since.
                with SweepDirectory(str(tmp_path / "sweep"), write=True) as sweep:
                    sweep.cancel(sweep.records("inprogress"))
                other = type(self.sweeper)(str(tmp_path / "sweep"), [combination])
                assert other.get_next() == combination
            return {"n": len(self.begun)}

    campaign = Robbed()
    campaign.parameters = {"size": [1]}
    campaign.testbed = StaticTestbed(["h1"])        # no second host, on which the campaign itself would be the quicker one
    run(campaign, tmp_path)
    assert campaign.results.read() == []
    assert counts(tmp_path)["inprogress"] == 1


# real hosts

class Remotely(Campaign):
    check_hosts = True
    command = "echo $$"

    def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
        remote = Remote(self.command.format(**combination), hosts, self.connection_params, process_args={"nolog_exit_code": True}).run()
        if not remote.ok:
            raise RuntimeError(f"exit code {remote.processes[0].exit_code}")
        return {"said": remote.processes[0].stdout.strip()}


@pytest.mark.requires("ssh", "sshd")
def test_a_campaign_outlives_its_jobs_whose_hosts_go_away(tmp_path: Path) -> None:
    reservations: list[float] = []

    class Jobs(Remotely):
        command = "sleep 0.6; echo {size}"

        def duration(self, combination: Any) -> Any:
            return 0.1                      # too little, so that the end of a job finds some at work

        def prepare(self, hosts: list[Host]) -> None:
            reservations.append(time.monotonic())

    campaign = Jobs()
    campaign.parameters = {"size": list(range(12))}
    campaign.testbed = ClusterTestbed(3, walltime=3)
    campaign.max_attempts = 10
    run(campaign, tmp_path)
    assert counts(tmp_path)["done"] == 12
    rows = campaign.results.rows()
    assert sorted(int(row["said"]) for row in rows) == list(range(12))
    assert all(row["said"] == str(row["size"]) for row in rows)
    assert len(reservations) >= 2
    assert set(json.loads((tmp_path / "notebook.json").read_text())["hosts"]) == {"node-1", "node-2", "node-3"}


@pytest.mark.requires("ssh", "sshd", "taktuk")
def test_commands_of_a_tree_end_with_their_reservation(tmp_path: Path) -> None:
    class Trees(Campaign):
        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if len(self.begun) == 1:
                remote = TaktukRemote("echo $$; exec sleep 100", hosts, self.connection_params).start()
                began.append(int(remote.expect(r"^(\d+)$", 30)[0][2][1]))       # type: ignore[index]
                left[0] = 0.0
                remote.wait()
            return {"ok": True}

    class Ending(StaticTestbed):
        def reserve(self, prefer: Any = ()) -> None:
            super().reserve(prefer)
            left[0] = 60.0

        def time_left(self) -> float | None:
            return left[0]

    left, began = [60.0], list[int]()
    with LocalCluster(1) as cluster:
        campaign = Trees()
        campaign.parameters = {"size": [1]}
        campaign.testbed = Ending(cluster.hosts, connection_params=cluster.connection_params)
        run(campaign, tmp_path)
        assert counts(tmp_path)["done"] == 1
        assert len(campaign.begun) == 2
        assert all_gone(began)


@pytest.mark.requires("ssh", "namespaces")
def test_a_host_that_dies_is_left_alone_and_its_combination_done_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashed = threading.Event()
    monkeypatch.setattr("execo_engine._workflow.answers.CONNECT_SECONDS", 2)

    class Crashing(Remotely):
        command = "sleep 0.3; echo {size}"

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if hosts[0].address != "node-2" or crashed.is_set():
                return super().measure(combination, hosts, directory)
            with Remote("echo here; sleep 1000", hosts, self.connection_params, process_args={"nolog_exit_code": True}).start() as remote:
                remote.expect("here")
                crashed.set()
                host = self.testbed.cluster.hosts[1]
                assert isinstance(host, LocalHost)
                host.crash()
                remote.wait()
            raise RuntimeError("it has crashed")

    campaign = Crashing()
    campaign.testbed = ClusterTestbed(2, isolation="namespaces")
    run(campaign, tmp_path)
    assert crashed.is_set()
    assert counts(tmp_path)["done"] == 6
    assert {row["run.host"] for row in campaign.results.rows()} == {"node-1"}
    assert len(campaign.begun) == 7


@pytest.mark.requires("ssh", "sshd")
def test_hosts_that_do_not_answer_from_the_beginning_are_left_alone(tmp_path: Path) -> None:
    campaign = Remotely()
    real = ClusterTestbed(1)
    real.reserve()
    real.wait()
    try:
        campaign.testbed = StaticTestbed(["nobody.invalid", *real.hosts], connection_params=real.connection_params)
        run(campaign, tmp_path)
    finally:
        real.release()
    assert {row["run.host"] for row in campaign.results.rows()} == {"node-1"}
    assert len(campaign.begun) == 6


def test_many_short_combinations_cost_little_beside_themselves(tmp_path: Path) -> None:
    """What the workflow adds to each, beside three records on the disk: a thread and a queue."""
    campaign = Campaign()
    campaign.parameters = {"size": list(range(200))}
    begin = time.monotonic()
    run(campaign, tmp_path)
    assert counts(tmp_path)["done"] == 200
    assert time.monotonic() - begin < 60
