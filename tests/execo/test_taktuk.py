"""TakTuk trees on this machine: copies, ends of all kinds, and what is left."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from connector import until
from facts import alive, all_gone
from interpreter import popen
from taktuk import HERE, of_hosts, unique

import execo
from execo import SCP, SSH, TAKTUK, Host, Remote, TaktukGet, TaktukPut, TaktukRemote, configuration
from execo.action import ActionFactory, get_remote
from execo.process import TaktukProcess

pytestmark = pytest.mark.requires("taktuk", "perl")
SECONDS = 30
QUIET = {"nolog_exit_code": True, "nolog_error": True, "nolog_timeout": True, "nolog_write_error": True}


@pytest.fixture(autouse=True)
def _kill_timeout() -> None:
    configuration["kill_timeout"] = 3


def remote(cmd: Any, hosts: Any, params: dict[str, Any] | None = None, **args: Any) -> TaktukRemote:
    return TaktukRemote(cmd, hosts, {**HERE, **(params or {})}, {**QUIET, **args})


def names(number: int) -> tuple[str, list[str]]:
    """Hosts that only this test has, and what their names have in common."""
    word = unique()
    return word, [f"{word}-{n}" for n in range(number)]


def reasons(action: Any) -> list[str | None]:
    return [None if process.error_reason is None else str(process.error_reason) for process in action.processes]


# copies

class Files:
    """Sources, and a place for each of three hosts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "source"
        self.source.mkdir()
        for host in "abc":
            (folder / host).mkdir()
        self.each = f"{folder}/{{{{{{host}}}}}}"

    def file(self, name: str, content: str = "content", mode: int = 0o644) -> str:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
        return str(path)

    def read(self, name: str) -> list[str]:
        return [(self.folder / host / name).read_text() for host in "abc"]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def put(files: Any, location: str) -> Any:
    return TaktukPut(["a", "b", "c"], files, location, HERE, process_args=QUIET).run(SECONDS)


def get(files: Any, location: str) -> Any:
    return TaktukGet(["a", "b", "c"], files, location, HERE, process_args=QUIET).run(SECONDS)


def test_files_and_directories_arrive_with_their_modes(files: Files) -> None:
    sources = [files.file("one", "1", 0o640), files.file("two", "2", 0o751), files.file("d/e/three", "3").rpartition("/e")[0]]
    (files.source / "d" / "empty").mkdir(mode=0o700)
    action = put(sources, files.each)
    assert action.finished_ok, reasons(action)
    assert [process.exit_code for process in action.processes] == [0, 0, 0]
    assert (files.read("one"), files.read("two"), files.read("d/e/three")) == (["1"] * 3, ["2"] * 3, ["3"] * 3)
    for host in "abc":
        assert [(files.folder / host / name).stat().st_mode & 0o777 for name in ("one", "two", "d/empty")] == [0o640, 0o751, 0o700]


def test_a_single_name_and_a_new_name(files: Files) -> None:
    assert put(files.file("one", "1"), files.each + "/other").finished_ok
    assert files.read("other") == ["1"] * 3
    assert put(files.file("one", "2"), files.each + "/other").finished_ok
    assert files.read("other") == ["2"] * 3
    assert os.listdir(files.folder / "a") == ["other"]
    files.file("d/x")
    assert put(str(files.source / "d"), files.each + "/new").finished_ok
    assert files.read("new/x") == ["content"] * 3


def test_names_are_substituted_for_each_host(files: Files) -> None:
    for host in "abc":
        files.file(f"of {host}", host)
    places = ["x", "y", "z"]                # noqa: F841    # named in the location
    action = TaktukPut(["a", "b", "c"], [f"{files.source}/of {{{{{{host}}}}}}"], files.each + "/{{places}}", HERE).run(SECONDS)
    assert action.finished_ok
    assert [(files.folder / host / place).read_text() for host, place in zip("abc", "xyz", strict=True)] == ["a", "b", "c"]
    action = get([files.each], str(files.folder / "back {{{host}}}"))
    assert action.finished_ok, reasons(action)
    assert (files.folder / "back b" / "y").read_text() == "b"


NAMES = ["a b", "$HOME", "`id`", "it's", '"', "~", "-x", " x", "x ", "x|", "|x", ">x", "[x]", "x;y", "*", "\\n", "\n", "%", "é\udcff", "\t",
         "a\\"]


@pytest.mark.parametrize("directory", [False, True])
def test_any_name_of_a_file_or_directory(files: Files, directory: bool) -> None:
    for name in NAMES:
        source = files.source / name
        if directory:
            source.mkdir()
        (source / "f" if directory else source).write_text(name, errors="surrogateescape")
    action = put([str(files.source / name) for name in NAMES], files.each)
    assert action.finished_ok, reasons(action)
    (files.folder / "got").mkdir()
    back = TaktukGet(["a"], [f"{files.folder}/b/{name}" for name in NAMES], str(files.folder / "got"), HERE).run(SECONDS)
    assert back.finished_ok, reasons(back)
    for name in NAMES:
        got = files.folder / "got" / name
        assert (got / "f" if directory else got).read_text(errors="surrogateescape") == name


def test_the_home_directories(files: Files) -> None:
    home = Path(os.environ["HOME"])
    name = unique("file")
    (home / name).write_text("mine")
    try:
        assert put([f"~/{name}"], files.each).finished_ok
        assert files.read(name) == ["mine"] * 3
        assert put([files.file("x", "new")], f"~/{name}").finished_ok
        assert (home / name).read_text() == "new"
        assert get([f"~/{name}"], files.each).finished_ok
        assert files.read(name) == ["new"] * 3
    finally:
        (home / name).unlink()


def test_no_file_no_process(files: Files) -> None:
    assert (put([], files.each).finished_ok, get([], files.each).processes) == (True, [])
    assert TaktukPut([], ["x"], connection_params=HERE).run(SECONDS).finished_ok


def test_a_missing_local_file_is_an_error_of_its_process_alone(files: Files) -> None:
    files.file("a")
    files.file("c")
    action = put([f"{files.source}/{{{{{{host}}}}}}"], files.each)
    assert [process.ok for process in action.processes] == [True, False, True]
    reason = action.processes[1].error_reason
    assert isinstance(reason, FileNotFoundError)
    assert reason.filename == f"{files.source}/b"
    assert not put(["/nonexistent/file"], files.each).ok


def test_a_missing_remote_file(files: Files) -> None:
    files.file("a", "A")
    action = get([f"{files.source}/{{{{{{host}}}}}}"], files.each)
    assert [process.ok for process in action.processes] == [True, False, False]
    assert reasons(action)[1].startswith("taktuk file reception failed: tar: b: Cannot stat: No such file or directory")  # type: ignore[union-attr]
    assert os.listdir(files.folder / "b") == []


@pytest.mark.parametrize(("location", "why"), [
    ("/nonexistent/dir/name", "No such file or directory"), ("/proc/execo", "No such file or directory"),
    ("/dev/full/x", "Not a directory")])
def test_a_destination_that_cannot_be_written(files: Files, location: str, why: str) -> None:
    for action in (put(files.file("one"), location), get([files.file("one")], location)):
        assert [process.ok for process in action.processes] == [False] * 3
        assert all(reason and reason.startswith("taktuk file reception failed: ") and why in reason for reason in reasons(action))
        assert all(isinstance(process.error_reason, ConnectionError) for process in action.processes)


def test_several_files_need_a_directory(files: Files) -> None:
    action = put([files.file("one"), files.file("two")], files.each + "/gone")
    assert reasons(action) == [f"taktuk file reception failed: not a directory: {files.folder}/{host}/gone" for host in "abc"]


def test_large_files_there_and_back(files: Files) -> None:
    data = os.urandom(5_000_000)
    (files.source / "large").write_bytes(data)
    action = put([files.source / "large"], files.each)
    assert action.finished_ok, reasons(action)
    action = get([files.each + "/large"], str(files.folder / "{{{host}}}.back"))
    assert action.finished_ok, reasons(action)
    for host in "abc":
        assert (files.folder / f"{host}.back").read_bytes() == data
    assert action.processes[0].stdout == ""


def test_a_copy_is_killed(files: Files) -> None:
    fifo = files.folder / "source" / "fifo"
    os.mkfifo(fifo)
    action = TaktukPut(["a", "b"], [files.file("one"), fifo], files.each, {**HERE, "taktuk_connector_options": ("-v",)}, process_args=QUIET)
    action.start().kill().wait(SECONDS)
    assert [process.killed for process in action.processes] == [True, True]
    assert action.ended


def test_text_of_copies() -> None:
    assert repr(TaktukPut(["h"], "f", "d")) == "TaktukPut([Host('h')], ['f'], remote_location='d')"
    assert repr(TaktukGet(["h"], ["f", "g"])) == "TaktukGet([Host('h')], ['f', 'g'], local_location='.')"
    assert (TaktukPut(["h"], "f").name, TaktukGet(["h", "i"], "f").name) == ("TaktukPut to 1 hosts", "TaktukGet from 2 hosts")
    with pytest.raises(TypeError, match="start_at"):
        TaktukPut(["h"], "f", start_at=time.time() + 100)


# killing

def test_killing_all_and_one_leaves_nothing(tmp_path: Path) -> None:
    word, hosts = names(4)
    action = remote("sleep 300 & echo ready; wait", hosts).start()
    action.expect("ready", timeout=SECONDS)
    action.processes[2].kill().wait(SECONDS)
    assert [process.ended for process in action.processes] == [False, False, True, False]
    assert not [line for line in of_hosts(hosts[2]).values() if line.startswith("sleep")]
    action.kill().wait(SECONDS)
    assert [process.exit_code for process in action.processes] == [-15] * 4
    assert not of_hosts(word)


def test_a_signal_is_sent_once_to_who_runs_for_long() -> None:
    action = remote("trap 'echo caught' TERM USR1 INT; echo ready; while :; do sleep 0.05; done", ["a"]).start()
    process = action.processes[0]
    process.expect("ready", timeout=SECONDS)
    time.sleep(1.2)                         # until the signal cannot miss it any more
    process.kill(auto_force_kill_timeout=None)
    process.expect("caught", timeout=SECONDS)
    assert process.expect("caught", timeout=2.5) == (None, None)
    process.kill(signal.SIGUSR1)
    process.expect("caught", timeout=SECONDS)
    process.kill(signal.SIGKILL)
    process.wait(SECONDS)
    assert (process.stdout.count("caught"), process.exit_code) == (2, -9)


def test_signals_never_reach_a_process_of_this_machine() -> None:
    """The pid is that of another machine: with `kill_subprocesses` nobody may look for it here."""
    bystander = subprocess.Popen(["sh", "-c", "sleep 300 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    assert bystander.stdout is not None
    child = int(bystander.stdout.readline())
    try:
        action = remote("echo ready; exec sleep 300", ["a"], kill_subprocesses=True).start()
        process = action.processes[0]
        process.expect("ready", timeout=SECONDS)
        assert process._run is not None
        real, process._run.pid = process._run.pid, bystander.pid
        process.kill().wait(SECONDS)
        assert (real > 0, process.exit_code) == (True, -15)
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)
        bystander.kill()
        bystander.wait()
        bystander.stdout.close()


def test_kill_at_any_moment_of_the_start() -> None:
    word, hosts = names(3)
    for n in range(15):
        action = remote("exec sleep 300", hosts).start()
        until_when = time.monotonic() + n * 0.02
        while time.monotonic() < until_when and not any(process.pid for process in action.processes):
            time.sleep(0.001)
        action.kill().wait(SECONDS)
        assert action.ended
        assert all(process.killed and process.ok for process in action.processes)
        assert not [line for line in of_hosts(word).values() if line.startswith("sleep")]
    assert until(lambda: not of_hosts(word))


def test_a_command_that_ignores_all_is_killed_by_force_with_its_children() -> None:
    word, hosts = names(2)
    action = remote("trap '' TERM; (trap '' TERM; sleep 300)& echo ready; while :; do sleep 300; done", hosts).start()
    action.expect("ready", timeout=SECONDS)
    for process in action.processes:
        process.kill(auto_force_kill_timeout=0.2)
    action.wait(SECONDS)
    assert [(process.exit_code, process.forced_kill) for process in action.processes] == [(-9, True)] * 2
    assert not of_hosts(word)


def test_a_child_that_holds_the_output_is_waited_for_and_ends_with_a_kill() -> None:
    word, hosts = names(1)
    action = remote("sleep 300 & echo started", hosts).start()
    action.expect("started", timeout=SECONDS)
    assert not action.wait(0.5).ended
    action.kill().wait(SECONDS)
    assert action.ended
    assert not of_hosts(word)


def test_a_daemon_that_lets_go_ends_the_process_and_lives() -> None:
    word, hosts = names(1)
    action = remote("setsid sleep 300 >/dev/null 2>&1 </dev/null & echo $!", hosts).run(SECONDS)
    assert action.finished_ok
    left = of_hosts(word)
    assert [line.split()[0] for line in left.values()] == ["sleep"]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert all_gone(left)


# input

def test_five_megabytes_of_input() -> None:
    data = os.urandom(5_000_000)
    process = TaktukProcess("sha256sum", "h", HERE).start()
    process.write(data)
    process.close_stdin().wait(60)
    assert process.stdout.split()[0] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("cmd", ["true", "exec <&-; sleep 0.5; echo end", "sleep 0.3; exit 2"])
def test_input_that_nobody_reads_harms_nobody(cmd: str) -> None:
    action = remote([cmd] if cmd == "true" else cmd, ["a", "b"]).start()
    action.write(b"x" * 1_000_000)
    action.wait(SECONDS)
    assert [process.ended for process in action.processes] == [True, True]
    assert [process.exit_code for process in action.processes] == [2 if "exit 2" in cmd else 0] * 2
    assert not any(process.error for process in action.processes)


# trouble

def test_taktuk_is_missing() -> None:
    action = remote("true", ["a", "b"], {"taktuk": "no-such-taktuk"}).run(SECONDS)
    for process in action.processes:
        assert isinstance(process.error_reason, FileNotFoundError)
        assert process.error_reason.filename == "no-such-taktuk"
    assert action.ended


def test_perl_is_missing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taktuk").write_text("#!/bin/sh\n")
    (tmp_path / "taktuk").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    action = remote("true", ["a"]).run(SECONDS)
    assert isinstance(action.processes[0].error_reason, FileNotFoundError)
    assert "perl" in str(action.processes[0].error_reason)


def test_perl_is_missing_on_a_host() -> None:
    action = remote("echo here", ["a", "noperl", "b"]).run(SECONDS)
    assert [process.stdout for process in action.processes] == ["here\n", "", "here\n"]
    assert reasons(action)[1] == "taktuk connection failed: sh: 1: exec: perl: not found"
    assert not action.processes[1].unreachable


def test_a_login_shell_that_prints_junk() -> None:
    action = remote("echo here", ["a", "dirty", "b"]).run(SECONDS)
    assert [process.stdout for process in action.processes] == ["here\n"] * 3
    assert action.finished_ok


def test_a_host_that_never_answers_is_given_up() -> None:
    word = unique("mute")
    start = time.monotonic()
    action = remote("echo here", ["a", word, "b"], {"taktuk_options": ("-s", "-t", "2")}).run(SECONDS)
    assert [process.stdout for process in action.processes] == ["here\n", "", "here\n"]
    silent = action.processes[1]
    assert (silent.unreachable, silent.connect_timeouted, silent.timeouted) == (True, True, False)
    assert str(silent.error_reason).startswith("taktuk connection failed: ")
    assert time.monotonic() - start < 20
    assert not of_hosts(word)


def test_kill_of_a_tree_in_which_a_host_never_answers() -> None:
    word = unique("mute")
    start = time.monotonic()
    action = remote("exec sleep 300", [f"{word}a", f"{word}b"]).start()
    until(lambda: of_hosts(word))
    action.kill().wait(SECONDS)
    assert [process.killed for process in action.processes] == [True, True]
    assert time.monotonic() - start < 15
    assert not of_hosts(word)


def test_a_tree_that_is_killed_is_an_error_of_all(tmp_path: Path) -> None:
    word, hosts = names(2)
    action = remote("echo ready; exec sleep 300", hosts).start()
    action.expect("ready", timeout=SECONDS)
    tree = action.processes[0]._run.tree._run
    pids = list(of_hosts(word))
    tree.signal(signal.SIGQUIT)
    action.wait(SECONDS)
    assert all(reason and reason.startswith("taktuk connection lost") for reason in reasons(action))
    for pid in pids:                        # nobody was there to end them
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    assert all_gone(pids)


def test_hosts_of_several_trees_fail_each_for_itself() -> None:
    hosts = [Host("a", port=1), Host("down", port=1), Host("down", port=2), Host("b", keyfile="/k")]
    action = remote("echo here", hosts).run(SECONDS)
    assert [process.stdout for process in action.processes] == ["here\n", "", "", "here\n"]
    assert [process.ok for process in action.processes] == [True, False, False, True]


def test_a_hundred_megabytes_of_one_host_among_fifty() -> None:
    size = 100_000_000
    count = _Counter()
    hosts = [f"h{n}" for n in range(50)]
    action = remote(f"echo small; test {{{{{{host}}}}}} != h7 || yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c {size}", hosts,
                    default_stdout_handler=False, stdout_handlers=[count]).run(300)
    assert action.finished_ok, reasons(action)
    assert count.bytes == size + 50 * len("small\n")


class _Counter(io.RawIOBase):
    """A binary file."""

    bytes = 0

    def write(self, data: Any) -> int:
        self.bytes += len(data)
        return len(data)


# alone, at a date, and by configuration

def test_all_commands_start_at_a_date() -> None:
    date = time.time() + 2
    action = TaktukRemote("date +%s.%N; cat", ["a", "b", "c"], HERE, QUIET, start_at=date).start()
    action.write("early\n")
    action.close_stdin().wait(SECONDS)
    assert action.finished_ok, reasons(action)
    for process in action.processes:
        told, mail = process.stdout.splitlines()
        assert date - 0.01 <= float(told) < date + 2
        assert mail == "early"
        assert process.command_start_date == pytest.approx(float(told), abs=0.5)
    assert action.start_skew is not None
    assert action.start_skew < 2
    late = TaktukRemote("echo here", ["a", "down"], HERE, QUIET, start_at=time.time() + 2).run(SECONDS)
    assert [process.ok for process in late.processes] == [True, False]
    assert reasons(late)[1].startswith("taktuk connection failed")  # type: ignore[union-attr]


def test_a_process_alone_starts_once() -> None:
    process = TaktukProcess("echo $EXECO_HOST", Host("h", user="me"), HERE)
    process.start()
    with pytest.raises(ValueError, match="started before"):
        process.start()
    assert process.wait(SECONDS).stdout == "h\n"
    assert process.reset().run(SECONDS).stdout == "h\n"


def test_the_configuration_makes_trees() -> None:
    assert type(ActionFactory(TAKTUK, TAKTUK, TAKTUK).get_remote("true", ["h"])) is TaktukRemote
    configuration.update(remote_tool=TAKTUK, fileput_tool=TAKTUK, fileget_tool=TAKTUK)
    factory = ActionFactory()
    assert type(factory.get_fileput(["h"], ["f"])) is TaktukPut
    assert type(factory.get_fileget(["h"], ["f"])) is TaktukGet
    words = ["sub"]                         # noqa: F841    # named in the command
    assert factory.get_remote("echo {{words}} {{{host}}}", ["h"], HERE).run(SECONDS).processes[0].stdout == "sub h\n"
    configuration.update(remote_tool=SSH, fileput_tool=SCP)
    assert type(get_remote("true", ["h"])) is Remote


# what is left

def test_nothing_is_left_after_an_action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    word, hosts = names(5)
    action = remote("true", [*hosts, "down"]).run(SECONDS)
    assert action.ended
    assert list(tmp_path.iterdir()) == []
    assert not of_hosts(word)


ENDS = {
    "kill": "os.kill(os.getpid(), 9)",
    "term": "os.kill(os.getpid(), 15); time.sleep(99)",
    "exit": "sys.exit(3)",
    "exception": "raise RuntimeError('on purpose')",
    "os._exit": "os._exit(0)",
    "the end": "pass",
}
SCRIPT = """
    import os, sys, time
    from execo import TaktukRemote, configuration
    connector, word, command, keep, end = sys.argv[1:]
    configuration["kill_childs_at_end"] = keep != "keep"
    params = {"taktuk_connector": connector, "taktuk_connector_options": ()}
    action = TaktukRemote(command, [word + "-1", word + "-2", word + "-3"], params).start()
    if "ready" in command:
        action.expect("ready", timeout=60)
    print("running", flush=True)
    exec(end)
    """


def ended_python(end: str, word: str, command: str = "trap '' HUP; echo ready; while :; do sleep 300; done", keep: str = "end") -> None:
    with popen(SCRIPT, HERE["taktuk_connector"], word, command, keep, end, stderr=subprocess.DEVNULL) as python:
        assert python.stdout is not None
        assert python.stdout.readline() == "running\n"
        python.wait(SECONDS)


@pytest.mark.parametrize("end", ENDS)
def test_no_command_survives_the_end_of_python(end: str) -> None:
    word = unique()
    ended_python(ENDS[end], word)
    assert until(lambda: not of_hosts(word), 30)


def test_no_command_survives_that_ignores_signals_or_prints_for_ever() -> None:
    word = unique()
    ended_python(ENDS["kill"], word, "trap '' TERM INT HUP; echo ready; while :; do echo line; done")
    assert until(lambda: not of_hosts(word), 30)


@pytest.mark.parametrize("pause", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_no_command_survives_when_python_ends_while_the_tree_is_made(pause: float) -> None:
    word = unique()
    ended_python(f"time.sleep({pause}); os.kill(os.getpid(), 9)", word, "exec sleep 300")
    assert until(lambda: not of_hosts(word), 30)


def test_commands_are_kept_if_the_configuration_says_so() -> None:
    word = unique()
    ended_python(ENDS["kill"], word, keep="keep")
    time.sleep(3)                           # a kill would have come by then
    left = of_hosts(word)
    try:
        assert sum(line.startswith("sleep 300") for line in left.values()) == 3
    finally:
        for _ in range(5):
            for pid in of_hosts(word):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    assert until(lambda: not of_hosts(word))


def test_a_tree_within_a_tree() -> None:
    """Of an outer TakTuk's variables the inner one must not be confused."""
    script = ("import sys; from execo import TaktukRemote; a = TaktukRemote('echo inner', ['x', 'y'], {'taktuk_connector': sys.argv[1], "
              "'taktuk_connector_options': ()}).run(30); print(a.finished_ok, [p.stdout for p in a.processes])")
    folder = str(Path(str(execo.__file__)).parent.parent)
    command = shlex.join([sys.executable, "-c", script, HERE["taktuk_connector"]])
    action = remote(f"PYTHONPATH={shlex.quote(folder)} {command}", ["a"]).run(60)
    assert action.processes[0].stdout == "True ['inner\\n', 'inner\\n']\n", action.processes[0].stderr
