"""Processes with a terminal."""

from __future__ import annotations

import pytest
from reaping import reaping  # noqa: F401

from execo.process import Process, ProcessOutputHandler

pytestmark = pytest.mark.usefixtures("reaping")


def test_standard_input_and_output_are_a_terminal_and_lines_end_in_cr_lf():
    process = Process("tty <&0 > /dev/null && tty; test -t 2 || echo no terminal >&2", shell=True, pty=True).run(20)
    assert process.stdout.startswith("/dev/")
    assert process.stdout.endswith("\r\n")
    assert process.stderr == "no terminal\n"
    assert not process.stdout_ioerror


def test_input_is_echoed_and_lines_come_without_empty_ones():
    lines = []

    class Lines(ProcessOutputHandler):
        def read_line(self, process, stream, string):
            lines.append(string)

    process = Process("cat", pty=True, stdout_handlers=[Lines()]).start()
    process.write("one\ntwo\n")
    for _ in range(2):
        assert process.expect("two\r\n", timeout=20)[0] == 0
    assert process.close_stdin().wait(20).exit_code == 0
    assert sorted(lines) == ["one", "one", "two", "two"]


def test_close_stdin_is_the_end_of_input():
    process = Process("wc -l", pty=True).start()
    process.write("a\nb\n")
    assert process.close_stdin().wait(20).stdout.split()[-1] == "2"


def test_the_output_is_complete_at_the_end():
    process = Process(["sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"], pty=True).run(20)
    assert process.stdout == "".join(f"line {number}\r\n" for number in range(3000))


def test_more_input_than_a_terminal_holds_arrives():
    process = Process("stty raw -echo; echo ready; head -c 100000 | wc -c", shell=True, pty=True).start()
    process.expect("ready", timeout=20)
    process.write("x" * 100_000)
    assert process.wait(20).stdout.split()[-1] == "100000"


def test_a_child_that_keeps_the_terminal_does_not_delay_the_end():
    process = Process("trap '' HUP; echo early; sleep 60 & echo $!", shell=True, pty=True).run(20)
    assert process.ended
    import os
    import signal

    os.kill(int(process.stdout.split()[1]), signal.SIGKILL)


def test_kill():
    process = Process("cat", pty=True).start()
    process.started_event.wait(20)
    assert process.kill().wait(20).exit_code == -15
