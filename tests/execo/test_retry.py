"""Partial failure as a value, and running again what failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from connector import LOCAL, hosts, until

from execo.action import ActionLifecycleHandler, Get, Local, ParallelActions, Remote, SequentialActions, filter_bad_hosts
from execo.host import Host
from execo.localcluster import LocalCluster
from execo.process import ProcessLifecycleHandler

QUIET = {"nolog_exit_code": True, "nolog_timeout": True}


def counted(folder: Path) -> str:
    """Each run adds a line to a file of its host; even hosts succeed at once, odd ones at the second run."""
    return (f"echo run >> {folder}/{{{{{{host}}}}}}; echo {{{{{{host}}}}}}; "
            f"test {{{{[0, 1]}}}} = 0 || test $(wc -l < {folder}/{{{{{{host}}}}}}) -ge 2")


def runs(folder: Path, n: int) -> list[int]:
    return [len((folder / host).read_text().splitlines()) if (folder / host).exists() else 0 for host in hosts(n)]


def test_outcomes_by_kind() -> None:
    action = Remote("exit {{[0, 3, 0]}}", hosts(3), LOCAL, process_args=QUIET)
    ok, failed, late = action.processes
    late.cmd = "sleep 60"
    late.timeout = 0.1
    assert action.failed_processes == action.finished_ok_processes == action.timeouted_processes == []
    action.run(30)
    assert action.failed_processes == [failed, late]
    assert action.finished_ok_processes == [ok]
    assert action.timeouted_processes == [late]
    assert action.unreachable_processes == []


def test_only_what_failed_runs_again(tmp_path: Path) -> None:
    action = Remote(counted(tmp_path), hosts(4), LOCAL, process_args=QUIET).run(30)
    before = action.processes[:]
    assert [process.ok for process in before] == [True, False, True, False]
    assert action.retry_failed() is action
    assert action.finished_ok
    assert action.processes == before
    assert runs(tmp_path, 4) == [1, 2, 1, 2]
    assert [process.stdout for process in before] == [f"{host}\n" for host in hosts(4)]
    action.retry_failed()
    assert runs(tmp_path, 4) == [1, 2, 1, 2]


def test_twice_and_then_reset(tmp_path: Path) -> None:
    action = Remote(f"echo run >> {tmp_path}/{{{{{{host}}}}}}; test $(wc -l < {tmp_path}/{{{{{{host}}}}}}) -ge 3", hosts(3), LOCAL,
                    process_args=QUIET).run(30)
    assert len(action.failed_processes) == 3
    assert len(action.retry_failed().failed_processes) == 3
    assert action.retry_failed().finished_ok
    assert runs(tmp_path, 3) == [3, 3, 3]
    assert action.reset().run(30).finished_ok


def test_retry_with_fanout(tmp_path: Path) -> None:
    action = Remote(counted(tmp_path), hosts(10), LOCAL, process_args=QUIET, fanout=2).run(60)
    assert action.retry_failed().finished_ok
    assert runs(tmp_path, 10) == [1, 2] * 5


def test_handlers_are_called_as_for_a_run(tmp_path: Path) -> None:
    calls: list[Any] = []

    class OfAction(ActionLifecycleHandler):
        def start(self, action: Any) -> None:
            calls.append("start")

        def end(self, action: Any) -> None:
            calls.append(("end", [process.ok for process in action.processes]))

        def reset(self, action: Any) -> None:
            calls.append("reset")

    class OfProcess(ProcessLifecycleHandler):
        def end(self, process: Any) -> None:
            ends.append(process.host.address)

    ends: list[str] = []
    action = Remote(counted(tmp_path), hosts(2), LOCAL, process_args={**QUIET, "lifecycle_handlers": [OfProcess()]},
                    lifecycle_handlers=OfAction()).run(30)
    action.retry_failed()
    assert calls == ["start", ("end", [True, False]), "start", ("end", [True, True])]
    assert sorted(ends) == ["h0", "h1", "h1"]


def test_output_files_get_both_runs(tmp_path: Path) -> None:
    args = {**QUIET, "stdout_handlers": [str(tmp_path / "out.{{{host}}}")]}
    action = Remote(counted(tmp_path), hosts(2), LOCAL, process_args=args).run(30)
    action.retry_failed()
    assert [(tmp_path / f"out.h{i}").read_text() for i in (0, 1)] == ["h0\n", "h1\nh1\n"]


def test_a_retry_can_be_bounded_waited_for_and_killed(tmp_path: Path) -> None:
    action = Remote(f"test -e {tmp_path}/again && exec sleep 60; exit 1", hosts(2), LOCAL, process_args=QUIET).run(30)
    (tmp_path / "again").touch()
    action.retry_failed(timeout=0.1)
    assert (action.started, action.ended) == (True, False)
    with pytest.raises(ValueError, match="not ended"):
        action.retry_failed()
    assert action.kill().wait(30).ended
    assert all(process.killed for process in action.processes)


def test_an_action_that_has_not_ended_cannot_be_retried() -> None:
    for action in (Local("true"), ParallelActions([Local("true")]), Local("cat").start()):
        with pytest.raises(ValueError, match="not ended"):
            action.retry_failed()
        action.kill().wait(20) if action.started else None


@pytest.mark.parametrize("kind", [ParallelActions, SequentialActions])
def test_composites_retry_what_failed_in_their_parts(kind: Any, tmp_path: Path) -> None:
    order = tmp_path / "order"
    calls: list[str] = []

    class Note(ActionLifecycleHandler):
        def start(self, action: Any) -> None:
            calls.append("start " + action.name)

        def end(self, action: Any) -> None:
            assert not action.ended
            calls.append("end " + action.name)

    def part(i: int) -> Local:
        return Local(f"echo {i} >> {order}; test {i} = 1 || test $(grep -c {i} {order}) -ge 2", name=str(i),
                     process_args={"shell": True, **QUIET}, lifecycle_handlers=Note())

    inner = kind([part(1), part(2)], name="inner", lifecycle_handlers=Note())
    whole = kind([part(0), inner, part(3)], name="whole", lifecycle_handlers=Note()).run(30)
    assert [process.ok for process in whole.processes] == [False, True, False, False]
    calls.clear()
    before = whole.processes
    assert whole.retry_failed() is whole
    assert whole.finished_ok
    assert whole.processes == before
    lines = order.read_text().split()
    assert sorted(lines) == list("0012233")
    expected = ["start whole", "start 0", "end 0", "start inner", "start 2", "end 2", "end inner", "start 3", "end 3", "end whole"]
    if kind is SequentialActions:
        assert lines == list("0123023")
        assert calls == expected
    else:
        assert sorted(calls) == sorted(expected)
    assert whole.retry_failed() is whole
    assert order.read_text().split() == lines


def test_parallel_parts_are_retried_at_once(tmp_path: Path) -> None:
    def meet(me: str, other: str) -> Local:
        return Local(f"test -e {tmp_path}/go || exit 1; touch {tmp_path}/{me}; while ! test -e {tmp_path}/{other}; do sleep 0.01; done",
                     process_args={"shell": True, **QUIET})

    both = ParallelActions([meet("a", "b"), meet("b", "a")]).run(30)
    (tmp_path / "go").touch()
    assert both.retry_failed(timeout=30).finished_ok


def test_the_retry_of_a_part_alone_leaves_the_whole_as_it_is(tmp_path: Path) -> None:
    part = Remote(counted(tmp_path), hosts(2), LOCAL, process_args=QUIET)
    other = Local("true")
    whole = SequentialActions([part, other]).run(30)
    first = other.processes[0].start_date
    assert part.retry_failed().finished_ok
    assert whole.finished_ok
    assert other.processes[0].start_date == first


def test_unreachable_hosts_are_told_and_can_be_retried(ssh_hosts: LocalCluster) -> None:
    params = ssh_hosts.connection_params
    dead = Host(ssh_hosts.hosts[1].address, port=1)
    action = Remote("true", [ssh_hosts.hosts[0], dead], params, process_args=QUIET).run(60)
    assert [process.host for process in action.unreachable_processes] == [dead]
    assert action.unreachable_processes == action.failed_processes
    again = action.retry_failed()
    assert [process.host for process in again.unreachable_processes] == [dead]


def test_copies_are_retried(ssh_hosts: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    get = Get(ssh_hosts.hosts[:2], str(tmp_path / "{{{host}}}"), str(tmp_path / "to"), ssh_hosts.connection_params, process_args=QUIET)
    first, second = (tmp_path / host.address for host in ssh_hosts.hosts[:2])
    first.write_text("1")
    get.run(60)
    second.write_text("2")
    assert [process.ok for process in get.processes] == [True, False]
    assert get.retry_failed().finished_ok
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == sorted([first.name, second.name])


def test_filter_bad_hosts_keeps_the_objects_and_the_order() -> None:
    given = [Host("h1"), Host("h0"), "h2", Host("elsewhere"), Host("h1", user="u")]
    action = Remote("test {{{host}}} != h1", ["h0", "h1", "h2"], LOCAL, process_args=QUIET).run(30)
    kept = filter_bad_hosts(action, given)
    assert kept == given[1:]
    assert all(one is other for one, other in zip(kept, given[1:], strict=True))
    assert filter_bad_hosts(action, "h1") == []
    assert filter_bad_hosts(action, "h0") == ["h0"]
    assert filter_bad_hosts(ParallelActions([action, Local("true")]), ["h0", "h1"]) == ["h0"]


def test_a_host_with_one_bad_process_of_two_is_bad() -> None:
    action = Remote("exit {{[0, 1]}}", ["h", "h"], LOCAL, process_args=QUIET).run(30)
    assert filter_bad_hosts(action, ["h"]) == []


def test_cancelled_processes_are_not_failed() -> None:
    action = Remote("sleep 60", hosts(2), LOCAL, fanout=1).start()
    until(lambda: action.processes[0].started)
    action.kill().wait(30)
    assert action.failed_processes == []
    assert action.retry_failed() is action
