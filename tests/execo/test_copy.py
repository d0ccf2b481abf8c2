"""Put and Get, with the real scp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from connector import without_tty

from execo.action import Get, Put
from execo.host import Host
from execo.localcluster import LocalCluster

NAMES = ["plain", "with blank", "it's", 'a "quote"', "-rf", "-oProxyCommand=touch trap", "12:30.log", "été", "a\nb", "$HOME", "`id`", "a;b",
         "[ab]", "*", "#x", "~", "a\\b", " "]


def words_after_options(action: Any, index: int = 0) -> list[str]:
    """The files in the command of a process."""
    words = list(action.processes[index].cmd)
    return words[words.index("-rp") + 1:]


def test_put_and_get_a_file(any_hosts: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\0content\xff")
    put = Put(any_hosts.hosts, [tmp_path / "x"], f"{tmp_path}/there-{{{{{{host}}}}}}", any_hosts.connection_params).run()
    assert put.finished_ok
    assert put.name == "Put to 3 hosts"
    assert [process.host for process in put.processes] == any_hosts.hosts
    get = Get(any_hosts.hosts, [f"{tmp_path}/there-{{{{{{host}}}}}}"], tmp_path / "back-{{{host}}}", any_hosts.connection_params).run()
    assert get.finished_ok
    assert get.name == "Get from 3 hosts"
    assert [(tmp_path / f"back-{host.address}").read_bytes() for host in any_hosts.hosts] == [b"\0content\xff"] * 3


def test_directories_and_several_names(any_hosts: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "sub" / "a").write_text("a")
    (tmp_path / "file").write_text("b")
    targets = ["one", "two", "three"]
    for name in targets:
        (tmp_path / name).mkdir()
    put = Put(any_hosts.hosts, [str(tmp_path / "folder"), str(tmp_path / "file")], f"{tmp_path}/{{{{targets}}}}",
              any_hosts.connection_params).run()
    assert put.finished_ok
    for name in targets:
        assert (tmp_path / name / "folder" / "sub" / "a").read_text() == "a"
        assert (tmp_path / name / "file").read_text() == "b"
    (tmp_path / "back").mkdir()
    get = Get(any_hosts.hosts[:1], [f"{tmp_path}/{{{{targets}}}}/folder", f"{tmp_path}/one/file"], f"{tmp_path}/back",
              any_hosts.connection_params).run()
    assert get.finished_ok
    assert sorted(path.name for path in (tmp_path / "back").rglob("*")) == ["a", "file", "folder", "sub"]


def test_names_that_need_care_arrive_as_they_are(ssh_hosts: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, there, back = (tmp_path / name for name in ("source", "there", "back"))
    for folder in (source, there, back):
        folder.mkdir()
    for name in NAMES:
        (source / name).write_text(name)
    monkeypatch.chdir(source)
    host = ssh_hosts.hosts[0]
    put = Put([host], NAMES, str(there), ssh_hosts.connection_params).run()
    assert put.finished_ok
    assert sorted(path.name for path in there.iterdir()) == sorted(NAMES)
    assert [(there / name).read_text() for name in NAMES] == NAMES
    monkeypatch.chdir(back)
    # scp reads the characters * ? [ \ of a remote name as a pattern, which scripts use.
    plain = [name for name in NAMES if not set(name) & set("*[\\")]
    get = Get([host], [f"{there}/{name}" for name in plain], ".", ssh_hosts.connection_params).run()
    assert get.finished_ok
    assert [(back / name).read_text() for name in plain] == plain
    for name in ("-rf", "12:30.log"):
        renamed = Get([host], [f"{there}/{name}"], "-to" + name.replace("/", ""), ssh_hosts.connection_params).run()
        assert renamed.finished_ok
        assert (back / ("-to" + name)).read_text() == name
    assert not (source / "trap").exists()
    assert not (back / "trap").exists()


def test_patterns_in_remote_names(ssh_hosts: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    for name in ("a.log", "b.log", "c.txt"):
        (tmp_path / name).write_text(name)
    assert Get(ssh_hosts.hosts[:1], f"{tmp_path}/*.log", str(tmp_path / "to"), ssh_hosts.connection_params).run().finished_ok
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["a.log", "b.log"]


def test_a_string_or_a_path_is_one_file(ssh_hosts: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "long name").write_text("x")
    assert words_after_options(Put("h", "long name", "to")) == ["long name", "h:to"]
    assert words_after_options(Get("h", "/long name", "to")) == ["h:/long name", "to"]
    for name in (str(tmp_path / "long name"), tmp_path / "long name"):
        (tmp_path / "to").unlink(missing_ok=True)
        assert Put(ssh_hosts.hosts[:1], name, str(tmp_path / "to"), ssh_hosts.connection_params).run().finished_ok
        assert (tmp_path / "to").read_text() == "x"


def test_names_and_locations_are_substituted() -> None:
    letters = ["a", "b"]
    put = Put(["h1", "h2"], ["{{letters}}.{{{host}}}", "-{{letters}}"], "{{letters[::-1]}}/")
    assert [words_after_options(put, i) for i in (0, 1)] == [["a.h1", "./-a", "h1:b/"], ["b.h2", "./-b", "h2:a/"]]
    get = Get(["h1", "h2"], ["{{letters}}"], "{{letters}}.{{{host}}}")
    assert [words_after_options(get, i) for i in (0, 1)] == [["h1:a", "a.h1"], ["h2:b", "b.h2"]]
    assert letters


@pytest.mark.parametrize(("address", "location"), [
    ("::1", "[::1]:x"), ("[fe80::1%eth0]", "[fe80::1%eth0]:x"), ("u@2001:db8::1", "u@[2001:db8::1]:x"), ("10.0.0.1", "10.0.0.1:x"),
])
def test_ipv6_addresses_are_bracketed(address: str, location: str) -> None:
    assert words_after_options(Put(address, "f", "x")) == ["f", location]
    assert words_after_options(Get(address, "x", "f")) == [location, "f"]


def test_no_file_is_no_process() -> None:
    for action in (Put(["h1", "h2"], [], "x"), Get(["h1"], (), "x"), Put([], ["f"]), Get([], "f")):
        assert (action.run().finished_ok, action.processes) == (True, [])
        assert action.reset().run().finished_ok


def test_missing_files_and_places_fail_that_host_only(any_hosts: LocalCluster, tmp_path: Path) -> None:
    quiet = {"nolog_exit_code": True}
    (tmp_path / "f").write_text("x")
    names = ["f", "missing", "f"]                   # noqa: F841    # named in the command
    put = Put(any_hosts.hosts, f"{tmp_path}/{{{{names}}}}", f"{tmp_path}/to-{{{{{{host}}}}}}", any_hosts.connection_params,
              process_args=quiet).run()
    assert [process.ok for process in put.processes] == [True, False, True]
    assert "No such file" in put.processes[1].stderr
    get = Get(any_hosts.hosts, f"{tmp_path}/{{{{names}}}}", str(tmp_path / "got-{{{host}}}"), any_hosts.connection_params,
              process_args=quiet).run()
    assert [process.ok for process in get.processes] == [True, False, True]
    assert put.unreachable_processes == get.unreachable_processes == []
    nowhere = Put(any_hosts.hosts[:1], tmp_path / "f", str(tmp_path / "no" / "such" / "folder"), any_hosts.connection_params,
                  process_args=quiet).run()
    assert not nowhere.ok
    assert not Get(any_hosts.hosts[:1], str(tmp_path / "f"), "/proc/no/place", any_hosts.connection_params, process_args=quiet).run().ok


def test_copies_in_the_older_protocol(ssh_hosts: LocalCluster, tmp_path: Path) -> None:
    params = {**ssh_hosts.connection_params, "scp_options": (*ssh_hosts.connection_params["scp_options"], "-O")}
    (tmp_path / "-f").write_text("x")
    assert Put(ssh_hosts.hosts[:2], str(tmp_path / "-f"), f"{tmp_path}/{{{{{{host}}}}}}", params).run().finished_ok
    assert (tmp_path / ssh_hosts.hosts[1].address).read_text() == "x"


@pytest.mark.parametrize("kind", [Put, Get])
def test_options_in_place_of_names_are_refused_or_harmless(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evil = "-oProxyCommand=touch trap"
    for host in (evil, Host(evil), Host("127.0.0.1", user=evil)):
        with pytest.raises(ValueError, match="ProxyCommand"):
            kind(host, "f", "t").run()
    with pytest.raises(ValueError, match="ProxyCommand"):
        kind("127.0.0.1", "f", "t", {"user": evil}).run()
    refused = {"port": 1, "scp_options": ("-F", "none", "-o", "BatchMode=yes", "-rp")}
    for names, location in ((evil, "t"), ("t", evil), (["-S", "touch trap"], "-F")):
        action = kind("127.0.0.1", names, location, refused, process_args={"nolog_exit_code": True}).run(60)
        assert action.ended
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("files", "error"), [([1], TypeError), (1, TypeError), (None, TypeError), ([b"f"], TypeError),
                                              ([""], ValueError), (["a\0b"], ValueError)])
def test_what_is_no_file_name_is_refused_at_once(files: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Put("h", files)


def test_an_unreachable_host_is_told_from_a_missing_file(ssh_hosts: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    dead = Host(ssh_hosts.hosts[0].address, port=1)
    put = Put([ssh_hosts.hosts[0], dead], tmp_path / "f", str(tmp_path / "t"), ssh_hosts.connection_params,
              process_args={"nolog_exit_code": True}).run()
    assert [process.unreachable for process in put.processes] == [False, True]
    assert put.stats()["unreachable"] == 1


def test_text_and_reset(ssh_hosts: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    assert repr(Put("h", "f", "t", fanout=3)) == "Put([Host('h')], ['f'], remote_location='t', fanout=3)"
    assert repr(Get("h", "f", "t")) == "Get([Host('h')], ['f'], local_location='t')"
    put = Put(ssh_hosts.hosts[:2], tmp_path / "f", str(tmp_path / "t-{{{host}}}"), without_tty(ssh_hosts.connection_params)).run()
    put.hosts = ssh_hosts.hosts[2:3]
    assert put.reset().run().finished_ok
    assert (tmp_path / f"t-{ssh_hosts.hosts[2].address}").read_text() == "x"
