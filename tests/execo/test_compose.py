"""Actions made of actions."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from connector import LOCAL, hosts, until

from execo.action import Action, ActionLifecycleHandler, Local, ParallelActions, Remote, SequentialActions, wait_all_actions
from execo.report import Report

QUIET = {"nolog_exit_code": True}
BOTH = pytest.mark.parametrize("kind", [ParallelActions, SequentialActions])


def shell(command: str, **options: Any) -> Local:
    return Local(command, process_args={"shell": True, "nolog_exit_code": True, **options})


def test_parallel_actions_run_at_once(tmp_path: Path) -> None:
    # Each waits for the other.
    a = shell(f"touch {tmp_path}/a; while ! test -e {tmp_path}/b; do sleep 0.01; done")
    b = shell(f"touch {tmp_path}/b; while ! test -e {tmp_path}/a; do sleep 0.01; done")
    both = ParallelActions([a, b])
    assert both.name == "ParallelActions 2 actions"
    assert both.run(30).finished_ok
    assert both.processes == [*a.processes, *b.processes]


def test_sequential_actions_keep_the_order_and_go_on_after_a_failure(tmp_path: Path) -> None:
    log = tmp_path / "log"
    sequence = SequentialActions([shell(f"echo {i} begins >> {log}; sleep 0.02; echo {i} ends >> {log}; exit {i % 2}") for i in range(4)])
    assert sequence.run(30).ended
    assert log.read_text().splitlines() == [f"{i} {what}" for i in range(4) for what in ("begins", "ends")]
    assert (sequence.ok, len(sequence.failed_processes)) == (False, 2)


@BOTH
def test_nothing_ends_at_once(kind: Any) -> None:
    assert kind([]).run(20).finished_ok
    assert kind([Remote("x", []), kind([])]).run(20).finished_ok
    assert kind(iter([Local("true")])).run(20).finished_ok


@BOTH
def test_a_thousand_parts_that_end_at_once_do_not_recurse(kind: Any) -> None:
    assert kind([Remote("x", []) for _ in range(2000)]).run(30).finished_ok


@BOTH
def test_kill_before_the_start_does_nothing(kind: Any) -> None:
    action = kind([Local("true"), Local("true")]).kill()
    assert action.run(20).finished_ok
    assert [process.exit_code for process in action.processes] == [0, 0]


def test_killing_a_sequence_stops_it() -> None:
    calls: list[str] = []

    class Note(ActionLifecycleHandler):
        def start(self, action: Any) -> None:
            calls.append(action.name)

    parts = [Local("sleep 60", name=str(i), lifecycle_handlers=Note()) for i in range(3)]
    sequence = SequentialActions(parts).start()
    sequence.kill()
    assert sequence.wait(30).ended
    assert calls == ["0"]
    assert [part.started for part in parts] == [True, False, False]
    assert parts[0].processes[0].killed
    sequence.reset()
    for part in parts:
        part.processes[0].cmd = "true"
    assert sequence.run(30).finished_ok
    assert calls == ["0", "0", "1", "2"]


def test_a_sequence_killed_in_the_end_of_a_part_starts_no_further_one() -> None:
    class Kill(ActionLifecycleHandler):
        def end(self, action: Any) -> None:
            sequence.kill()

    parts = [Local("true", lifecycle_handlers=Kill()), Local("sleep 60")]
    sequence = SequentialActions(parts)
    assert sequence.run(30).ended
    assert not parts[1].started


def test_killing_parallel_actions_kills_all() -> None:
    action = ParallelActions([Local("sleep 60"), Remote("sleep 60", hosts(3), LOCAL)]).start().kill().wait(30)
    assert action.ended
    assert all(process.killed for process in action.processes)


def test_killing_while_the_parts_are_started_reaches_all() -> None:
    class Kill(ActionLifecycleHandler):
        def start(self, action: Any) -> None:
            thread = threading.Thread(target=both.kill)
            thread.start()
            thread.join()

    both = ParallelActions([Local("sleep 60"), Local("sleep 60", lifecycle_handlers=Kill()), Local("sleep 60")])
    assert both.start().wait(30).ended
    assert all(process.killed for process in both.processes)


def test_nested(tmp_path: Path) -> None:
    log = tmp_path / "log"
    nested = SequentialActions([
        shell(f"echo 0 >> {log}"),
        ParallelActions([SequentialActions([shell(f"echo 1 >> {log}"), shell(f"echo 2 >> {log}")]), Local("true")]),
        SequentialActions([shell(f"echo 3 >> {log}")]),
    ])
    assert nested.run(30).finished_ok
    assert log.read_text().split() == list("0123")
    assert len(nested.processes) == 5
    nested.reset()
    assert not any(process.started for process in nested.processes)
    assert nested.run(30).finished_ok
    assert log.read_text().split() == list("01230123")


@BOTH
def test_end_handlers_of_parts_run_before_those_of_the_whole(kind: Any) -> None:
    calls: list[Any] = []

    class Note(ActionLifecycleHandler):
        def __init__(self, name: str) -> None:
            self.name = name

        def start(self, action: Any) -> None:
            calls.append(f"{self.name} starts")

        def end(self, action: Any) -> None:
            calls.append(f"{self.name} ends")

        def reset(self, action: Any) -> None:
            calls.append(f"{self.name} resets")

    whole = kind([Local("true", lifecycle_handlers=Note("part"))], lifecycle_handlers=Note("whole"))
    whole.run(30).reset()
    assert calls == ["whole starts", "part starts", "part ends", "whole ends", "whole resets", "part resets"]


@BOTH
def test_blocking_handlers_of_parts_do_not_stop_other_processes(kind: Any) -> None:
    go = threading.Event()

    class Block(ActionLifecycleHandler):
        def end(self, action: Any) -> None:
            go.wait(30)

    whole = kind([Local("true", lifecycle_handlers=Block()), Local("true", lifecycle_handlers=Block())]).start()
    assert Local("true").run(20).finished_ok
    go.set()
    assert whole.wait(30).finished_ok


@BOTH
def test_stats_are_the_sum_with_those_of_the_parts(kind: Any) -> None:
    whole = kind([shell("exit 1"), Remote("true", hosts(3), LOCAL)], name="whole").run(30)
    stats = whole.stats()
    assert (stats["name"], stats["num_processes"], stats["num_ok"], stats["num_non_zero_exit_codes"]) == ("whole", 4, 3, 1)
    assert [part["num_processes"] for part in stats["sub_stats"]] == [1, 3]
    text = Report([whole]).to_string()
    assert "\n  exit 1" in text
    whole.hide_subactions = True
    assert whole.stats()["sub_stats"] == []
    assert "exit 1" not in Report([whole]).to_string()


@BOTH
def test_a_part_that_was_started_elsewhere_is_refused_and_nothing_starts(kind: Any) -> None:
    done, fresh = Local("true").run(), Local("true")
    whole = kind([fresh, done])
    with pytest.raises(ValueError, match="started before"):
        whole.start()
    assert (whole.started, fresh.started) == (False, False)
    with pytest.raises(ValueError, match="only once"):
        kind([]).run().start()
    done.reset()
    assert whole.run(20).finished_ok


@BOTH
def test_a_part_that_runs_by_itself_starts_nothing_else(kind: Any) -> None:
    parts = [Local("true"), Local("true")]
    whole = kind(parts)
    assert parts[0].run(20).finished_ok
    assert [parts[1].started, whole.started, whole.ended] == [False, False, False]


@BOTH
def test_a_part_started_elsewhere_meanwhile_is_logged_and_does_not_hang(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    stolen = Local("true")

    class Steal(ActionLifecycleHandler):
        def start(self, action: Any) -> None:
            stolen.run()

    whole = kind([Local("true", lifecycle_handlers=Steal()), stolen, Local("true")])
    assert whole.run(30).ended
    assert all(process.ok for process in whole.processes)
    assert "cannot be started" in caplog.text


@BOTH
@pytest.mark.parametrize("parts", [[1], ["true"], [None]])
def test_what_is_no_action_is_refused(kind: Any, parts: Any) -> None:
    with pytest.raises(TypeError, match="expected actions"):
        kind(parts)


@BOTH
def test_the_same_action_twice_is_refused(kind: Any) -> None:
    action = Local("true")
    with pytest.raises(ValueError, match="twice"):
        kind([action, action])


@BOTH
def test_a_bad_setting_of_a_part_is_told_before_anything_starts(kind: Any) -> None:
    bad = Local("true")
    bad.processes[0].timeout = "soon"
    whole = kind([Local("true"), bad])
    with pytest.raises(ValueError, match="soon"):
        whole.start()
    assert not any(action.started for action in [whole, *whole.actions])


def test_setting_the_processes_of_a_composite_is_ignored() -> None:
    whole = ParallelActions([Local("true")])
    whole.processes = []
    assert len(whole.processes) == 1


@BOTH
def test_expect_and_text(kind: Any) -> None:
    whole = kind([Local("echo a"), Local("echo b")]).run(30)
    assert [match and match[0] for _, _, match in whole.expect("[ab]", timeout=20)] == ["a", "b"]
    assert repr(whole) == f"{kind.__name__}([Local('echo a'), Local('echo b')])"


def test_many_composites_at_once() -> None:
    wholes: list[Action] = [SequentialActions([ParallelActions([Local("true") for _ in range(3)]) for _ in range(4)]) for _ in range(8)]
    for whole in wholes:
        whole.start()
    assert wait_all_actions(wholes, timeout=60) == wholes
    assert all(whole.finished_ok for whole in wholes)


def test_a_sequence_may_be_waited_for_in_the_handler_of_another() -> None:
    class RunSequence(ActionLifecycleHandler):
        def end(self, action: Any) -> None:
            inner.run()

    inner = SequentialActions([Local("true"), Local("true")])
    outer = SequentialActions([Local("true", lifecycle_handlers=RunSequence()), Local("true")])
    assert outer.run(30).finished_ok
    assert until(lambda: inner.finished_ok)
