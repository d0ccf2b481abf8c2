"""Where output goes besides `stdout` and `stderr`: handlers, files, names, descriptors."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path

import pytest
from interpreter import environment, run_script

from execo._process.output import output_files
from execo.process import STDERR, STDOUT, Process, ProcessOutputHandler, handle_process_output

ALL_BYTES = bytes(range(256)) * 300
PRINT_ALL = [sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 300)"]


class Pieces(ProcessOutputHandler):
    def __init__(self):
        super().__init__()
        self.pieces = []

    def read(self, process, stream, string, eof, error):
        self.pieces.append((stream, string, eof, error))


def test_read_gets_all_pieces_and_then_the_end_once_for_each_stream():
    handler = Pieces()
    Process("echo out; echo err >&2", shell=True, stdout_handlers=[handler], stderr_handlers=[handler]).run(20)
    for stream, text in ((STDOUT, "out\n"), (STDERR, "err\n")):
        pieces = [piece[1:] for piece in handler.pieces if piece[0] == stream]
        assert "".join(piece[0] for piece in pieces) == text
        assert [piece for piece in pieces if piece[1]] == [("", True, False)]
        assert pieces[-1] == ("", True, False)


def test_output_that_is_not_kept_still_reaches_handlers():
    handler = Pieces()
    process = Process("echo x", default_stdout_handler=False, stdout_handlers=[handler]).run(20)
    assert process.stdout == ""
    assert handler.pieces[0][1] == "x\n"


def test_a_handler_that_raises_is_logged_once_as_an_error_and_loses_nobody_a_line(capsys):
    seen = []

    class Raises(ProcessOutputHandler):
        def read_line(self, process, stream, string):
            seen.append(string)
            raise ZeroDivisionError

    process = Process("seq 1000", stdout_handlers=[Raises(), Pieces()]).run(20)
    assert seen == process.stdout.split()
    assert len(process.stdout_handlers[1].pieces) >= 2
    assert capsys.readouterr().out.count("ERROR") == 1
    assert Process("true").run(20).ok


def test_a_handler_that_exits_ends_nobody(capsys):
    class Exits(ProcessOutputHandler):
        def read_line(self, process, stream, string):
            sys.exit("no")

    neighbour = Process("cat").start()
    assert Process("echo x", stdout_handlers=[Exits()]).run(20).ok
    assert neighbour.close_stdin().wait(20).ok


def test_a_handler_without_the_parents_init_works():
    class Forgetful(ProcessOutputHandler):
        def __init__(self):
            self.lines = []

        def read_line(self, process, stream, string):
            self.lines.append(string)

    handler = Forgetful()
    Process("seq 3", stdout_handlers=[handler]).run(20)
    assert handler.lines == ["1", "2", "3"]


@pytest.mark.parametrize("as_path", [False, True])
def test_a_file_name_gets_the_exact_bytes_appended(tmp_path, as_path):
    name = tmp_path / "file"
    name.write_bytes(b"before\n")
    process = Process(PRINT_ALL, stdout_handlers=[name if as_path else str(name)]).run(20)
    assert process.ok
    assert name.read_bytes() == b"before\n" + ALL_BYTES
    assert output_files._open == {}


def test_a_file_name_is_shared_by_processes_and_streams_and_closed_after_the_last(tmp_path):
    name = str(tmp_path / "file")
    processes = [Process(f"echo {n}; echo {n} >&2", shell=True, stdout_handlers=[name], stderr_handlers=[name]).start() for n in range(20)]
    for process in processes:
        process.wait(20)
    assert sorted(map(int, Path(name).read_text().split())) == sorted([*range(20)] * 2)
    assert (output_files._open, output_files._users) == ({}, {})


def test_a_file_that_cannot_be_opened_is_logged_and_the_process_goes_on(tmp_path, capsys):
    process = Process("echo x", stdout_handlers=[str(tmp_path / "no" / "folder")]).run(20)
    assert (process.ok, process.stdout) == (True, "x\n")
    assert "No such file" in capsys.readouterr().out
    assert output_files._open == {}


def test_a_descriptor_gets_the_exact_bytes(tmp_path):
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    Process(PRINT_ALL, stdout_handlers=[fd]).run(20)
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == ALL_BYTES


@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_binary_file_gets_the_exact_bytes_at_the_latest_at_the_end(tmp_path, buffering):
    with open(tmp_path / "file", "wb", buffering) as file:
        Process(PRINT_ALL, stdout_handlers=[file]).run(20)
        assert (tmp_path / "file").read_bytes() == ALL_BYTES


def test_a_temporary_file_is_a_binary_file():
    with tempfile.NamedTemporaryFile() as file:
        Process(PRINT_ALL, stdout_handlers=[file]).run(20)
        assert Path(file.name).read_bytes() == ALL_BYTES


def test_text_files_get_text(tmp_path):
    memory = io.StringIO()
    with open(tmp_path / "file", "w", encoding="utf-8") as file:
        Process(["echo", "caf\u00e9"], stdout_handlers=[file, memory]).run(20)
        assert (tmp_path / "file").read_text("utf-8") == "caf\u00e9\n"
    assert memory.getvalue() == "caf\u00e9\n"


@pytest.mark.parametrize("make", [str, lambda path: path.open("w")])
def test_one_handler_needs_no_list(tmp_path, make):
    handler = make(tmp_path / "file")
    Process("echo x", stdout_handlers=handler).run(20)
    assert (tmp_path / "file").read_text() == "x\n"
    if not isinstance(handler, str):
        handler.close()


def test_the_list_of_the_caller_is_copied():
    handlers = [Pieces()]
    process = Process("true", stdout_handlers=handlers)
    handlers.clear()
    assert len(process.stdout_handlers) == 1


def test_handle_process_output_serves_all_kinds(tmp_path):
    name, memory, handler = str(tmp_path / "file"), io.StringIO(), Pieces()
    for sink in (name, memory, handler):
        handle_process_output("p", STDOUT, sink, "text", False, False)
        handle_process_output("p", STDOUT, sink, "", True, False)
    assert (Path(name).read_text(), memory.getvalue(), handler.pieces[0][1]) == ("text", "text", "text")


def test_bytes_that_are_no_text_are_kept_exactly():
    process = Process(PRINT_ALL).run(20)
    assert process.stdout_bytes == ALL_BYTES
    assert process.stdout == ALL_BYTES.decode("utf-8", "surrogateescape")


def test_a_failing_process_with_bytes_that_are_no_text_can_be_logged():
    assert run_script("""
        import sys
        from execo import Process
        Process([sys.executable, "-c", "import os, sys; os.write(1, bytes([97, 255, 10])); sys.exit(3)"]).run(20)
    """, env={**environment(), "PYTHONIOENCODING": "utf-8:strict"}).splitlines()[1:3] == ["stdout:", "a\\udcff"]


def test_a_character_split_over_two_reads_arrives_whole():
    handler = Pieces()
    script = "import os; os.write(1, b'\\xe2\\x82'); input(); os.write(1, b'\\xac\\n')"
    process = Process([sys.executable, "-c", script], stdout_handlers=[handler]).start()
    process.started_event.wait(20)
    while not process._stdout:
        assert process.running
    process.write("\n")
    assert process.wait(20).stdout == "\u20ac\n"
    assert "".join(piece[1] for piece in handler.pieces) == "\u20ac\n"


def test_a_character_that_never_comes_whole_is_kept_too():
    assert Process([sys.executable, "-c", "import os; os.write(1, b'a\\xe2\\x82')"]).run(20).stdout_bytes == b"a\xe2\x82"
