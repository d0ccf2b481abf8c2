"""A command that cannot be run fails alone, and says why."""

from __future__ import annotations

import os

import pytest

from execo.process import Process, ProcessLifecycleHandler, ProcessOutputHandler

BAD = [
    ("/no/such/program", FileNotFoundError, "No such file"),
    ("no-such-program-anywhere -x", FileNotFoundError, "No such file"),
    ("/etc/passwd", PermissionError, "denied"),
    ("/", PermissionError, "denied"),
    ("", ValueError, "empty"),
    ([], ValueError, "empty"),
    ("echo 'unbalanced", ValueError, "quotation"),
    (["echo", "a\0b"], ValueError, "null"),
    (["sleep", 0], TypeError, "0 in"),
    (["echo", "y" * 200_000], OSError, "too long"),
]


@pytest.mark.parametrize("cmd, error, says", BAD, ids=[repr(cmd)[:25] for cmd, _, _ in BAD])
def test_it_gets_error_and_reason_and_nothing_else_notices(cmd, error, says, capsys):
    neighbour = Process("cat").start()
    process = Process(cmd).run(20)
    assert (process.error, process.started, process.ended, process.pid, process.exit_code) == (True, True, True, None, None)
    assert isinstance(process.error_reason, error)
    assert says in str(process.error_reason)
    assert not process.ok
    assert neighbour.running
    assert neighbour.close_stdin().wait(20).ok
    assert Process("true").run(20).ok


def test_a_missing_program_is_a_warning_that_names_it(capsys):
    Process("/no/such/program").run(20)
    logged = capsys.readouterr().out
    assert "WARNING" in logged
    assert "/no/such/program" in logged
    assert "No such file" in logged


def test_a_missing_program_needs_two_flags_to_be_ok_and_silent(capsys):
    process = Process("/no/such/program", ignore_error=True, nolog_error=True)
    assert not process.run(20).ok
    quiet = {"ignore_error": True, "ignore_exit_code": True, "nolog_error": True, "nolog_exit_code": True}
    capsys.readouterr()
    assert Process("/no/such/program", **quiet).run(20).ok
    assert "WARNING" not in capsys.readouterr().out


def test_a_failure_to_start_is_told_to_all_handlers_in_order():
    told = []

    class Life(ProcessLifecycleHandler):
        def start(self, process):
            told.append(("start", process.error))

        def end(self, process):
            told.append(("end", process.error))
            ended.set()

    class Output(ProcessOutputHandler):
        def read(self, process, stream, string, eof, error):
            told.append((stream, string, eof))

    import threading

    ended = threading.Event()
    output = Output()
    process = Process("/no/such/program", nolog_error=True, nolog_exit_code=True, lifecycle_handlers=[Life()],
                      stdout_handlers=[output], stderr_handlers=[output]).start()
    assert ended.wait(20)
    assert process.started_event.is_set()
    assert told == [(1, "", True), (2, "", True), ("start", True), ("end", True)]


@pytest.mark.parametrize("name", ["stdout_handlers", "stderr_handlers", "lifecycle_handlers"])
def test_handlers_that_are_no_list_are_refused_at_the_start(name):
    process = Process("true")
    setattr(process, name, None)
    with pytest.raises(TypeError, match=name):
        process.start()


def test_an_unknown_option_is_refused_and_named():
    with pytest.raises(TypeError, match="timout"):
        Process("true", timout=3)


def test_a_program_is_found_by_the_path_of_now(tmp_path, monkeypatch):
    program = tmp_path / "my-program"
    program.write_text("#!/bin/sh\necho $SPECIAL")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SPECIAL", "caf\udce9")
    process = Process("my-program").run(20)
    assert process.stdout_bytes == b"caf\xe9\n"
