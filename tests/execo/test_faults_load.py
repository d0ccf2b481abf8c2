"""Much of everything: nobody starves, nothing grows, all stays linear."""

from __future__ import annotations

import os
import threading
import time

import pytest
from interpreter import run_script

from execo.process import Process, ProcessOutputHandler


class Counter(ProcessOutputHandler):
    def __init__(self):
        super().__init__()
        self.lines = 0
        self.length = 0

    def read_line(self, process, stream, string):
        self.lines += 1
        self.length += len(string)


@pytest.mark.parametrize("handlers", [[], [Counter()]], ids=["discarded", "lines"])
def test_a_child_that_prints_for_ever_starves_nobody(handlers):
    yes = Process("yes 0123456789012345678901234567890123456789", default_stdout_handler=False, stdout_handlers=handlers).start()
    yes.started_event.wait(20)
    begin = time.monotonic()
    for _ in range(5):
        assert Process("true").run(20).ended
    assert time.monotonic() - begin < 10
    yes.kill().wait(20)
    assert yes.stdout == ""


def test_timeouts_come_in_time_beside_a_child_that_prints_for_ever():
    yes = Process("yes", default_stdout_handler=False).start()
    process = Process("sleep 60", timeout=0.1, nolog_timeout=True).run(20)
    assert process.timeouted
    assert process.end_date - process.start_date < 10
    yes.kill().wait(20)


@pytest.mark.serial
def test_a_line_of_a_hundred_megabytes():
    counter = Counter()
    size = 100_000_000
    process = Process(f"head -c {size} /dev/zero", stdout_handlers=[counter]).run(60)
    assert process.ok
    assert len(process.stdout) == size
    assert (counter.lines, counter.length) == (1, size)


@pytest.mark.serial
def test_polling_output_while_it_grows_is_linear():
    def seconds(megabytes):
        begin = time.monotonic()
        process = Process(f"head -c {megabytes}000000 /dev/zero").start()
        polls = 0
        while not process.ended:
            polls += len(process.stdout) >= 0
        assert len(process.stdout) == megabytes * 1_000_000
        return time.monotonic() - begin

    seconds(5)
    small = min(seconds(20) for _ in range(3))
    large = min(seconds(80) for _ in range(3))
    assert large < 4 * 3 * small + 0.5          # quadratic: 16 times


@pytest.mark.serial
@pytest.mark.timeout(600)
def test_a_hundred_thousand_short_processes_leave_nothing_behind():
    # A hundred thousand where nobody waits for it; a fifth of them tells a leak too.
    number = 100_000 if os.environ.get("CI") else 20_000
    assert run_script("""
        import gc, os, threading, time
        from execo import Process
        def held():
            gc.collect()
            rss = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
            children = open("/proc/self/task/%d/children" % os.getpid()).read().split()
            return rss, len(os.listdir("/proc/self/fd")), threading.active_count(), len(children)
        def run(number):
            for _ in range(number):
                if Process("true", timeout=3600).run(30).exit_code != 0:
                    raise SystemExit("failed")
        run(1000)
        before = held()
        run(NUMBER)
        after = held()
        grown = after[0] - before[0]
        print("grown" if grown > 1000 else "same", before[1:] == after[1:])
    """.replace("NUMBER", str(number)), timeout=500) == "same True"


def test_three_hundred_end_handlers_need_few_threads():
    from execo.process import ProcessLifecycleHandler

    class Counts(ProcessLifecycleHandler):
        def end(self, process):
            ended.append(process)

    ended: list[Process] = []
    processes = [Process("true", lifecycle_handlers=[Counts()]).start() for _ in range(300)]
    for process in processes:
        process.wait(60)
    deadline = time.monotonic() + 20
    while len(ended) < 300 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(ended) == 300
    assert sum(thread.name.startswith("execo-handler") for thread in threading.enumerate()) < 60


def test_the_output_of_a_process_goes_with_it_and_not_with_a_later_garbage_collection():
    assert run_script("""
        import gc, weakref
        from execo import Process
        gc.disable()
        def ended():
            process = Process("echo out", timeout=3600).run(30)
            assert process.stdout == "out\\n"
            return weakref.ref(process)
        gone = [ended() for _ in range(20)]
        Process("true").run(30)         # the I/O thread has turned to something else
        print(sum(process() is None for process in gone))
    """) == "20"
