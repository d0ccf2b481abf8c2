"""The I/O thread: nothing before it is needed, nobody hangs when it fails, and it leaves the program's own things alone."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from facts import all_gone, state_of
from interpreter import run_script
from own_conductor import own_conductor

from execo._conductor.run import Run
from execo.conductor import debug_dump_processes, debug_dump_threads, remove_from_heapq, the_conductor
from execo.process import Process, ProcessLifecycleHandler, ProcessOutputHandler


def test_import_starts_no_thread_no_child_and_opens_nothing():
    assert run_script("""
        import os, signal, threading
        def facts():
            children = open("/proc/self/task/%d/children" % os.getpid()).read()
            wakeup = signal.set_wakeup_fd(-1)
            handlers = [signal.getsignal(number) for number in signal.valid_signals()]
            return sorted(os.listdir("/proc/self/fd")), threading.active_count(), children, wakeup, list(map(str, handlers))
        before = facts()
        import execo
        print(facts() == before, before[1:3])
    """) == "True (1, '')"


def test_import_in_a_thread():
    assert run_script("""
        import threading
        codes = []
        def work():
            import execo
            codes.append(execo.Process("true").run(20).exit_code)
        thread = threading.Thread(target=work)
        thread.start(); thread.join()
        print(codes)
    """) == "[0]"


def test_the_wakeup_descriptor_of_the_program_stays_its_own():
    assert run_script("""
        import os, signal
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end)
        from execo import Process
        assert Process("true").run(20).ok
        print(signal.set_wakeup_fd(-1) == write_end)
    """) == "True"


def test_it_works_beside_asyncio():
    assert run_script("""
        import asyncio, os, signal
        from execo import Process
        async def main():
            came = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, came.set)
            process = Process("sleep 0.05").start()
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.wait_for(came.wait(), 20)
            other = await asyncio.create_subprocess_exec("sh", "-c", "exit 4")
            code = await asyncio.wait_for(other.wait(), 20)
            await asyncio.get_running_loop().run_in_executor(None, process.wait)
            print(process.exit_code, code)
        asyncio.run(main())
    """) == "0 4"


def test_an_interrupt_ends_a_wait_at_once_and_leaves_the_child_alone():
    assert run_script("""
        import os, signal, threading, time
        from execo import Process
        process = Process("cat").start()
        process.started_event.wait()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        begin = time.monotonic()
        try:
            process.wait()
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - begin < 5, process.running)
        print(process.close_stdin().wait(20).exit_code)
    """).splitlines() == ["interrupted True True", "0"]


def test_two_interpreters_side_by_side():
    script = "from execo import Process\nprint(all(Process('true').start().wait(20).ok for _ in range(50)))"
    from interpreter import popen

    both = [popen(script), popen(script)]
    assert [python.communicate(timeout=60)[0] for python in both] == ["True\n", "True\n"]


def test_a_function_at_exit_may_still_run_a_process_if_python_lets_it():
    # 3.12 refuses new threads at that time, and 3.13 allows them again: then start() says so at once, and nothing hangs.
    assert run_script("""
        import atexit, sys
        def late():
            try:
                print(Process("echo late").run(20).stdout, end="")
            except RuntimeError as error:
                print("late" if sys.version_info[:2] == (3, 12) and "shutdown" in str(error) else error)
        atexit.register(late)
        from execo import Process
        Process("true").run()
    """) == "late"


def test_waiting_at_exit_for_a_process_that_nobody_follows_is_an_error_not_a_hang():
    assert run_script("""
        import atexit
        def late():
            try:
                process.wait(20)
            except RuntimeError as error:
                print("exit" in str(error))
        atexit.register(late)
        from execo import Process
        process = Process("sleep 60").start()
        process.started_event.wait()
    """) == "True"


class Boom(Exception):
    pass


def fail() -> None:
    raise Boom("a bug of ours")


def crash() -> None:
    the_conductor._loop.post(fail)


def test_a_failure_of_the_thread_wakes_all_who_wait_and_the_next_start_works(capsys):
    with own_conductor():
        processes = [Process("sleep 60").start() for _ in range(5)]
        for process in processes:
            process.started_event.wait(20)
        pids = [process.pid for process in processes]
        broken = the_conductor._loop
        crash()
        for process in processes:
            process.wait(20)
            assert (process.ended, process.error, process.ok) == (True, True, False)
            assert "a bug of ours" in str(process.error_reason)
        assert all_gone(pids)
        assert Process("true").run(20).ok
        broken.thread.join(20)
        assert [state_of(pid) for pid in pids] == ["X"] * 5
        broken.mailbox.close()
    assert "CRITICAL" in capsys.readouterr().out


def test_a_failure_of_the_thread_wakes_writers_and_expecters(capsys):
    with own_conductor():
        process = Process("sleep 60", nolog_write_error=True, nolog_expect_fail=True).start()
        process.started_event.wait(20)
        told = []
        writer = threading.Thread(target=lambda: told.append(process.write("x" * 10_000_000)))
        expecter = threading.Thread(target=lambda: told.append(process.expect("never")))
        writer.start()
        expecter.start()
        assert process.stdout == ""
        while not process._expecters or process._run._writer is None or not process._run._writer.watched:
            assert writer.is_alive()
        broken = the_conductor._loop
        crash()
        writer.join(20)
        expecter.join(20)
        assert len(told) == 2
        assert process.write_error
        broken.thread.join(20)
        late = Process("true", nolog_error=True, nolog_exit_code=True)
        late._state_requested()
        late._run = run = Run(broken, late, None)
        broken.submit(run)
        assert (late.wait(20).error, late.ended) == (True, True)
        the_conductor._loop = None
        broken.mailbox.close()


def test_a_failure_while_telling_an_end_leaves_nobody_waiting(monkeypatch, capsys):
    with own_conductor():
        process = Process("cat").start()
        monkeypatch.setattr(process, "_on_exit", lambda status: fail())
        process.close_stdin()
        assert process.wait(20).error
        broken = the_conductor._loop
        broken.thread.join(20)
        the_conductor._loop = None
        broken.mailbox.close()


@pytest.mark.parametrize("wait", ["wait", "run", "expect"])
def test_an_output_handler_that_waits_gets_an_error(wait):
    errors = []

    class Waits(ProcessOutputHandler):
        def read_line(self, process, stream, string):
            other = Process("true")
            try:
                if wait == "run":
                    other.run()
                elif wait == "wait":
                    process.wait()
                else:
                    process.expect("x", timeout=5)
            except RuntimeError as error:
                errors.append(str(error))

    Process("echo x", stdout_handlers=[Waits()]).run(20)
    assert len(errors) == 1
    assert "must not wait" in errors[0]


def test_a_life_cycle_handler_leaves_its_children_the_signal_mask_of_the_program():
    masks = []

    class Looks(ProcessLifecycleHandler):
        def end(self, process):
            import subprocess

            masks.append(subprocess.run(["grep", "SigBlk", "/proc/self/status"], stdout=subprocess.PIPE, text=True).stdout.split()[1])
            done.set()

    done = threading.Event()
    Process("true", lifecycle_handlers=[Looks()]).run(20)
    assert done.wait(20)
    with open("/proc/self/status") as status:
        assert masks == [line.split()[1] for line in status if line.startswith("SigBlk")]


def test_dumps_for_debugging(capsys):
    process = Process("cat").start()
    process.started_event.wait(20)
    debug_dump_processes()
    debug_dump_threads()
    printed = capsys.readouterr().err
    assert f"pid={process.pid}" in printed
    assert "execo-io" in printed
    process.close_stdin().wait(20)


def test_remove_from_heapq():
    heap = [1, 2, 3, 4]
    assert remove_from_heapq(heap, lambda item: item % 2 == 0) == [2, 4]
    assert heap == [1, 3]


def test_the_thread_blocks_the_signal_of_broken_pipes_and_no_other():
    Process("true").run()
    thread = next(thread for thread in threading.enumerate() if thread.name == "execo-io")
    with open(f"/proc/self/task/{thread.native_id}/status") as status:
        blocked = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk"))
    assert blocked == 1 << (signal.SIGPIPE - 1)
    assert os.getpid() != thread.native_id
