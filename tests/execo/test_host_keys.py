"""Host keys, checked by the real ssh against real servers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from connector import without_tty

from execo.action import Get, Put, Remote
from execo.localcluster import LocalCluster
from execo.process import SshProcess

QUIET = {"nolog_exit_code": True}


@pytest.fixture
def changed(ssh_hosts: LocalCluster, tmp_path: Path) -> Path:
    """A file of known keys with a wrong one for the first host."""
    key = tmp_path / "other_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text().split()[:2]
    known = tmp_path / "changed"
    known.write_text(f"[{ssh_hosts.hosts[0].address}]:{ssh_hosts.connection_params['port']} {' '.join(public)}\n")
    return known


def params(cluster: LocalCluster, tty: bool = True, **more: Any) -> dict[str, Any]:
    return {**(cluster.connection_params if tty else without_tty(cluster.connection_params)), **more}


@pytest.mark.parametrize("name", ["known", "known hosts"])
def test_accept_new_keeps_the_first_key_and_strict_takes_it(ssh_hosts: LocalCluster, tmp_path: Path, name: str) -> None:
    known = tmp_path / name
    for _ in range(2):
        accepted = Remote("echo ok", ssh_hosts.hosts[:2], params(ssh_hosts, host_keys="accept-new", known_hosts=known)).run()
        assert accepted.finished_ok
    lines = known.read_text().splitlines()
    assert len(lines) == 2
    assert any(ssh_hosts.hosts[0].address in line for line in lines)
    strict = Remote("echo ok", ssh_hosts.hosts[:3], params(ssh_hosts, host_keys="strict", known_hosts=str(known)), QUIET).run()
    assert [process.ok for process in strict.processes] == [True, True, False]
    assert len(known.read_text().splitlines()) == 2


@pytest.mark.parametrize("tty", [True, False])
@pytest.mark.parametrize("host_keys", ["accept-new", "strict"])
def test_a_changed_key_is_refused_and_not_tried_again(ssh_hosts: LocalCluster, changed: Path, tmp_path: Path, host_keys: str, tty: bool,
                                                      caplog: pytest.LogCaptureFixture) -> None:
    before = changed.read_text()
    process = SshProcess(f"touch {tmp_path}/ran", ssh_hosts.hosts[0], params(
        ssh_hosts, tty, host_keys=host_keys, known_hosts=changed, connect_retries=3, connect_retry_delay=0.01), nolog_exit_code=True).run()
    assert process.exit_code == 255
    assert "Host key verification failed" in process.stderr
    assert process.unreachable == tty           # without a terminal the command could have said so
    assert "no connection to" not in caplog.text
    assert not (tmp_path / "ran").exists()
    assert changed.read_text() == before


def test_strict_refuses_an_unknown_host(ssh_hosts: LocalCluster, tmp_path: Path) -> None:
    process = SshProcess("true", ssh_hosts.hosts[0], params(ssh_hosts, host_keys="strict", known_hosts=tmp_path / "none"),
                         nolog_exit_code=True).run()
    assert process.unreachable
    assert process.connection_failure is not None
    assert not process.connection_failure.retryable
    assert not (tmp_path / "none").exists()


def test_ignore_takes_any_key(ssh_hosts: LocalCluster, changed: Path) -> None:
    assert SshProcess("true", ssh_hosts.hosts[0], params(ssh_hosts, host_keys="ignore", known_hosts=changed)).run().ok
    assert SshProcess("true", ssh_hosts.hosts[0], params(ssh_hosts)).run().ok


def test_copies_check_them_too(ssh_hosts: LocalCluster, changed: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    checked = params(ssh_hosts, host_keys="strict", known_hosts=changed)
    put = Put(ssh_hosts.hosts[0], tmp_path / "f", str(tmp_path / "t"), checked, process_args=QUIET).run()
    get = Get(ssh_hosts.hosts[0], str(tmp_path / "f"), str(tmp_path / "t"), checked, process_args=QUIET).run()
    assert [action.processes[0].unreachable for action in (put, get)] == [True, True]
    assert not (tmp_path / "t").exists()
    new = params(ssh_hosts, host_keys="accept-new", known_hosts=tmp_path / "new")
    assert Put(ssh_hosts.hosts[0], tmp_path / "f", str(tmp_path / "t"), new).run().finished_ok
    assert (tmp_path / "new").read_text()


@pytest.mark.parametrize(("bad", "message"), [
    ({"host_keys": "yes"}, "host_keys"), ({"host_keys": True}, "host_keys"), ({"known_hosts": "f"}, "without host_keys"),
    ({"host_keys": "strict", "known_hosts": 'a"b'}, "known_hosts"),
])
def test_bad_values_are_refused_at_once(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SshProcess("true", "h", bad)
