"""How a LocalCluster begins, for whom, and what it says when it cannot; `python -m execo.localcluster`."""

from __future__ import annotations

import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kinds import KINDS, require_kind
from requirements import require

import execo
from execo._localcluster import tools
from execo.localcluster import LocalCluster
from execo.ssh_utils import get_ssh_command

pytestmark = pytest.mark.requires("ssh")
SOURCE = str(Path(execo.__file__).resolve().parent.parent)


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    require_kind(request.param)
    return str(request.param)


def ssh(cluster: LocalCluster, command: str) -> str:
    arguments = [*get_ssh_command(connection_params=cluster.connection_params), cluster.hosts[0].address, command]
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "found 0"),
        ((-1,), ValueError, "found -1"),
        ((20000,), ValueError, "found 20000"),
        (("3",), TypeError, "found '3'"),
        ((True,), TypeError, "found True"),
        ((2.0,), TypeError, r"found 2\.0"),
        ((1, "docker"), ValueError, "found 'docker'"),
        ((1, None, "dropbear"), ValueError, "found 'dropbear'"),
        ((1, "namespaces", "paramiko"), ValueError, "needs server='sshd'"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LocalCluster(*arguments)


@pytest.mark.requires("namespaces")
@pytest.mark.parametrize(("tool", "package"), [("ip", "iproute2"), ("unshare", "util-linux"), ("sshd", "openssh-server")])
def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tool: str, package: str) -> None:
    found = tools.find_tool
    monkeypatch.setattr(tools, "find_tool", lambda name: None if name == tool else found(name))
    with pytest.raises(FileNotFoundError, match=f"'{tool}'.*apt-get install {package}"):
        LocalCluster(1, isolation="namespaces").start()


def test_missing_paramiko_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    cluster = LocalCluster(1, server="paramiko")
    with pytest.raises(ImportError, match=r"pip install 'execo\[localcluster\]'"):
        cluster.start()
    assert cluster.directory is None


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require("sshd")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("execo._localcluster.cluster.HERE", tmp_path)
    with pytest.raises(OSError, match="supervisor"):
        LocalCluster(1, server="sshd").start()
    assert list(tmp_path.iterdir()) == []


# As an ordinary user: the tests of an ordinary user prove it all; here, root becomes one.

ORDINARY = """
import os, subprocess, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid}); os.environ["HOME"] = {home!r}; os.chdir("/")
sys.path[:0] = {path!r}
from execo.localcluster import LocalCluster
with LocalCluster(20, server='SERVER') as cluster:
    options = cluster.connection_params["ssh_options"]
    for host in (cluster.hosts[19].address, "node-3"):
        out = subprocess.run(["ssh", *options, host, "id -u; tty"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        print(out.stdout.split(), out.stderr, out.returncode)
print(cluster)
try:
    LocalCluster(1, isolation="namespaces").start()
except PermissionError as error:
    print(error)
"""


@pytest.fixture
def public_tmp() -> Iterator[Path]:
    """A folder that any user can enter, which `tmp_path` is not."""
    folder = Path(tempfile.mkdtemp(prefix="execo-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def run_as_ordinary_user(public_tmp: Path, script: str, *mounts_before: str) -> subprocess.CompletedProcess[str]:
    """Run it, with `{uid}`, `{home}` and `{path}` filled in, as a user with an account and a shell."""
    uid = 65000 + os.getpid() % 500
    home = public_tmp / "home"
    home.mkdir()
    os.chown(home, uid, uid)
    accounts = public_tmp / "passwd"
    accounts.write_text(Path("/etc/passwd").read_text() + f"localcluster:x:{uid}:{uid}::{home}:/bin/sh\n")
    # In a mount namespace of its own, the account exists, and Python is where others than its owner can read it.
    mounts = [f"mount --bind {accounts} /etc/passwd", *mounts_before]

    def visible(folder: str) -> str:
        target = public_tmp / f"mount-{len(mounts)}"
        target.mkdir()
        mounts.append(f"mount --bind {shlex.quote(folder)} {target}")
        return str(target)

    python = Path(sys.executable).resolve().relative_to(Path(sys.base_prefix).resolve())
    prefix = visible(sys.base_prefix)
    environment = {**os.environ, "TMPDIR": "/tmp", "LD_LIBRARY_PATH": f"{prefix}/lib"}  # of a Python that is shared
    folders = [path for path in sys.path if os.path.isdir(path) and not Path(path).is_relative_to(sys.base_prefix)]
    script = script.format(uid=uid, home=str(home), path=[*map(visible, folders)])
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh", f"{prefix}/{python}", "-c", script],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=environment,
    )


# What the distributions mount, and what some containers do, where sshd cannot give its terminals to the group tty.
TERMINALS = [
    "mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts /dev/pts",
    "mount --bind /dev/pts/ptmx /dev/ptmx",
]
POOR_TERMINALS = [TERMINALS[0].replace("gid=5,mode=620,", ""), TERMINALS[1]]


@pytest.mark.requires("namespaces")
@pytest.mark.parametrize("server", ["sshd", "paramiko"])
def test_an_ordinary_user_can_have_a_cluster(public_tmp: Path, server: str) -> None:
    require(server)
    done = run_as_ordinary_user(public_tmp, ORDINARY.replace("SERVER", server), *TERMINALS)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    for line in lines[:2]:
        assert line.endswith("'/dev/pts/0']  0")
        assert not line.startswith("['0'")
    assert lines[2:] == [
        f"<LocalCluster(20, server='{server}'), not running>",
        "isolation='namespaces' needs root (sudo); isolation=None does not",
    ]


@pytest.mark.requires("namespaces", "sshd", "paramiko")
def test_an_ordinary_user_gets_paramiko_where_sshd_could_not_open_terminals(public_tmp: Path) -> None:
    done = run_as_ordinary_user(public_tmp, ORDINARY.replace("'SERVER'", "None"), *POOR_TERMINALS)
    assert done.stderr == ""
    assert "<LocalCluster(20, server='paramiko'), not running>" in done.stdout


@pytest.mark.requires("namespaces", "sshd")
def test_sshd_that_could_not_open_terminals_is_refused(public_tmp: Path) -> None:
    done = run_as_ordinary_user(public_tmp, ORDINARY.replace("SERVER", "sshd"), *POOR_TERMINALS)
    assert "OSError: a local cluster with server='sshd' cannot run: /dev/pts does not" in done.stderr


# python -m execo.localcluster


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "execo.localcluster", *arguments]


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_ends_cleanly_by_a_signal(kind: str, sig: signal.Signals) -> None:
    options = [f"--{name}={value}" for name, value in KINDS[kind].items()]
    with subprocess.Popen(
        command_line("2", *options), cwd=SOURCE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    ) as process:
        assert process.stdout is not None
        text = ""
        while "ends it." not in text:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            text += line
        directory = text.split("attach('")[1].split("')")[0]
        assert "here" in ssh(LocalCluster.attach(directory), "echo here")
        [shown] = [line.split() for line in text.splitlines() if line.strip().startswith("ssh ")]
        done = subprocess.run([*shown, "echo", "there"], capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("there\n", "")
        os.killpg(process.pid, sig)
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    assert not Path(directory).exists()


def test_the_command_ends_cleanly_by_the_end_of_its_terminal(kind: str) -> None:
    options = [f"--{name}={value}" for name, value in KINDS[kind].items()]
    master, slave = pty.openpty()
    with subprocess.Popen(
        command_line("1", *options), cwd=SOURCE, stdin=slave, stdout=subprocess.PIPE, text=True
    ) as process, os.fdopen(master, "wb", buffering=0) as terminal:
        os.close(slave)
        assert process.stdout is not None
        while "Ctrl-D ends it." not in (line := process.stdout.readline()):
            assert line
        terminal.write(b"\x04")
        assert process.wait(30) == 0


def test_the_command_says_in_one_line_what_is_wrong() -> None:
    done = subprocess.run(command_line("0"), cwd=SOURCE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "python -m execo.localcluster: number of hosts: expected 1 to 10000, found 0\n"
