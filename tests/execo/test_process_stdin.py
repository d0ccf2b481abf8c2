"""Writing to a process."""

from __future__ import annotations

import os
import threading

import pytest
from facts import wait_for
from reaping import reaping  # noqa: F401

from execo.process import Process, ProcessOutputHandler

pytestmark = pytest.mark.usefixtures("reaping")


def test_text_bytes_and_print_arrive_in_order():
    process = Process("cat").start()
    assert process.write("caf\u00e9 ") is None
    process.write(b"\xff\n")
    process.write(bytearray(b"x\n"))
    print("printed", 7, file=process, flush=True)
    process.close_stdin().wait(20)
    assert process.stdout_bytes == "caf\u00e9 ".encode() + b"\xff\nx\nprinted 7\n"
    assert (process.ok, process.write_error) == (True, False)


def test_three_megabytes_go_through_the_pipe():
    process = Process("wc -c").start()
    process.write("x" * 3_000_000)
    assert process.close_stdin().wait(20).stdout.strip() == "3000000"


def test_what_is_written_before_the_child_exists_is_kept_for_it():
    process = Process("cat").start()
    process.write("early")              # start() does not wait for the child
    assert process.close_stdin().wait(20).stdout == "early"


def test_a_full_pipe_blocks_only_its_caller_and_its_end_frees_him(capsys):
    process = Process("sleep 60").start()
    process.started_event.wait(20)
    writer = threading.Thread(target=process.write, args=("x" * 1_000_000,))
    writer.start()
    assert wait_for(lambda: process._run._writer is not None and process._run._writer.watched)
    assert Process("true").run(20).ok
    assert writer.is_alive()
    process.kill().wait(20)
    writer.join(20)
    assert not writer.is_alive()
    assert (process.write_error, process.ok) == (True, False)


def test_a_child_that_does_not_read_and_has_ended_sets_write_error(capsys):
    process = Process("exec <&-; echo closed; sleep 60", shell=True).start()
    process.expect("closed", timeout=20)
    process.write("x")
    assert process.write_error
    assert not process.ok
    assert "standard input" in capsys.readouterr().out
    process.kill().wait(20)


def test_flags_of_write_errors(capsys):
    process = Process("true", ignore_write_error=True, nolog_write_error=True).run(20)
    process.write("too late")
    assert (process.write_error, process.ok) == (True, True)
    assert capsys.readouterr().out == ""
    assert process.stats()["num_write_error"] == 1


def test_a_write_after_the_end_touches_no_file_that_has_the_old_number(tmp_path):
    process = Process("cat", nolog_write_error=True).start()
    process.started_event.wait(20)
    number = process.stdin_fd
    process.close_stdin().wait(20)
    reused = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    taken = [reused]
    while taken[-1] < number:
        taken.append(os.dup(reused))
    assert taken[-1] == number
    process.write("lost")
    assert (tmp_path / "file").read_bytes() == b""
    assert process.write_error
    for fd in taken:
        os.close(fd)


@pytest.mark.parametrize("act", [lambda process: process.write("x"), lambda process: process.close_stdin()])
def test_before_the_start_there_is_nothing_to_write_to(act):
    with pytest.raises(ValueError, match="not started"):
        act(Process("cat"))


@pytest.mark.parametrize("wrong", [5, None, ["a"], 1.5])
def test_what_is_neither_text_nor_bytes_is_refused_at_once(wrong):
    process = Process("cat").start()
    with pytest.raises(TypeError):
        process.write(wrong)
    assert process.close_stdin().wait(20).stdout == ""


def test_close_stdin_twice_and_after_the_end_does_nothing_and_a_write_after_it_fails():
    process = Process("cat > /dev/null; read x; sleep 60", shell=True, nolog_write_error=True).start()
    assert process.started_event.wait(20)       # what is written before is kept, and fails later
    process.close_stdin().close_stdin()
    process.write("x")
    assert process.write_error
    process.kill().wait(20)
    assert process.close_stdin() is process


def test_an_output_handler_may_write():
    class Answers(ProcessOutputHandler):
        def read_line(self, process, stream, string):
            if string == "question":
                process.write("answer\n")

    process = Process("echo question; read line; echo got $line", shell=True, stdout_handlers=[Answers()]).run(20)
    assert process.stdout == "question\ngot answer\n"


def test_lines_of_many_threads_stay_whole():
    process = Process("cat").start()
    writers = [threading.Thread(target=lambda n=n: [process.write(f"{n}" * 2000 + "\n") for _ in range(50)]) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    lines = process.close_stdin().wait(20).stdout.splitlines()
    assert sorted(lines) == sorted(f"{n}" * 2000 for n in range(4) for _ in range(50))
