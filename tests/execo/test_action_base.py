"""Life of an action: start, wait, kill, reset, handlers, waiting for several."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import pytest
from connector import LOCAL, hosts, until

from execo.action import Action, ActionLifecycleHandler, Local, Remote, wait_all_actions, wait_any_actions
from execo.config import configuration
from execo.process import Process, ProcessLifecycleHandler, ProcessOutputHandler


def test_a_local_action_runs_one_process() -> None:
    action = Local("printf hello").run()
    assert (action.ok, action.finished_ok, len(action.processes)) == (True, True, 1)
    assert action.processes[0].stdout == "hello"
    assert action.name == "printf hello"


def test_the_default_name_tells_class_and_identity() -> None:
    action = Action()
    assert action.name == f"Action {id(action):#x}"
    assert Local(["echo", "a b"]).name == "echo 'a b'"


def test_process_args_reach_the_process() -> None:
    action = Local("exit 3", process_args={"shell": True, "ignore_exit_code": True}).run()
    assert (action.processes[0].exit_code, action.ok) == (3, True)


def test_waiting_for_an_action_that_was_not_started_is_refused_at_once() -> None:
    action = Local("true")
    with pytest.raises(ValueError, match="not started"):
        action.wait()
    assert action.wait(0.01) is action
    assert not action.ended


def test_an_action_starts_once() -> None:
    action = Local("true").run()
    with pytest.raises(ValueError, match="only once"):
        action.start()
    with pytest.raises(ValueError, match="only once"):
        action.run()
    assert action.reset().run().finished_ok


def test_wait_with_a_timeout_neither_kills_nor_ends() -> None:
    with Local("sleep 60") as action:
        begin = time.monotonic()
        assert action.run("0.05") is action
        assert time.monotonic() - begin < 20
        assert (action.started, action.ended, action.processes[0].killed) == (True, False, False)
    assert action.wait().processes[0].killed


def test_leaving_the_block_kills_and_lets_the_exception_through() -> None:
    action = Local("sleep 60")
    with pytest.raises(RuntimeError, match="mine"), action:
        action.start()
        raise RuntimeError("mine")
    assert action.wait(20).ended
    assert action.processes[0].killed


def test_kill_before_the_start_and_after_the_end_does_nothing() -> None:
    action = Local("true")
    assert action.kill() is action
    action.run().kill()
    assert (action.processes[0].killed, action.ok) == (False, True)


def test_kill_right_after_the_start_is_not_lost() -> None:
    for _ in range(20):
        action = Remote("sleep 60", hosts(5), LOCAL).start().kill().wait(30)
        assert action.ended
        assert all(process.killed for process in action.processes)


def test_kill_while_another_thread_starts_it_reaches_all_processes() -> None:
    killed = threading.Event()

    class KillInStart(ActionLifecycleHandler):
        def start(self, action: Any) -> None:
            threading.Thread(target=lambda: (action.kill(), killed.set())).start()
            killed.wait(20)

    action = Remote("sleep 60", hosts(10), LOCAL, lifecycle_handlers=KillInStart()).start().wait(30)
    assert action.ended
    assert all(process.killed for process in action.processes)


def test_kill_spares_no_subprocess_of_a_shell() -> None:
    action = Local("sleep 61 & echo $!; wait", process_args={"shell": True}).start()
    (_, _, match), = action.expect(r"^(\d+)$", timeout=20)
    assert match is not None
    action.kill().wait()

    def gone() -> bool:
        try:
            with open(f"/proc/{match[1]}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    assert until(gone)


def test_reset_kills_what_runs_and_makes_new_processes() -> None:
    action = Local("sleep 60").start()
    first = action.processes[0]
    action.reset()
    assert first.ended
    assert first.killed
    assert action.processes[0] is not first
    assert (action.started, action.ended) == (False, False)
    action.start().kill().wait()
    assert action.processes[0].killed


class Recorder(ActionLifecycleHandler):
    def __init__(self, calls: list[Any], name: str = "") -> None:
        self.calls = calls
        self.name = name

    def start(self, action: Any) -> None:
        self.calls.append((f"start{self.name}", [process.started for process in action.processes]))

    def end(self, action: Any) -> None:
        self.calls.append((f"end{self.name}", action.ended, [process.ended for process in action.processes]))

    def reset(self, action: Any) -> None:
        self.calls.append(f"reset{self.name}")


def test_lifecycle_handlers_are_called_in_order_around_the_processes() -> None:
    calls: list[Any] = []
    action = Local("true", lifecycle_handlers=[Recorder(calls, "1"), Recorder(calls, "2")])
    action.run().reset()
    assert calls == [("start1", [False]), ("start2", [False]), ("end1", False, [True]), ("end2", False, [True]), "reset1", "reset2"]


def test_a_single_lifecycle_handler_needs_no_list() -> None:
    calls: list[Any] = []
    Local("true", lifecycle_handlers=Recorder(calls)).run()
    assert [call[0] for call in calls] == ["start", "end"]


def test_the_start_handler_runs_in_the_thread_that_starts_and_the_end_handler_outside_the_io_thread() -> None:
    threads = []

    class Where(ActionLifecycleHandler):
        def start(self, action: Any) -> None:
            threads.append(threading.current_thread())

        def end(self, action: Any) -> None:
            threads.append(threading.current_thread())

    Local("true", lifecycle_handlers=Where()).run()
    assert threads[0] is threading.current_thread()
    assert threads[1].name != "execo-io"


def test_a_handler_that_raises_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("execo"), "propagate", True)
    calls: list[Any] = []

    class Bad(ActionLifecycleHandler):
        def start(self, action: Any) -> None:
            raise RuntimeError("in start")

        def end(self, action: Any) -> None:
            raise RuntimeError("in end")

        def reset(self, action: Any) -> None:
            raise RuntimeError("in reset")

    action = Local("true", lifecycle_handlers=[Bad(), Recorder(calls)])
    assert action.run().finished_ok
    action.reset()
    assert [call if isinstance(call, str) else call[0] for call in calls] == ["start", "end", "reset"]
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["in start", "in end", "in reset"]


def test_wait_returns_after_the_end_handlers() -> None:
    go, done = threading.Event(), []

    class Slow(ActionLifecycleHandler):
        def end(self, action: Any) -> None:
            go.wait(20)
            done.append(action.ended)

    action = Local("true", lifecycle_handlers=Slow()).start()
    action.processes[0].wait()
    assert not action.wait(0.05).ended
    go.set()
    action.wait()
    assert done == [False]


def test_wait_returns_after_the_end_handlers_of_the_processes() -> None:
    done: list[Any] = []

    class Slow(ProcessLifecycleHandler):
        def end(self, process: Any) -> None:
            time.sleep(0.05)
            done.append(process)

    action = Remote("true", hosts(4), LOCAL, process_args={"lifecycle_handlers": [Slow()]}).run()
    assert sorted(map(id, done)) == sorted(map(id, action.processes))


def test_a_blocking_end_handler_holds_up_no_other_action() -> None:
    go = threading.Event()

    class Blocking(ActionLifecycleHandler):
        def end(self, action: Any) -> None:
            go.wait(30)

    blocked = Local("true", lifecycle_handlers=Blocking()).start()
    try:
        assert Local("true").run(20).finished_ok
        assert Local("true", lifecycle_handlers=Recorder([])).run(20).finished_ok
        assert not blocked.ended
    finally:
        go.set()
    assert blocked.wait().finished_ok


@pytest.mark.parametrize("when", ["start", "end"])
def test_a_handler_may_start_another_action_and_wait_for_it(when: str) -> None:
    outputs = []

    def run_another(action: Any) -> None:
        outputs.append(Remote("echo {{{host}}}", hosts(2), LOCAL).run().processes[1].stdout)

    handler = ActionLifecycleHandler()
    setattr(handler, when, run_another)
    assert Local("true", lifecycle_handlers=handler).run(30).finished_ok
    assert outputs == ["h1\n"]


def test_a_handler_of_a_process_may_start_another_action_and_wait_for_it() -> None:
    outputs = []

    class RunAnother(ProcessLifecycleHandler):
        def start(self, process: Any) -> None:
            outputs.append(Local("echo start").run().processes[0].stdout)

        def end(self, process: Any) -> None:
            outputs.append(Local("echo end").run().processes[0].stdout)

    assert Local("true", process_args={"lifecycle_handlers": [RunAnother()]}).run(30).finished_ok
    assert outputs == ["start\n", "end\n"]


def test_waiting_in_an_output_handler_is_refused_instead_of_hanging() -> None:
    other = Local("sleep 60")
    refused: list[BaseException] = []

    class Waits(ProcessOutputHandler):
        def read_line(self, process: Any, stream: int, string: str) -> None:
            for wait in (other.wait, lambda: wait_any_actions([other]), lambda: wait_all_actions([other])):
                try:
                    wait()
                except RuntimeError as error:
                    refused.append(error)

    with other.start():
        Local("echo x", process_args={"stdout_handlers": [Waits()]}).run()
    other.wait()
    assert len(refused) == 3


def test_wait_any_returns_those_that_have_ended() -> None:
    slow, quick = Local("sleep 60"), Local("true")
    with slow.start(), quick.start():
        assert wait_any_actions([slow, quick], timeout=20) == [quick]
        assert wait_any_actions([slow], timeout=0.02) == []
        assert wait_any_actions([slow], timeout=0) == []
        assert wait_any_actions([slow, quick]) == [quick]
        assert wait_all_actions([slow, quick], timeout="0.02") == [quick]
        assert wait_all_actions(iter([quick])) == [quick]
    assert wait_all_actions([slow, quick]) == [slow, quick]
    assert wait_any_actions([]) == wait_all_actions([]) == []
    assert slow._at_end == []


def test_waiting_for_any_of_what_was_not_started_is_refused() -> None:
    with pytest.raises(ValueError, match="none was started"):
        wait_any_actions([Local("true")])
    with pytest.raises(ValueError, match="not started"):
        wait_all_actions([Local("true")])
    assert wait_any_actions([Local("true")], timeout=0.01) == []


def test_many_threads_wait_for_the_same_actions() -> None:
    actions = [Local("cat") for _ in range(5)]
    for action in actions:
        action.start()
    results: list[int] = []
    waits = [lambda: wait_all_actions(actions), lambda: wait_any_actions(actions[:1]), lambda: actions[2].wait().processes]
    threads = [threading.Thread(target=lambda wait=waits[i % 3]: results.append(len(wait()))) for i in range(30)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for action in actions:
        action.processes[0].close_stdin()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == [1] * 20 + [5] * 10


def test_stats_and_text_tell_the_counts() -> None:
    action = Local("exit 1", process_args={"shell": True, "nolog_exit_code": True}, name="n")
    assert repr(action) == "Local('exit 1')"
    before = action.stats()
    assert (before["num_started"], before["start_date"], before["end_date"]) == (0, None, None)
    action.run()
    stats = action.stats()
    assert (stats["name"], stats["num_processes"], stats["num_non_zero_exit_codes"], stats["num_ok"]) == ("n", 1, 1, 0)
    assert stats["start_date"] <= stats["end_date"]
    assert str(action).startswith("<Local('exit 1', name=n, started=True, start_date='")
    assert str(action).endswith("num_non_zero_exit_codes=1, num_ok=0, num_finished_ok=0, ok=False)>")


def test_expect_serves_all_processes_with_one_budget() -> None:
    with Remote("echo {{{host}}}; sleep 60", hosts(5), LOCAL) as action:
        action.start()
        found = action.expect(r"h(\d)", timeout=30)
        assert [match and match[1] for _, _, match in found] == list("01234")
        assert [(process, index) for process, index, _ in found] == [(process, 0) for process in action.processes]
        begin = time.monotonic()
        found = action.expect(iter(["never", "nor this"]), timeout=0.3)
        assert [(index, match) for _, index, match in found] == [(None, None)] * 5
        assert 0.25 < time.monotonic() - begin < 1.2
        assert all(process.expect_fail for process in action.processes)
    action.wait()


def test_expect_without_timeout_ends_with_the_processes() -> None:
    action = Remote("echo {{{host}}}; test {{{host}}} = h0", hosts(2), LOCAL, process_args={"nolog_exit_code": True}).start()
    assert [index for _, index, _ in action.expect(["nothing", "h0"], timeout=None)] == [1, None]
    action.wait()


def test_expect_uses_the_default_timeout_of_the_action_and_checks_it() -> None:
    with Remote("sleep 60", hosts(2), LOCAL, default_expect_timeout="0.05", process_args={"nolog_expect_fail": True}) as action:
        action.start()
        assert [match for _, _, match in action.expect("x")] == [None, None]
        assert [match for _, _, match in action.expect("x", timeout=0)] == [None, None]
    action.wait()
    with pytest.raises(ValueError):
        Local("true", default_expect_timeout="soon")


def test_expect_in_one_thread_does_not_consume_that_of_another() -> None:
    action = Remote("printf 'a b'", hosts(2), LOCAL).run()
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append([match[0] for _, _, match in action.expect("[ab]") if match]))
               for _ in range(3)]
    for thread in threads:
        thread.start()
        thread.join()
    assert found == [["a", "a"]] * 3


def test_bad_settings_are_refused_before_anything_has_changed() -> None:
    action = Remote("true", hosts(3), LOCAL)
    action.processes[2].timeout = "soon"
    with pytest.raises(ValueError, match="soon"):
        action.start()
    assert not action.started
    assert not any(process.started for process in action.processes)
    action.processes[2].timeout = None
    configuration["fanout"] = "many"
    with pytest.raises(ValueError, match="fanout"):
        action.start()
    assert not action.started
    del configuration["fanout"]
    assert action.run().finished_ok


def test_a_process_that_cannot_start_is_an_error_of_that_process_alone() -> None:
    action = Remote(("echo", "x"), hosts(2), {"ssh": "/no/such/ssh"}, process_args={"nolog_error": True, "nolog_exit_code": True}).run(20)
    assert action.ended
    assert [(process.error, type(process.error_reason)) for process in action.processes] == [(True, FileNotFoundError)] * 2
    assert action.failed_processes == action.processes


def test_equal_timeouts_end_all() -> None:
    action = Remote("sleep 60", hosts(20), LOCAL, process_args={"timeout": 0.2, "nolog_timeout": True}).run(30)
    assert action.ended
    assert action.timeouted_processes == action.processes


def test_processes_started_by_themselves_are_counted_too() -> None:
    action = Remote("true", hosts(2), LOCAL)
    action.processes[0].run()
    assert not action.ended
    assert action.run(20).finished_ok


def test_plain_processes_can_be_made_an_action() -> None:
    class Mine(Action):
        def __init__(self) -> None:
            super().__init__()
            self._init_processes()

        def _init_processes(self) -> None:
            self._adopt([Process("echo 1"), Process("echo 2")])

    assert [process.stdout for process in Mine().run().processes] == ["1\n", "2\n"]
