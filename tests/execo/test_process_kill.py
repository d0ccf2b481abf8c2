"""Signals to processes, with and without pidfds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from facts import alive, all_gone, wait_for
from reaping import reaping  # noqa: F401

from execo._conductor.run import Window
from execo.config import configuration
from execo.process import Process, ProcessLifecycleHandler, ProcessOutputHandler

pytestmark = pytest.mark.usefixtures("reaping")
STUBBORN = "trap '' TERM INT; echo ready; while :; do sleep 0.02; done"


def test_kill_sends_term_and_counts_as_ok():
    process = Process("sleep 60").start()
    process.started_event.wait(20)
    assert process.kill() is process
    process.wait(20)
    assert (process.exit_code, process.killed, process.forced_kill, process.ok) == (-15, True, False, True)


def test_kill_right_after_start_is_not_lost():
    processes = [Process("sleep 60").start().kill() for _ in range(50)]
    for process in processes:
        process.wait(20)
        assert process.ended
        assert process.killed
        assert process.exit_code in (None, -15)         # cancelled, or signalled
    assert all_gone(process.pid for process in processes if process.pid)


def test_of_two_kills_the_earlier_deadline_counts():
    process = Process(STUBBORN, shell=True).start()
    process.expect("ready", timeout=20)
    process.kill(auto_force_kill_timeout=3600)
    process.kill(auto_force_kill_timeout=0.05)
    process.kill(auto_force_kill_timeout=3600)
    assert process.wait(20).forced_kill


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL, signal.SIGUSR1])
def test_any_signal_can_be_sent(sig):
    process = Process("sleep 60").start()
    process.started_event.wait(20)
    assert process.kill(sig).wait(20).exit_code == -sig


def test_a_signal_that_the_child_handles_does_not_end_it():
    process = Process("trap 'echo got' USR1; echo ready; while :; do read line; done", shell=True, kill_subprocesses=False).start()
    process.expect("ready", timeout=20)
    process.kill(signal.SIGUSR1)
    process.write("\n")
    assert process.expect("got", timeout=20)[0] == 0
    assert process.running
    process.kill(signal.SIGKILL).wait(20)


def test_kill_after_the_end_touches_no_process(monkeypatch):
    process = Process("sleep 0.1").start()
    run = process._run
    process.wait(20)
    sent = []
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *args: sent.append(args), raising=False)
    monkeypatch.setattr(os, "kill", lambda *args: sent.append(args))
    process.kill()
    process.kill(signal.SIGKILL)
    assert run.signal(signal.SIGKILL) is False
    assert sent == []
    assert (process.killed, process.exit_code) == (False, 0)


def test_what_ignores_term_is_killed_after_kill_timeout():
    configuration["kill_timeout"] = 0.1
    process = Process(STUBBORN, shell=True).start()
    process.expect("ready", timeout=20)
    begin = time.monotonic()
    process.kill().wait(20)
    assert (process.exit_code, process.killed, process.forced_kill, process.ok) == (-9, True, True, True)
    assert time.monotonic() - begin >= 0.1
    assert process.stats()["num_forced_kills"] == 1


def test_the_caller_may_give_the_time_until_sigkill():
    process = Process(STUBBORN, shell=True).start()
    process.expect("ready", timeout=20)
    assert process.kill(signal.SIGINT, auto_force_kill_timeout="0.05").wait(20).forced_kill


@pytest.mark.parametrize("never", [None, False])
def test_no_sigkill_follows_if_none_is_wanted(never):
    configuration["kill_timeout"] = 0.01
    process = Process(STUBBORN, shell=True).start()
    process.expect("ready", timeout=20)
    process.kill(auto_force_kill_timeout=never)
    assert process.wait(0.1).running
    assert not process.forced_kill
    process.kill(signal.SIGKILL).wait(20)
    assert not process.forced_kill


def test_a_bad_time_until_sigkill_is_refused_at_once():
    process = Process("sleep 60").start()
    with pytest.raises(ValueError):
        process.kill(auto_force_kill_timeout="soon")
    assert not process.killed
    process.kill().wait(20)


def test_a_shell_takes_its_descendants_along():
    process = Process("sleep 60 & sleep 60 & echo $! $$; wait", shell=True).start()
    process.expect(r"\d+ \d+", timeout=20)
    pids = wait_for(lambda: found if len(found := children(process.pid)) == 2 else None)
    assert pids
    process.kill().wait(20)
    assert all_gone(pids)


@pytest.mark.parametrize("shell, kill_subprocesses, spared", [(True, False, True), (False, True, False), (False, None, True)])
def test_kill_subprocesses_decides_for_descendants(shell, kill_subprocesses, spared):
    line = "sleep 60 & echo $!; wait"
    process = Process(line if shell else ["sh", "-c", line], shell=shell, kill_subprocesses=kill_subprocesses).start()
    process.expect(r"\d+\n", timeout=20)
    child = int(process.stdout)
    process.kill().wait(20)
    if spared:
        assert alive(child)
        os.kill(child, signal.SIGKILL)
    assert all_gone([child])


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], stdout=subprocess.PIPE, text=True).stdout
    return [int(word) for word in found.split()]


def test_one_that_waits_for_its_turn_is_cancelled_by_kill():
    window = Window(1)
    first, second, third = (Process("cat") for _ in range(3))
    for process in (first, second, third):
        process._window = window
        process.start()
    first.started_event.wait(20)
    second.kill().wait(20)
    assert (second.started, second.ended, second.killed, second.pid, second.exit_code) == (False, True, True, None, None)
    assert second.ok
    first.close_stdin().wait(20)
    assert third.started_event.wait(20)
    third.close_stdin()
    assert third.wait(20).exit_code == 0


def test_kill_in_an_output_handler():
    class Killer(ProcessOutputHandler):
        def read_line(self, process, stream, string):
            process.kill()

    process = Process("sh -c 'echo now; exec sleep 60'", stdout_handlers=[Killer()]).start().wait(20)
    assert (process.exit_code, process.ok) == (-15, True)


def test_kill_in_a_life_cycle_handler():
    class Killer(ProcessLifecycleHandler):
        def start(self, process):
            process.kill()

    assert Process("sleep 60", lifecycle_handlers=[Killer()]).run(20).exit_code == -15


def test_many_threads_may_kill_at_once():
    processes = [Process("sleep 60").start() for _ in range(20)]
    killers = [threading.Thread(target=lambda: [process.kill() for process in processes]) for _ in range(4)]
    for killer in killers:
        killer.start()
    for killer in killers:
        killer.join(20)
    assert all(process.wait(20).ended for process in processes)


def test_the_context_manager_kills_and_lets_exceptions_through():
    with pytest.raises(ZeroDivisionError):
        with Process("sleep 60").start() as process:
            assert process is not None
            raise ZeroDivisionError
    process.wait(20)
    assert process.killed
    with Process("true") as idle:
        assert not idle.started


def test_a_signal_reaches_only_the_child_that_it_is_meant_for():
    script = "import signal; signal.signal(signal.SIGUSR1, lambda *a: print('hit', flush=True)); print('ready', flush=True); input()"
    first, second = (Process([sys.executable, "-c", script]).start() for _ in range(2))
    for process in (first, second):
        assert process.expect(r"ready\n", timeout=20)[0] == 0
    first.kill(signal.SIGUSR1)
    assert first.expect("hit", timeout=20)[0] == 0
    for process in (first, second):
        process.write("\n")
        process.wait(20)
    assert (first.stdout, second.stdout) == ("ready\nhit\n", "ready\n")
