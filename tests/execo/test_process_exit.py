"""How the end of a process is seen and judged, with and without pidfds."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import pytest
from facts import alive, state_of
from reaping import reaping  # noqa: F401

from execo.config import configuration
from execo.process import Process

pytestmark = pytest.mark.usefixtures("reaping")


@pytest.mark.parametrize("cmd, code, raw", [
    ("true", 0, 0),
    ("sh -c 'exit 3'", 3, 768),
    ("sh -c 'exit 255'", 255, 255 << 8),
    ("sh -c 'kill -9 $$'", -9, 9),
    ("sh -c 'kill -TERM $$'", -15, 15),
])
def test_exit_code_is_that_of_subprocess(cmd, code, raw):
    process = Process(cmd, nolog_exit_code=True).run()
    assert (process.exit_code, process.killed, process.ok) == (code, False, code == 0)
    assert (process.started, process.ended, process.running, process.error) == (True, True, False, False)
    configuration["raw_exit_code"] = True
    assert Process(cmd, nolog_exit_code=True).run().exit_code == raw


def test_pid_and_dates_are_those_of_the_child():
    before = time.time()
    process = Process("sh -c 'echo $$'").run()
    assert process.stdout == f"{process.pid}\n"
    assert before - 0.1 <= process.start_date <= process.end_date <= time.time()


def test_nothing_of_an_ended_child_remains():
    process = Process("true").run()
    assert state_of(process.pid) == "X"
    assert (process.stdin_fd, process.stdout_fd, process.stderr_fd) == (None, None, None)


def test_before_the_start_there_is_nothing_to_wait_for():
    process = Process("true")
    assert (process.started, process.ended, process.running, process.pid, process.ok) == (False, False, False, None, True)
    with pytest.raises(ValueError, match="not started"):
        process.wait()
    assert process.kill() is process
    assert not process.killed


def test_start_again_does_nothing():
    process = Process("sh -c 'echo once'")
    assert process.start() is process.start()
    process.wait()
    process.start().wait()
    assert process.stdout == "once\n"


def test_wait_with_a_timeout_returns_and_does_not_kill():
    process = Process("cat").start()
    begin = time.monotonic()
    assert process.wait(0.05) is process
    assert time.monotonic() - begin < 10
    assert not process.ended
    process.close_stdin()
    assert process.wait("0:0:20").exit_code == 0


def test_many_threads_may_wait_for_one_process():
    process = Process("cat").start()
    ended = []
    waiters = [threading.Thread(target=lambda: ended.append(process.wait(20).ended)) for _ in range(5)]
    for waiter in waiters:
        waiter.start()
    process.close_stdin()
    for waiter in waiters:
        waiter.join(20)
    assert ended == [True] * 5


def test_events_and_conditions_tell_start_and_end():
    process = Process("cat")
    assert not process.started_event.is_set()
    condition = process.ended_condition
    started = process.started_condition
    with started:
        process.start()
        assert started.wait_for(lambda: process.started, 20)
    assert process.started_event.wait(20)
    assert not process.ended_event.is_set()
    with condition:
        process.close_stdin()
        assert condition.wait_for(lambda: process.ended, 20)
    assert process.ended_event.wait(20)


def test_a_daemon_that_keeps_the_pipe_does_not_delay_the_end():
    process = Process("echo early; exec sleep 60 & echo $!", shell=True).run(20)
    assert process.ended
    early, pid = process.stdout.split()
    assert early == "early"
    assert alive(int(pid))
    os.kill(int(pid), signal.SIGKILL)


def test_the_output_of_a_child_is_complete_when_wait_returns():
    for size in (0, 1, 65536, 65537, 300_000):
        assert len(Process(f"head -c {size} /dev/zero").run().stdout) == size


def test_a_child_that_closes_its_streams_has_not_ended():
    process = Process("exec >&- 2>&-; read line; exit 5", shell=True, nolog_exit_code=True).start()
    process.started_event.wait(20)
    assert process.wait(0.05).running
    process.write("go\n")
    assert process.wait(20).exit_code == 5


def test_processes_of_other_code_are_left_alone():
    ours = [Process("sleep 0.05").start() for _ in range(10)]
    others = [subprocess.Popen(["sh", "-c", f"exit {code}"]) for code in range(10)]
    assert [other.wait(20) for other in others] == list(range(10))
    assert all(process.wait(20).exit_code == 0 for process in ours)


def test_a_hundred_at_once():
    processes = [Process(f"sh -c 'echo $0; exit $0' {number}", nolog_exit_code=True).start() for number in range(100)]
    assert [(process.wait(30).exit_code, process.stdout) for process in processes] == [(n, f"{n}\n") for n in range(100)]
