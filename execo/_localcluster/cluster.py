"""`LocalCluster`: its life, seen from the process that owns it."""

from __future__ import annotations

import atexit
import json
import os
import re
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from execo._localcluster import params as files
from execo._localcluster import tools
from execo._localcluster.localhost import LocalHost
from execo.log import logger

if TYPE_CHECKING:
    from typing_extensions import Self

START_TIMEOUT = 120.0
"""Seconds that the server has to say that it is ready."""
STOP_TIMEOUT = 60.0
"""Seconds that `stop` waits for the supervisor."""
HERE = Path(__file__).resolve().parent

_running: weakref.WeakSet[LocalCluster] = weakref.WeakSet()


@dataclass(frozen=True)
class _NamespaceHost:
    """A host with namespaces of its own."""

    name: str
    address: str
    pid: int
    """Pid of its init, as the owner sees it: `nsenter -t PID -n -u -p -m` enters the host, SIGKILL crashes it."""
    link: str
    """Name of its link in the switch: `nsenter -t SWITCH -n ip link set LINK down` cuts it off."""
    switch: int
    """Pid of the process whose network namespace is the switch."""


class LocalCluster:
    """Throw-away ssh hosts on this machine; see `execo.localcluster` for what is guaranteed.

    Use it with `with`, or call `start()` and `stop()`; a stopped cluster can be started again, with new addresses.
    `start` and `stop` may be called by any thread, one at a time; the attributes are only read after `start`.

    :param n: number of hosts, at least 1.
    :param isolation: None: the hosts are addresses of one server of this user, and share everything else;
        "namespaces": each has its own network, address, hostname and processes (root only).
    :param server: "sshd" (OpenSSH), "paramiko", or None: sshd if it is installed and can serve this user, else
        paramiko.
    :param sshd_options: {name: value} as in sshd_config(5), instead of ours: ``{"MaxStartups": "10:30:100"}``.
    :raises PermissionError: namespaces without being root.
    :raises FileNotFoundError: a program is missing; the message names its Debian package.
    :raises ImportError: paramiko is needed and missing.
    :raises OSError: at start, if the server cannot run; the message says why.
    """

    def __init__(
        self,
        n: int,
        isolation: str | None = None,
        server: str | None = None,
        sshd_options: Mapping[str, str | int] | None = None,
    ) -> None:
        if type(n) is not int:  # nor a bool
            raise TypeError(f"number of hosts: expected an int, found {n!r}")
        if not 1 <= n <= 10000:
            raise ValueError(f"number of hosts: expected 1 to 10000, found {n}")
        if isolation not in (None, "namespaces"):
            raise ValueError(f"isolation: expected None or 'namespaces', found {isolation!r}")
        if server not in (None, "sshd", "paramiko"):
            raise ValueError(f"server: expected None, 'sshd' or 'paramiko', found {server!r}")
        if isolation and server == "paramiko":
            raise ValueError("isolation='namespaces' needs server='sshd', found 'paramiko'")
        tools.require_linux()
        self.n = n
        self.isolation = isolation
        self.server = server or (
            "paramiko" if not isolation and tools.sshd_problem(tools.find_tool("sshd")) else "sshd"
        )
        self.sshd_options = files.checked_sshd_options(sshd_options, isolation, self.server)
        self.hosts: list[LocalHost] = []
        self.names: list[str] = files.node_names(n)
        """node-1 to node-N: ssh knows them too, through `connection_params`."""
        self.boot_script = ""
        """Lines of sh that each host with namespaces runs before its sshd, whenever it boots; to be set before `start`.  `$1` is
        `directory`, `$2` the name of the host; the variable `sshd_config` names the configuration of its sshd."""
        self.connection_params: dict[str, Any] = {}
        self.directory: Path | None = None
        """Private directory with the keys, the configuration and the log; None unless running."""
        self._namespace_hosts: list[_NamespaceHost] = []
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._owned = False
        """Whether `directory` is ours to remove: not when attached, nor in a forked child."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        state = f" in {self.directory}" if self.directory else ", not running"
        isolation = f", isolation={self.isolation!r}" if self.isolation else ""
        return f"<LocalCluster({self.n}{isolation}, server={self.server!r}){state}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Make the hosts; returns when all answer.  Does nothing if they run already."""
        with self._lock:
            if self.directory is None:
                try:
                    self._start()
                except BaseException:
                    self._stop()
                    raise
        return self

    def stop(self) -> None:
        """End the hosts and all that was started on them; returns when nothing is left.

        Does nothing if they do not run, or in a process forked from the one that started them.
        """
        with self._lock:
            self._stop()

    @classmethod
    def attach(cls, directory: str | os.PathLike[str]) -> LocalCluster:
        """The hosts of a cluster that another process runs, by its `directory`; `stop` leaves them alone."""
        text = (Path(directory) / files.DESCRIPTION).read_text(encoding="utf-8")
        description = json.loads(text)
        cluster = cls(len(description["addresses"]), description["isolation"], description["server"])
        cluster.directory = Path(directory).resolve()
        cluster._describe(**description)
        return cluster

    def _start(self) -> None:
        account = tools.current_account()
        if self.isolation and os.getuid() != 0:
            raise PermissionError("isolation='namespaces' needs root (sudo); isolation=None does not")
        if self.server == "sshd" and (problem := tools.sshd_problem(tools.require_tool("sshd", "openssh-server"))):
            raise OSError(f"a local cluster with server='sshd' cannot run: {problem}; or use server='paramiko'")
        tools.require_tool("ssh", "openssh-client")
        self._owned = True
        self.directory = directory = Path(tempfile.mkdtemp(prefix="execo-localcluster-")).resolve()
        tools.make_keys(str(directory / files.HOST_KEY), str(directory / files.CLIENT_KEY))
        (directory / files.CLIENT_KEY).with_suffix(".pub").replace(directory / files.AUTHORIZED_KEYS)
        command, environment = self._server_command(directory)
        ready = self._supervise(directory, command, environment)
        if "hosts" in ready:
            switch = ready["switch"]
            self._namespace_hosts = [_NamespaceHost(**host, switch=switch) for host in ready["hosts"]]
            ready["addresses"] = [host.address for host in self._namespace_hosts]
        addresses, port, user = ready["addresses"], ready["port"], account.pw_name
        ssh_config = files.ssh_config(directory, user, port, dict(zip(self.names, addresses, strict=True)))
        (directory / files.SSH_CONFIG).write_text(ssh_config, encoding="utf-8")
        self._describe(addresses, user, port)
        description = {"addresses": addresses, "user": user, "port": port}
        description |= {"isolation": self.isolation, "server": self.server}
        (directory / files.DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")

    def _describe(self, addresses: list[str], user: str, port: int, **_: object) -> None:
        assert self.directory is not None
        self.hosts = [
            LocalHost(address, name, self.directory, self.isolation) for name, address in zip(self.names, addresses, strict=True)
        ]
        self.connection_params = files.connection_params(self.directory, user, port)

    def _server_command(self, directory: Path) -> tuple[list[str], dict[str, str]]:
        """Command and environment of the server."""
        environment = dict(os.environ)
        if self.server == "paramiko":
            _require_paramiko()
            # The server imports execo, but the user's ~/.execo.conf.py is for the owner: without HOME none is found.
            environment.pop("HOME", None)
            environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path)
            keywords: dict[str, Any] = {"n": self.n, "directory": str(directory)}
            return [sys.executable, "-m", "execo._localcluster.paramiko_server", json.dumps(keywords)], environment
        sshd = tools.require_tool("sshd", "openssh-server")
        config = directory / files.SSHD_CONFIG
        language = {name: os.environ.get(name, "") for name in ("LANG", "LC_ALL")}
        config.write_text(
            files.sshd_config(
                directory,
                use_pam=tools.needs_pam(),
                port=22 if self.isolation else None,
                penalties=bool(self.isolation) and tools.sshd_version(sshd) >= (9, 8),
                environment={name: value for name, value in language.items() if re.fullmatch(r"[\w.@-]+", value)},
                options=self.sshd_options,
            ),
            encoding="utf-8",
        )
        tools.make_privilege_separation_directory()
        tools.check_config(sshd, str(config))
        if self.isolation:
            if self.boot_script:
                (directory / files.BOOT).write_text(self.boot_script, encoding="utf-8")
            for tool, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")):
                tools.require_tool(tool, package)
            uplink = f"lc{secrets.token_hex(5)}"  # 15 characters at most
            keywords = {"names": self.names, "directory": str(directory), "sshd": sshd, "uplink": uplink}
            keywords["control"] = files.CONTROL
            program = "namespaces_server.py"
        else:
            keywords = {
                "n": self.n,
                "log": str(directory / files.LOG),
                "command": [sshd, "-i", "-e", "-f", str(config)],
            }
            program = "sshd_server.py"
        return [sys.executable, "-I", "-S", str(HERE / program), json.dumps(keywords)], environment

    def _supervise(self, directory: Path, command: list[str], environment: dict[str, str]) -> dict[str, Any]:
        """Start the supervisor with the server; returns what the server says when it is ready."""
        supervisor = [sys.executable, "-I", "-S", str(HERE / "supervisor.py"), str(directory)]
        _running.add(self)  # before the pipe exists, so that a fork in another thread finds it
        with open(directory / files.LOG, "ab") as log:
            self._supervisor = subprocess.Popen(
                supervisor + command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        assert self._supervisor.stdout is not None
        poll = select.poll()
        poll.register(self._supervisor.stdout, select.POLLIN)
        line = self._supervisor.stdout.readline() if poll.poll(START_TIMEOUT * 1000) else b""
        ready: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        if not ready or "error" in ready:
            log_text = (directory / files.LOG).read_text(encoding="utf-8", errors="replace").strip()
            raise OSError(f"{self!r} did not start: {ready.get('error') or log_text or 'no message'}")
        return ready

    def _stop(self) -> None:
        _running.discard(self)
        supervisor, self._supervisor = self._supervisor, None
        directory, self.directory = self.directory, None
        self.hosts, self.connection_params, self._namespace_hosts = [], {}, []
        if supervisor is not None:
            assert supervisor.stdin is not None
            assert supervisor.stdout is not None
            supervisor.stdin.close()  # the life line
            supervisor.stdout.close()
            try:
                supervisor.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                logger.error("local cluster: supervisor %i is still killing processes", supervisor.pid)
                return
        if directory is not None and self._owned:
            shutil.rmtree(directory, ignore_errors=True)
        self._owned = False

    def _forget(self) -> None:
        """In a forked child: the cluster is the parent's, and must end with it whatever this process does."""
        self._lock = threading.Lock()
        self._owned = False
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            assert supervisor.stdin is not None
            assert supervisor.stdout is not None
            supervisor.stdin.close()
            supervisor.stdout.close()
            supervisor.returncode = 0  # not our child: nothing to reap


def _require_paramiko() -> None:
    if find_spec("paramiko") is None:
        raise ImportError(
            "a local cluster needs paramiko (pip install 'execo[localcluster]'), "
            f"or server='sshd': {tools.sshd_problem(tools.find_tool('sshd')) or 'which can be had here'}"
        )


def _forget_all() -> None:
    for cluster in list(_running):
        cluster._forget()
    _running.clear()


def _stop_all() -> None:
    for cluster in list(_running):
        cluster.stop()


os.register_at_fork(after_in_child=_forget_all)
atexit.register(_stop_all)
