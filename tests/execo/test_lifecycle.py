"""Life cycle handlers, and observers of all processes."""

from __future__ import annotations

import sys
import threading

import pytest

from execo.process import (
    Process,
    ProcessLifecycleHandler,
    add_process_observer,
    flush_process_observers,
    remove_process_observer,
)


class Recorder(ProcessLifecycleHandler):
    def __init__(self):
        self.calls = []
        self.ended = threading.Event()

    def start(self, process):
        self.calls.append(("start", process.started, threading.current_thread().name))

    def end(self, process):
        self.calls.append(("end", process.ended, threading.current_thread().name))
        self.ended.set()

    def reset(self, process):
        self.calls.append(("reset", process.ended, threading.current_thread().name))


class Inline(Recorder):
    inline = True


def test_start_comes_before_end_and_both_outside_the_io_thread():
    recorders = [Recorder() for _ in range(100)]
    processes = [Process("true", lifecycle_handlers=[recorder]).start() for recorder in recorders]
    for process, recorder in zip(processes, recorders, strict=True):
        process.wait(20)
        assert recorder.ended.wait(20)
        assert [call[:2] for call in recorder.calls] == [("start", True), ("end", True)]
        assert all(call[2].startswith("execo-handler") for call in recorder.calls)


def test_inline_handlers_run_in_the_io_thread_before_wait_returns():
    recorder = Inline()
    Process("true", lifecycle_handlers=[recorder]).run(20)
    assert recorder.ended.wait(20)
    assert [call[2] for call in recorder.calls] == ["execo-io", "execo-io"]


def test_an_inline_handler_after_another_one_keeps_its_place():
    order = []

    class Named(ProcessLifecycleHandler):
        def __init__(self, name, inline):
            self.name, self.inline = name, inline

        def start(self, process):
            if self.name == "blocks":
                assert go.wait(20)
            order.append(("start", self.name))

        def end(self, process):
            order.append(("end", self.name))
            if self.name == "last":
                done.set()

    go, done = threading.Event(), threading.Event()
    handlers = [Named("first", True), Named("blocks", False), Named("last", True)]
    Process("true", lifecycle_handlers=handlers).run(20)
    go.set()
    assert done.wait(20)
    assert order == [(what, name) for what in ("start", "end") for name in ("first", "blocks", "last")]


def test_a_handler_that_blocks_delays_neither_the_process_nor_others():
    class Blocks(ProcessLifecycleHandler):
        def start(self, process):
            assert go.wait(20)
            done.set()

    go, done = threading.Event(), threading.Event()
    process = Process("true", lifecycle_handlers=[Blocks()]).run(20)
    assert process.ended
    recorder = Recorder()
    Process("true", lifecycle_handlers=[recorder]).run(20)
    assert recorder.ended.wait(20)
    assert not done.is_set()
    go.set()
    assert done.wait(20)


def test_a_handler_may_start_and_wait_for_other_processes():
    class Chain(ProcessLifecycleHandler):
        def end(self, process):
            codes.append(Process("sh -c 'exit 5'", nolog_exit_code=True).run(20).exit_code)
            done.set()

    codes, done = [], threading.Event()
    Process("true", lifecycle_handlers=[Chain()]).run(20)
    assert done.wait(20)
    assert codes == [5]


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
@pytest.mark.parametrize("inline", [False, True])
def test_a_handler_that_raises_is_logged_and_harms_nobody(capsys, error, inline):
    class Raises(ProcessLifecycleHandler):
        def start(self, process):
            raise error("wrong")

    handler, recorder = Raises(), Recorder()
    handler.inline = inline
    assert Process("true", lifecycle_handlers=[handler, recorder]).run(20).ok
    assert recorder.ended.wait(20)
    assert [call[0] for call in recorder.calls] == ["start", "end"]
    assert "wrong" in capsys.readouterr().out


def test_a_handler_sees_the_output_and_the_exit_code():
    class Looks(ProcessLifecycleHandler):
        def end(self, process):
            seen.append((process.stdout, process.exit_code))
            done.set()

    seen, done = [], threading.Event()
    Process("sh -c 'echo out; exit 2'", nolog_exit_code=True, lifecycle_handlers=[Looks()]).run(20)
    assert done.wait(20)
    assert seen == [("out\n", 2)]


def test_reset_calls_handlers_in_the_caller_and_gives_a_new_life():
    recorder = Recorder()
    process = Process("sh -c 'echo out; exit 2'", nolog_exit_code=True, lifecycle_handlers=[recorder])
    for _ in range(3):
        recorder.ended.clear()
        process.run(20)
        assert recorder.ended.wait(20)
        assert (process.stdout, process.exit_code) == ("out\n", 2)
        assert process.reset() is process
        assert (process.started, process.ended, process.stdout, process.exit_code, process.pid) == (False, False, "", None, None)
    assert [call[0] for call in recorder.calls] == ["start", "end", "reset"] * 3
    assert recorder.calls[2] == ("reset", True, threading.current_thread().name)


def test_reset_kills_what_runs():
    process = Process("sleep 60").start()
    process.started_event.wait(20)
    ended = process.ended_event
    process.reset()
    assert ended.is_set()
    assert not process.started
    assert Process("true").run(20).ok


def test_reset_right_after_start_and_a_slow_handler_keep_the_order_of_lives():
    order = []

    class Slow(ProcessLifecycleHandler):
        def start(self, process):
            order.append("start")

        def end(self, process):
            if len(order) == 1:
                assert go.wait(20)
            order.append("end")
            if len(order) == 4:
                done.set()

    go, done = threading.Event(), threading.Event()
    process = Process("true", lifecycle_handlers=[Slow()]).run(20)
    process.reset()
    process.run(20)
    go.set()
    assert done.wait(20)
    assert order == ["start", "end", "start", "end"]


def test_observers_are_told_of_each_end_in_order_and_outside_the_io_thread():
    told = []
    names = []

    def observe(process):
        told.append(process)
        names.append(threading.current_thread().name)

    add_process_observer(observe)
    add_process_observer(observe)       # known: told once
    try:
        processes = [Process("true").run(20) for _ in range(10)]
        failed = Process("/no/such/program", nolog_error=True, nolog_exit_code=True).run(20)
        assert flush_process_observers()
    finally:
        remove_process_observer(observe)
    Process("true").run(20)
    assert flush_process_observers()
    assert told == [*processes, failed]
    assert "execo-io" not in names
    remove_process_observer(observe)


def test_a_slow_observer_delays_no_process_and_one_that_raises_no_other(capsys):
    told = []
    go = threading.Event()

    def slow(process):
        assert go.wait(20)

    def wrong(process):
        sys.exit("wrong")

    observers = [slow, wrong, told.append]
    for observer in observers:
        add_process_observer(observer)
    try:
        processes = [Process("true").run(20) for _ in range(5)]
        assert told == []
        assert not flush_process_observers(0.05)
        go.set()
        assert flush_process_observers(20)
        assert told == processes
    finally:
        for observer in observers:
            remove_process_observer(observer)


def test_observers_see_the_facts_of_a_process_that_is_reset_at_once_and_may_reset_it_themselves():
    seen = []

    def observe(process):
        seen.append((process.exit_code, process.stdout))

    def observe_and_reset(process):
        process.reset()

    process = Process("echo out; exit 3", shell=True, nolog_exit_code=True)
    add_process_observer(observe)
    try:
        for _ in range(30):
            process.run(20)
            process.reset()
        add_process_observer(observe_and_reset)
        process.run(20)
        assert flush_process_observers()
    finally:
        remove_process_observer(observe)
        remove_process_observer(observe_and_reset)
    assert seen == [(3, "out\n")] * 31
    assert not process.started
