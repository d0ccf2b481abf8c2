"""ChainPut on real ssh hosts: what arrives, where, and how it is told.

The hosts of one cluster share their files, so each gets a directory of its own, by substitution.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from facts import wait_for
from kinds import require_kind
from requirements import require

from execo import ChainPut, Put, Report, configuration
from execo._chain.plan import Settings
from execo._chain.protocol import ARGUMENTS, head_line, program
from execo.action import ActionFactory
from execo.config import CHAINPUT
from execo.host import Host
from execo.localcluster import LocalCluster

HOSTS = 4
QUIET = {"nolog_error": True}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    require("ssh", "perl")
    require_kind("sshd")
    with LocalCluster(HOSTS, server="sshd") as running:
        yield running


class Places:
    """A directory for each host, and what is in them."""

    def __init__(self, folder: Path, cluster: LocalCluster) -> None:
        self.folder = folder
        self.each = [folder / host.address for host in cluster.hosts]
        for place in self.each:
            place.mkdir(parents=True)
        self.pattern = f"{folder}/{{{{{{host}}}}}}"

    def listing(self) -> list[set[str]]:
        return [{str(path.relative_to(place)) for path in place.rglob("*")} for place in self.each]


@pytest.fixture
def places(tmp_path: Path, cluster: LocalCluster) -> Places:
    return Places(tmp_path / "hosts", cluster)


def put(cluster: LocalCluster, files: Any, location: str, **kwargs: Any) -> ChainPut:
    action = ChainPut(cluster.hosts, files, location, cluster.connection_params, **kwargs)
    action.run(60)
    assert action.ended
    return action


def test_a_file_arrives_on_all_hosts(cluster: LocalCluster, places: Places, tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    source = tmp_path / "file"
    source.write_bytes(content)
    os.utime(source, (1e9, 1e9))
    source.chmod(0o640)
    action = put(cluster, str(source), places.pattern)
    assert action.ok
    assert action.finished_ok
    assert [process.host for process in action.processes] == cluster.hosts
    for place, process in zip(places.each, action.processes, strict=True):
        copy = place / "file"
        assert copy.read_bytes() == content
        assert (copy.stat().st_mode & 0o7777, copy.stat().st_mtime) == (0o640, 1e9)
        assert (process.exit_code, process.error, process.ok, process.stdout) == (0, False, True, "")
        assert process.start_date <= process.end_date
    assert places.listing() == [{"file"}] * HOSTS
    assert action.stats()["num_finished_ok"] == HOSTS
    assert action.stats()["sub_stats"] == []
    assert action.name in Report([action]).to_string()


def tree(folder: Path) -> Path:
    top = folder / "top"
    (top / "sub" / "empty").mkdir(parents=True)
    (top / "empty file").touch()
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o755)
    (top / "sub" / "é \n$x'\"\\ *").write_text("odd")
    (top / "-rf").write_text("no option")
    (top / "sub" / "large").write_bytes(os.urandom(3_000_000))
    (top / "link").symlink_to("sub/large")
    (top / "sub").chmod(0o750)
    for i in range(300):
        (top / "sub" / f"small {i}").write_text(str(i))
    return top


def facts(folder: Path) -> dict[str, Any]:
    return {str(path.relative_to(folder)): (path.is_symlink(), path.stat().st_mode, None if path.is_dir() else path.read_bytes())
            for path in folder.rglob("*")}


def test_directories_arrive_as_put_would_have_brought_them(cluster: LocalCluster, places: Places, tmp_path: Path) -> None:
    top = tree(tmp_path)
    other = tmp_path / "one more"
    other.write_text("more")
    by_scp = tmp_path / "by scp"
    by_scp.mkdir()
    assert Put(cluster.hosts[0], [top, other], str(by_scp), cluster.connection_params).run(60).ok
    expected = facts(by_scp)
    (top / "folder link").symlink_to("sub")             # where scp gives up, since it speaks sftp
    assert put(cluster, [top, str(other)], places.pattern).ok
    assert len(expected) > 300
    assert not any(is_link for is_link, _, _ in expected.values())
    for place in places.each:
        linked = {name: fact for name, fact in facts(place).items() if name.startswith("top/folder link")}
        assert len(linked) > 300
        assert not any(is_link for is_link, _, _ in linked.values())
        assert {name: fact for name, fact in facts(place).items() if name not in linked} == expected


def test_what_is_there_already_is_merged_and_replaced(cluster: LocalCluster, places: Places, tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "new").write_text("new")
    (tmp_path / "top" / "both").write_text("new")
    for place in places.each:
        (place / "top").mkdir()
        (place / "top" / "both").write_text("old, and longer")
        (place / "top" / "old").write_text("old")
        (place / "behind").write_text("old")
    assert put(cluster, tmp_path / "top", places.pattern).ok
    for place in places.each:
        assert {path.name: path.read_text() for path in (place / "top").iterdir()} == {"new": "new", "both": "new", "old": "old"}


def test_the_name_of_the_copy(cluster: LocalCluster, places: Places, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    assert put(cluster, tmp_path / "file", f"{places.pattern}/copy").ok
    assert put(cluster, tree(tmp_path), f"{places.pattern}/folder").ok
    for place in places.each:
        assert (place / "copy").read_text() == "content"
        assert (place / "folder" / "run").exists()
        assert not (place / "folder" / "top").exists()


def test_a_link_at_the_destination_is_written_through(cluster: LocalCluster, places: Places, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("new")
    for place in places.each:
        (place / "real").write_text("old")
        (place / "link").symlink_to("real")
    assert put(cluster, tmp_path / "file", f"{places.pattern}/link").ok
    for place in places.each:
        assert (place / "link").is_symlink()
        assert (place / "real").read_text() == "new"


def test_home_is_where_relative_names_begin(cluster: LocalCluster, tmp_path: Path) -> None:
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    name = f"execo-test-{os.getpid()}"
    (tmp_path / "file").write_text("content")
    try:
        for i, location in enumerate((name, f"~/{name}", f"./{name}")):
            (tmp_path / "file").write_text(str(i))
            assert ChainPut(cluster.hosts[0], tmp_path / "file", location, cluster.connection_params).run(60).ok
            assert (home / name).read_text() == str(i)
    finally:
        (home / name).unlink(missing_ok=True)


@pytest.mark.parametrize(("location", "number"), [
    ("/nowhere/at/all", errno.ENOENT), ("/dev/null", errno.EINVAL), ("/dev/null/x", errno.ENOTDIR), ("/nowhere/", errno.ENOENT),
])
def test_a_place_that_is_none_is_an_error_with_its_reason(cluster: LocalCluster, tmp_path: Path, location: str, number: int) -> None:
    (tmp_path / "file").write_text("content")
    action = put(cluster, tmp_path / "file", location, process_args=QUIET)
    assert not action.ok
    for process in action.processes:
        assert isinstance(process.error_reason, OSError)
        assert process.error_reason.errno == number
        assert process.error_reason.filename is not None
        assert not process.ok
    assert Path("/dev/null").is_char_device()


def test_several_sources_need_a_directory(cluster: LocalCluster, places: Places, tmp_path: Path) -> None:
    names = [tmp_path / "a", tmp_path / "b"]
    for name in names:
        name.write_text("content")
    action = put(cluster, names, f"{places.pattern}/none", process_args=QUIET)
    assert {process.error_reason.errno for process in action.processes} == {errno.ENOENT}
    assert places.listing() == [set()] * HOSTS


def test_a_missing_source_is_an_error_on_all_hosts(cluster: LocalCluster, places: Places, tmp_path: Path) -> None:
    action = put(cluster, tmp_path / "missing", places.pattern, process_args=QUIET)
    for process in action.processes:
        assert isinstance(process.error_reason, FileNotFoundError)
        assert "the sender" in str(process.error_reason)
        assert "missing" in str(process.error_reason)
    assert places.listing() == [set()] * HOSTS


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink(".", path)], ids=["fifo", "loop"])
def test_a_source_that_is_no_file_is_an_error(cluster: LocalCluster, places: Places, tmp_path: Path, make: Any) -> None:
    (tmp_path / "top").mkdir()
    make(tmp_path / "top" / "odd")
    action = put(cluster, tmp_path / "top", places.pattern, process_args=QUIET)
    assert not any(process.ok for process in action.processes)
    assert "odd" in str(action.processes[0].error_reason)


def test_partial_failure_is_a_value_and_can_be_tried_again(cluster: LocalCluster, places: Places, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    places.each[1].rmdir()
    places.each[1].symlink_to("/nowhere")
    action = put(cluster, tmp_path / "file", f"{places.pattern}/copy", process_args=QUIET)
    assert [process.ok for process in action.processes] == [True, False, True, True]
    assert action.failed_processes == [action.processes[1]]
    first = places.each[0] / "copy"
    before = first.stat().st_ino
    places.each[1].unlink()
    places.each[1].mkdir()
    assert action.retry_failed(60).ok
    assert first.stat().st_ino == before                # only the one that failed
    assert (places.each[1] / "copy").read_text() == "content"


def test_a_host_that_cannot_be_reached_does_not_hold_up_the_others(cluster: LocalCluster, places: Places, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    hosts = [cluster.hosts[0], Host(cluster.hosts[1], port=1), cluster.hosts[2]]
    action = ChainPut(hosts, tmp_path / "file", places.pattern, cluster.connection_params, process_args=QUIET).run(60)
    assert [process.ok for process in action.processes] == [True, False, True]
    assert action.unreachable_processes == [action.processes[1]]
    assert (places.each[2] / "file").exists()


def test_duplicates_are_served_once(cluster: LocalCluster, places: Places, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    action = ChainPut([cluster.hosts[0]] * 3, tmp_path / "file", places.pattern, cluster.connection_params).run(60)
    assert len(action.processes) == len(action.hosts) == 1
    assert action.ok
    action.hosts = [cluster.hosts[1], cluster.hosts[1]]
    assert action.reset().run(60).ok
    assert (places.each[1] / "file").exists()


def test_nothing_to_do_ends_at_once(cluster: LocalCluster) -> None:
    for action in (ChainPut([], ["f"]), ChainPut(cluster.hosts, [])):
        assert action.processes == []
        assert action.run(5).finished_ok
    assert ChainPut([], []).name == "ChainPut to 0 hosts"
    assert (ChainPut([], []).actions, ChainPut([], []).hide_subactions) == ([], True)


@pytest.mark.parametrize(("params", "message"), [
    ({"chainput_nc_server_timeout": 0}, "chainput_nc_server_timeout"), ({"chainput_try_delay": "x"}, "duration"),
    ({"chainput_host_retry": -1}, "chainput_host_retry"), ({"chainput_chain_retry": 1.5}, "chainput_chain_retry"),
])
def test_bad_parameters_are_told_at_once(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChainPut("h", "f", connection_params=params)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"hosts": "-oX"}, "begins with '-'"), ({"local_files": ""}, "not a file name"), ({"local_files": "a\0b"}, "not a file name"),
    ({"remote_location": "a\0"}, "remote_location"), ({"process_args": {"idle_timeout": 3}}, "chainput_nc_server_timeout"),
])
def test_bad_arguments_are_told_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChainPut(**{"hosts": "h", "local_files": "f", **arguments})
    for wrong in ({"fanout": 3}, {"timeout": 3}):
        with pytest.raises(TypeError, match=next(iter(wrong))):
            ChainPut("h", "f", **wrong)


def test_it_has_no_standard_input_and_its_parts_do_not_start_alone() -> None:
    action = ChainPut("h", "f")
    for call in (lambda: action.write("x"), action.close_stdin):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="started by its action"):
        action.processes[0].start()
    assert repr(action) == "ChainPut([Host('h')], ['f'], remote_location='.')"
    assert repr(action.processes[0]) == "ChainProcess('.', Host('h'))"


def test_the_parameters_of_the_contract_have_a_meaning() -> None:
    from execo._action.chain import settings_of
    from execo.config import make_default_connection_params

    defaults = make_default_connection_params()
    assert settings_of(defaults, 3) == Settings()
    given = {**defaults, "chainput_nc_client_timeout": 1, "chainput_nc_server_timeout": "0:0:2", "chainput_host_retry": 3,
             "chainput_chain_retry": 4, "chainput_try_delay": 5}
    assert settings_of(given, 1000) == Settings(beat=10.0, connect_timeout=1, silence=2, restarts=3, losses=4, pause=5)


def test_the_factory_makes_it(cluster: LocalCluster, places: Places, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    configuration["fileput_tool"] = CHAINPUT
    names = [place.name for place in places.each]
    action = ActionFactory().get_fileput(cluster.hosts, [tmp_path / "file"], f"{places.folder}/{{{{names}}}}", cluster.connection_params)
    assert type(action) is ChainPut
    assert action.run(60).ok
    assert names
    assert places.listing() == [{"file"}] * HOSTS


def left(places: Places) -> list[str]:
    return [name for names in places.listing() for name in names if ".execo-chain-" in name]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Sparse, and long enough to be met on its way; after a first piece that is no hole."""
    with open(tmp_path / "large", "wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(60 << 30)
    return tmp_path / "large"


def test_kill_ends_it_and_leaves_nothing(cluster: LocalCluster, places: Places, large: Path) -> None:
    action = ChainPut(cluster.hosts, large, places.pattern, cluster.connection_params).start()
    wait_for(lambda: len(left(places)) >= HOSTS)
    for place in places.each:
        assert all(path.stat().st_mode & 0o077 == 0 for path in place.iterdir())
    action.kill().wait(30)
    assert action.ended
    assert [(process.killed, process.error, process.exit_code) for process in action.processes] == [(True, False, -15)] * HOSTS
    wait_for(lambda: places.listing() == [set()] * HOSTS)


def test_one_can_be_killed_and_the_others_go_on(cluster: LocalCluster, places: Places, large: Path) -> None:
    os.truncate(large, 2 << 30)
    action = ChainPut(cluster.hosts, large, places.pattern, cluster.connection_params).start()
    wait_for(lambda: len(left(places)) >= HOSTS)
    action.processes[1].kill().wait(30)
    assert not action.ended                 # the others have gigabytes to go
    action.wait(100)
    assert action.ended
    assert [process.killed for process in action.processes] == [False, True, False, False]
    assert places.listing() == [{"large"}, set(), {"large"}, {"large"}]


def test_the_timeout_of_a_process(cluster: LocalCluster, places: Places, large: Path) -> None:
    action = put(cluster, large, places.pattern, process_args={"timeout": 1.5, "nolog_timeout": True})
    assert all(process.timeouted and process.killed and not process.ok for process in action.processes)
    wait_for(lambda: places.listing() == [set()] * HOSTS)


def test_when_python_is_killed_nothing_is_left(cluster: LocalCluster, places: Places, large: Path) -> None:
    script = f"""if True:
        from execo import ChainPut
        from execo.localcluster import LocalCluster
        cluster = LocalCluster.attach({str(cluster.directory)!r})
        ChainPut(cluster.hosts, {str(large)!r}, {places.pattern!r}, cluster.connection_params).run()
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    python = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        wait_for(lambda: len(left(places)) >= HOSTS)
    finally:
        python.send_signal(signal.SIGKILL)
        python.wait()
    wait_for(lambda: places.listing() == [set()] * HOSTS)


def hops() -> list[int]:
    """The hops of this machine that write below a directory of this test: their standard input is a conversation, so look at the files."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def writer_of(place: Path) -> int | None:
    """The process that has a file below `place` open for writing."""
    for pid in hops():
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if str(place) in os.readlink(f"/proc/{pid}/fd/{fd}"):
                    return pid
        except OSError:         # it has ended, or is another user's
            continue
    return None


def test_a_hop_that_is_killed_leaves_nothing(cluster: LocalCluster, places: Places, large: Path) -> None:
    os.truncate(large, 1 << 30)
    action = ChainPut(cluster.hosts, large, places.pattern, cluster.connection_params, process_args=QUIET).start()
    wait_for(lambda: writer_of(places.each[1]) is not None)
    pid = writer_of(places.each[1])
    assert pid is not None
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"sysread" in command
    assert not re.search(rb"[0-9a-f]{32}", command)             # no token
    os.kill(pid, signal.SIGKILL)
    action.wait(100)
    assert [process.ok for process in action.processes] == [True, False, True, True]
    assert "exit code 137" in str(action.processes[1].error_reason)
    wait_for(lambda: places.listing() == [{"large"}, set(), {"large"}, {"large"}])


@pytest.mark.serial
def test_more_than_four_gigabytes_in_constant_memory(cluster: LocalCluster, places: Places, large: Path) -> None:
    size = 5 << 30
    os.truncate(large, size)
    with open(large, "r+b") as file:
        file.seek(size - 5)
        file.write(b"tail!")
    action = ChainPut(cluster.hosts[:2], large, places.pattern, cluster.connection_params).start()
    peak = 0
    while not action.ended:
        action.wait(0.3)
        if (pid := writer_of(places.each[1])) is not None:
            try:
                found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
                peak = max(peak, int(found[1]) if found else 0)
            except FileNotFoundError:
                pass
    assert action.ok
    assert 0 < peak < 40_000
    for place in places.each[:2]:
        copy = place / "large"
        assert copy.stat().st_size == size
        assert copy.stat().st_blocks * 512 < 100 << 20          # holes stay holes
        with open(copy, "rb") as file:
            file.seek(size - 5)
            assert file.read() == b"tail!"


@pytest.mark.parametrize("without", [("openssl",), ("openssl", "sha256sum")], ids=["sha256sum", "Digest::SHA"])
def test_each_way_to_have_a_sha256_gives_the_same(tmp_path: Path, without: tuple[str, ...]) -> None:
    names = [tmp_path / "large", tmp_path / "small"]
    names[0].write_bytes(os.urandom(3 << 20))
    names[1].write_bytes(b"small")

    def sealed(text: str) -> str:
        head = subprocess.Popen(ARGUMENTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert head.stdin is not None
        assert head.stdout is not None
        with head:
            head.stdin.write(f"{len(text)}\n{text}" + head_line("t" * 64, 1.0, 1.0, map(str, names)))
            head.stdin.flush()
            found = next(line.split()[1] for line in head.stdout if line.startswith("sealed "))
            head.stdin.write("quit\n")
        return found

    usual = program().partition("\n")[2]
    changed = usual
    for tool in without:
        changed = changed.replace(f"['{tool}'", "['no-such-program'")
    assert changed != usual
    assert sealed(changed) == sealed(usual)
    if len(without) == 1:
        assert sealed(changed.replace("require Digest::SHA;", "die;")) == sealed(usual)
