"""No child outlives Python, in whatever way Python ends, unless that is wanted."""

from __future__ import annotations

import os
import signal

import pytest
from facts import alive, all_gone, state_of, wait_for
from interpreter import popen
from own_conductor import own_conductor

from execo.conductor import the_conductor
from execo.config import configuration
from execo.process import Process

CHILDREN = """
    import os, signal, sys, threading
    from execo import Process, configuration, logger
    logger.setLevel("CRITICAL")
    number, end = int(sys.argv[1]), sys.argv[2]
    stubborn = Process("trap '' TERM; echo ready; while :; do sleep 1; done", shell=True)
    processes = [Process("sleep 300") for _ in range(number)] + [stubborn]
    for process in processes:
        process.start()
    for process in processes:
        process.started_event.wait()
    stubborn.expect("ready")
    print(*[process.pid for process in processes], flush=True)
    input()
    if end == "kill -9":
        os.kill(os.getpid(), signal.SIGKILL)
    elif end == "os._exit":
        os._exit(3)
    elif end == "exception":
        raise ZeroDivisionError
    elif end == "kept":
        configuration["kill_childs_at_end"] = False
"""


def end_python(number: int, end: str) -> list[int]:
    """The pids of the children of a Python that has ended."""
    import subprocess

    python = popen(CHILDREN, number, end, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with python:
        assert python.stdout
        assert python.stdin
        pids = [int(word) for word in python.stdout.readline().split()]
        assert len(pids) == number + 1
        assert all(alive(pid) for pid in pids)
        python.stdin.write("\n")
    return pids


@pytest.mark.parametrize("end", ["return", "exception", "os._exit", "kill -9"])
def test_no_child_is_left_however_python_ends(end):
    number = 200 if end == "kill -9" else 5
    pids = end_python(number, end)
    assert all_gone(pids, 30)           # 2.2 s on an idle machine


def test_children_are_kept_if_that_is_wanted_at_the_end():
    pids = end_python(2, "kept")
    try:
        assert not wait_for(lambda: not all(alive(pid) for pid in pids), 0.5)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    assert all_gone(pids)


def test_a_watchdog_that_was_killed_is_replaced_and_guards_the_old_children():
    with own_conductor():
        old_child = Process("sleep 60").start()
        assert old_child.started_event.wait(20)
        watchdog = the_conductor._loop._watchdog
        killed = watchdog.pid
        os.kill(killed, signal.SIGKILL)
        assert wait_for(lambda: watchdog.pid != killed and state_of(killed) == "X")
        assert alive(watchdog.pid)
        assert os.getpgid(watchdog.pid) == os.getpgid(old_child.pid)
        new_child = Process("sleep 60").start()
        assert new_child.started_event.wait(20)
        assert os.getpgid(new_child.pid) == os.getpgid(watchdog.pid)
        os.kill(watchdog.pid, 0)
        pids = [old_child.pid, new_child.pid]
        the_conductor._loop.stop()
        assert all_gone(pids, 30)           # 2.2 s on an idle machine
        for pid in pids:
            os.waitpid(pid, 0)


def test_spawns_go_on_while_the_watchdog_is_killed_again_and_again():
    with own_conductor():
        Process("true").run()
        watchdog = the_conductor._loop._watchdog
        for _ in range(3):
            if watchdog.pid:
                os.kill(watchdog.pid, signal.SIGKILL)
            assert Process("true").run(20).ok
        killed = watchdog.pid
        assert wait_for(lambda: alive(watchdog.pid) and the_conductor._loop._watched_pipe >= 0), killed


def test_a_child_does_not_get_the_interrupt_of_the_terminal():
    process = Process("sleep 60").start()
    process.started_event.wait(20)
    assert os.getpgid(process.pid) != os.getpgid(0)
    assert os.getsid(process.pid) == os.getsid(0)
    process.kill().wait(20)


def test_an_order_given_at_the_start_reaches_the_watchdog():
    configuration["kill_childs_at_end"] = False
    with own_conductor():
        process = Process("sleep 60").start()
        process.started_event.wait(20)
        watchdog = the_conductor._loop._watchdog.pid
        the_conductor._loop.stop()
        assert wait_for(lambda: state_of(watchdog) == "Z")
        assert alive(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)
