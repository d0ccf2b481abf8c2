"""Exit statuses, also where somebody else takes them."""

from __future__ import annotations

import os

import pytest
from interpreter import run_script
from own_conductor import own_conductor

from execo._conductor.reap import exit_status, have_pidfd
from execo.conductor import the_conductor
from execo.process import Process

KERNEL_KEEPS_STATUS = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15)
PRINT = "print(process.ended, process.exit_code, type(process.error_reason).__name__)"
KNOWN, LOST = "True 3 NoneType", "True None ChildProcessError"


def test_a_status_that_nobody_has_is_said_to_be_lost():
    with pytest.raises(ChildProcessError, match="another part"):
        exit_status(os.getpid(), None)


def test_the_pidfds_of_this_machine_are_used():
    assert have_pidfd() == hasattr(os, "pidfd_open")


@pytest.mark.parametrize("use_pidfd", [True, False])
def test_an_ignored_sigchld_is_survived(use_pidfd):
    assert run_script(f"""
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        import execo
        execo.conductor.the_conductor.use_pidfd = {use_pidfd}
        execo.logger.setLevel("CRITICAL")
        process = execo.Process("sh -c 'read x; exit 3'").start()
        process.started_event.wait()        # a child that ends before its pidfd is opened is lost
        process.close_stdin().wait(20)
        {PRINT}
        print(execo.Process("sh -c 'true; sh -c true; echo $?'").run(20).stdout)
    """).splitlines() == [KNOWN if use_pidfd and KERNEL_KEEPS_STATUS else LOST, "0"]


@pytest.mark.parametrize("use_pidfd", [True, False])
def test_a_program_that_reaps_all_children_is_survived(use_pidfd):
    lines = run_script(f"""
        import os, threading
        import execo
        execo.conductor.the_conductor.use_pidfd = {use_pidfd}
        execo.logger.setLevel("CRITICAL")
        process = execo.Process("sh -c 'read x; exit 3'").start()
        process.started_event.wait()
        reaped = []
        def reap():
            while process.pid not in reaped:
                reaped.append(os.wait()[0])
        thread = threading.Thread(target=reap, daemon=True)
        thread.start()
        process.close_stdin().wait(20)
        {PRINT}
        print(execo.Process("true").start().wait(20).ended)
    """).splitlines()
    assert lines[0] in (KNOWN, LOST)            # who comes first is not ours to say
    assert lines[0] == KNOWN or not (use_pidfd and KERNEL_KEEPS_STATUS)
    assert lines[1] == "True"


def test_without_pidfds_a_hundred_ends_are_seen_in_any_order():
    with own_conductor(use_pidfd=False):
        processes = [Process(["sh", "-c", f"sleep 0.0{n % 7}; exit {n}"], nolog_exit_code=True).start() for n in range(100)]
        assert [process.wait(30).exit_code for process in processes] == list(range(100))
        assert not the_conductor._loop._asked
