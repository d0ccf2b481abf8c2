"""What a child gets: descriptors, signals, limits; and what happens when these run out."""

from __future__ import annotations

import os

import pytest
from interpreter import environment, run_script

from execo.process import Process


@pytest.mark.parametrize("pty", [False, True])
def test_a_child_has_three_descriptors(pty):
    held = os.open("/dev/null", os.O_RDONLY)
    process = Process("ls /proc/self/fd", pty=pty).run(20)
    os.close(held)
    assert process.stdout.split() == ["0", "1", "2", "3"]      # 3: the folder itself


def test_a_child_ignores_and_blocks_no_signal_that_python_ignores():
    process = Process("grep -E 'SigIgn|SigBlk' /proc/self/status").run(20)
    found = {line.split()[0]: int(line.split()[1], 16) for line in process.stdout.splitlines()}
    assert found["SigBlk:"] == 0
    for number in (13, 17, 25):             # PIPE, CHLD, XFSZ
        assert not found["SigIgn:"] >> (number - 1) & 1


@pytest.mark.parametrize("pty", [False, True])
@pytest.mark.parametrize("closed", [(0,), (1, 2), (0, 1, 2)])
def test_it_works_where_standard_descriptors_are_closed(tmp_path, closed, pty):
    run_script(f"""
        import os, sys
        for fd in {closed}:
            os.close(fd)
        from execo import Process
        process = Process("read line; echo out $line; echo err >&2", shell=True, pty={pty}).start()
        process.write("in\\n")
        process.wait(20)
        with open({str(tmp_path / "result")!r}, "w") as file:
            file.write(repr((process.stdout[-8:].strip(), process.stderr, process.ok)))
        os._exit(0)
    """)
    assert (tmp_path / "result").read_text() == "('out in', 'err\\n', True)"


def test_a_program_that_dies_of_sigpipe_is_not_killed_by_our_writes():
    assert run_script("""
        import signal
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        from execo import Process
        process = Process("exec <&-; echo closed; sleep 60", shell=True, nolog_write_error=True).start()
        process.expect("closed", timeout=20)
        process.write("x")
        print(process.write_error)
        process.kill().wait(20)
    """) == "True"


@pytest.mark.serial
def test_five_hundred_processes_with_two_hundred_and_fifty_six_descriptors():
    lines = run_script("""
        import os, resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        from execo import Process
        processes = [Process("sleep 0.2").start() for _ in range(500)]
        print(sum(process.wait(60).ok for process in processes), {process.error_reason for process in processes})
        print(Process("true").run(20).ok, len(os.listdir("/proc/self/fd")) < 20)
    """).splitlines()
    assert [line for line in lines if "INFO" not in line] == ["500 {None}", "True True"]
    assert len([line for line in lines if "out of file descriptors" in line]) <= 1


def test_the_soft_limit_of_open_files_is_raised_when_needed_and_not_for_children():
    assert run_script("""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
        from execo import Process
        processes = [Process("cat").start() for _ in range(40)]
        for process in processes:
            assert process.started_event.wait(20)
        print(resource.getrlimit(resource.RLIMIT_NOFILE))
        late = Process("read line; ulimit -Sn; ulimit -Hn", shell=True).start()
        late.started_event.wait()
        late.write("\\n")
        print(late.wait(20).stdout.split())
        for process in processes:
            process.close_stdin()
        print(all(process.wait(20).ok for process in processes))
    """).splitlines() == ["(4096, 4096)", "['64', '4096']", "True"]


@pytest.mark.requires("root")
def test_a_limit_of_processes_makes_the_others_wait():
    uid = 1_000_000 + os.getpid()
    lines = run_script(f"""
        import os, resource
        import execo
        from execo import Process
        import execo.process, random, shlex
        os.setgroups([]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})
        resource.setrlimit(resource.RLIMIT_NPROC, (12, 12))
        processes = [Process("sleep 0.1").start() for _ in range(40)]
        print(sum(process.wait(50).ok for process in processes), set(process.error_reason for process in processes))
    """, cwd="/", env={**environment(), "HOME": "/"}).splitlines()
    assert [line for line in lines if "INFO" not in line] == ["40 {None}"]
    assert any("out of processes" in line for line in lines)


def test_many_children_that_do_not_end_may_be_killed_while_others_wait_for_descriptors():
    assert run_script("""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        from execo import Process, logger
        logger.setLevel("ERROR")
        processes = [Process("sleep 60").start() for _ in range(60)]
        processes[0].started_event.wait()
        for process in processes:
            process.kill()
        for process in processes:
            process.wait(20)
        print(all(process.ended and process.killed for process in processes), all(process.ok for process in processes))
    """) == "True True"


