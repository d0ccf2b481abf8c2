"""The hosts of a `LocalCluster`, and the faults that those with namespaces can have."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from execo._localcluster import faults, tools
from execo._localcluster import params as files
from execo.host import Host

if TYPE_CHECKING:
    from typing_extensions import Self

ANSWER_TIMEOUT = 90.0
"""Seconds that the server of the cluster has to do what it is asked; to boot a host takes the longest."""
FREEZE_TIMEOUT = 10.0
PACKAGES = {"nft": "nftables", "tc": "iproute2", "ip": "iproute2", "mount": "mount", "umount": "mount"}


class Fault:
    """A fault in force, until `undo()`, the end of its ``with`` block, `LocalHost.mend()` or the end of the cluster."""

    def __init__(self, host: LocalHost, kind: str, undo: Callable[[], None]) -> None:
        self.host = host
        self.kind = kind
        self._undo = undo

    def __repr__(self) -> str:
        return f"<Fault {self.kind} of {self.host.name}{'' if self.in_force else ', undone'}>"

    @property
    def in_force(self) -> bool:
        """False once it is undone, and when the host has crashed or booted, which ends its other faults."""
        return self.host._faults.get(self.kind) is self

    def undo(self) -> None:
        """As before.  Does nothing if it is not in force."""
        with self.host._lock:
            if self.in_force:
                del self.host._faults[self.kind]
                self._undo()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.host._runs():  # with the cluster, all its faults have ended
            self.undo()


class LocalHost(Host):
    """A host of a `LocalCluster`, with faults on demand if the cluster has ``isolation="namespaces"``.

    Each fault begins at once and returns a `Fault`, which is undone by its ``undo()``, or at the end of a block::

        with host.cut():
            ...

    Those of one kind do not nest (RuntimeError); of different kinds they do.  They are in force for all who use the
    host; who made one can undo it.  Copies of a host (``process.host``, ``action.hosts``) are plain `Host` objects.
    Any thread may call the methods.

    All raise NotImplementedError without namespaces; RuntimeError if the cluster has ended, if the host is down or if
    it has this fault already; FileNotFoundError naming the Debian package of a missing program; ValueError for a bad
    argument; OSError with what the program said if it refused.
    """

    def __init__(self, address: str, name: str, directory: Path, isolation: str | None) -> None:
        super().__init__(address)
        self.name = name
        """node-1 ...: its hostname, and what ssh knows it by."""
        self._directory = directory
        self._isolation = isolation
        self._faults: dict[str, Fault] = {}
        self._lock = threading.RLock()
        self._after_boot: Callable[[], None] | None = None
        """Called after each boot, before it counts as done."""

    def crash(self) -> Fault:
        """Kill the host whole.  Undone by booting it.

        Its open connections are closed, as when a machine is switched off in good order; for a power failure, after
        which nobody hears of it, `cut` it first.
        """
        with self._lock:
            init = self._where(up=True)["pid"]
            fd = os.pidfd_open(init)
            try:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                poll = select.poll()
                poll.register(fd, select.POLLIN)
                if not poll.poll(FREEZE_TIMEOUT * 1000):
                    raise OSError(f"{self.name}: its processes are not gone after {FREEZE_TIMEOUT:.0f} s")
            finally:
                os.close(fd)
            self._faults.clear()
            return self._enter("crash", self._boot)

    def boot(self) -> None:
        """Start the host after a crash, as new: without faults.  Returns when sshd listens."""
        with self._lock:
            self._where(up=False)
            self._faults.clear()
            self._boot()

    def _boot(self) -> None:
        self._ask(do="boot")
        if self._after_boot is not None:
            self._after_boot()

    @staticmethod
    def boot_all(hosts: Sequence[LocalHost]) -> None:
        """`boot` of several hosts of one cluster that are down, at the same time.

        :raises OSError: with the name of the first whose `_after_boot` fails; those of the others are called all the same.
        """
        with contextlib.ExitStack() as stack:
            for host in sorted(hosts, key=lambda host: host.name):      # in the same order whoever asks
                stack.enter_context(host._lock)
            for host in hosts:
                host._where(up=False)
                host._faults.clear()
            if hosts:
                hosts[0]._ask(do="boot", **{"with": [host.name for host in hosts[1:]]})
            failures: list[tuple[str, Exception]] = []
            for host in hosts:
                if host._after_boot is not None:
                    try:
                        host._after_boot()
                    except Exception as error:
                        failures.append((host.name, error))
            for name, failure in failures:
                raise OSError(f"{name}: {failure}") from failure

    def cut(self) -> Fault:
        """Take its link down: it is silent, as with the cable unplugged, and so connections to it time out."""
        return self._steps("cut", faults.cut, self._wait_link)

    def _wait_link(self) -> None:
        self._ask(do="wait")

    def drop(self, port: int | None = None) -> Fault:
        """Lose the packets that come for this TCP port, or all that come: connections time out, open ones stall."""
        faults.checked_port(port)
        return self._steps(f"drop {port or 'all'}", lambda link: faults.drop(port))

    def reject(self, port: int | None = None) -> Fault:
        """Reset connections to this TCP port, or to any: new ones are refused, open ones broken at their next packet."""
        faults.checked_port(port)
        return self._steps(f"reject {port or 'all'}", lambda link: faults.reject(port))

    def slow(self, rate: int | str) -> Fault:
        """Let so many bits per second through its link, in each direction: 64000, "64kbit", "1mbit"."""
        bits = faults.parse_rate(rate)
        return self._steps("slow", lambda link: faults.slow(link, bits))

    def delay(self, seconds: float) -> Fault:
        """Let what passes on its link take this much longer, in each direction: a round trip takes twice that longer."""
        if not 0 < seconds <= 60:
            raise ValueError(f"delay: expected more than 0 and at most 60 seconds, found {seconds!r}")
        with self._lock:
            self._where(up=True)
            self._check_free("delay")
            self._ask(do="delay", seconds=seconds)
            return self._enter("delay", self._undelay)

    def _undelay(self) -> None:
        self._ask(do="undelay")

    def tmpfs(self, path: str, size: int | str) -> Fault:
        """Mount a small file system, empty and writable by all, on an existing directory, seen by this host only.

        :param size: bytes, or "64k", "10m"; the kernel rounds up to pages.
        """
        number = faults.parse_size(size)
        if not os.path.isabs(path) or not os.path.isdir(path):
            raise ValueError(f"tmpfs: expected the absolute path of a directory, found {path!r}")
        return self._steps(f"tmpfs {path}", lambda link: faults.tmpfs(path, number))

    def freeze(self) -> Fault:
        """Stop all its processes: the kernel still accepts connections, but nobody answers."""
        with self._lock:
            init = self._where(up=True)["pid"]
            self._check_free("freeze")
            stopped = _stop_all(init)
            return self._enter("freeze", lambda: _continue(init, stopped))

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._undo("freeze")

    def mend(self) -> None:
        """Undo all faults, in the opposite order; a host that is down is booted."""
        with self._lock:
            if not self._where()["pid"]:
                self.boot()
            while self._faults:
                self._faults[next(reversed(self._faults))].undo()

    def run_inside(self, command: str | Sequence[str], input: str = "",
                   timeout: float | None = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in the host without ssh, so also while it is cut off or frozen; returns what it printed.

        :param command: for `sh`, or a list of arguments.
        :raises subprocess.TimeoutExpired: after `timeout` seconds; what runs is killed.
        """
        arguments = ["sh", "-c", command] if isinstance(command, str) else list(command)
        with self._lock:
            init = self._where(up=True)["pid"]
        # As the child of nsenter is in another pid namespace, killing nsenter would leave it alone.
        enter = [_nsenter(), "-t", str(init), "-n", "-u", "-p", "-m", "--", "setpriv", "--pdeathsig", "KILL", *arguments]
        return subprocess.run(enter, input=input, timeout=timeout, text=True, capture_output=True, check=False)

    def _steps(self, kind: str, steps: Callable[[str], list[faults.Step]],
               then: Callable[[], None] | None = None) -> Fault:
        """A fault that is made of commands; `then` is called after it was undone."""
        with self._lock:
            where = self._where(up=True)
            self._check_free(kind)
            done: list[faults.Step] = []

            def undo() -> None:
                for step in reversed(done):
                    if not step.inside or self._where()["pid"] == where["pid"]:
                        self._run(where, step.inside, step.undo)
                if then is not None:
                    then()

            try:
                for step in steps(where["link"]):
                    self._run(where, step.inside, step.make)
                    done.append(step)
            except BaseException:
                undo()
                raise
            return self._enter(kind, undo)

    def _run(self, where: dict[str, Any], inside: bool, command: list[str]) -> None:
        program = tools.require_tool(command[0], PACKAGES[command[0]])
        enter = ["-t", str(where["pid"]), "-n", "-p", "-m"] if inside else ["-t", str(where["switch"]), "-n"]
        done = subprocess.run([_nsenter(), *enter, "--", program, *command[1:]], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(f"{self.name}: {' '.join(command)}: {(done.stderr or done.stdout).strip()}")

    def _check_free(self, kind: str) -> None:
        if kind in self._faults:
            raise RuntimeError(f"{self.name} has this fault already: {kind}; undo it first")

    def _enter(self, kind: str, undo: Callable[[], None]) -> Fault:
        fault = self._faults[kind] = Fault(self, kind, undo)
        return fault

    def _undo(self, kind: str) -> None:
        with self._lock:
            if kind in self._faults:
                self._faults[kind].undo()

    def _runs(self) -> bool:
        """Whether the cluster does."""
        return (self._directory / files.CONTROL).exists()

    def _where(self, up: bool | None = None) -> dict[str, Any]:
        """Pid of its init (0 if it is down) as we see it, its link, pid of the switch; RuntimeError unless it is `up`, if given."""
        where = self._ask(do="where")
        if up is not None and bool(where["pid"]) != up:
            raise RuntimeError(f"{self.name} is down: boot() starts it" if up else f"{self.name} is not down")
        return where

    def _ask(self, **what: object) -> dict[str, Any]:
        """What the server of the cluster answers."""
        if self._isolation != "namespaces":
            raise NotImplementedError(
                f"faults of {self.name} need LocalCluster(n, isolation='namespaces') as root, found isolation={self._isolation!r}"
            )
        try:
            directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            raise RuntimeError(f"the cluster of {self.name} has ended") from None
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.settimeout(ANSWER_TIMEOUT)
                server.connect(f"/proc/self/fd/{directory}/{files.CONTROL}")  # the name of a socket must be short
                server.sendall(json.dumps({"host": self.name, **what}).encode() + b"\n")
                answer = b"".join(iter(lambda: server.recv(65536), b""))
        except (FileNotFoundError, ConnectionError):
            raise RuntimeError(f"the cluster of {self.name} has ended") from None
        finally:
            os.close(directory)
        told: dict[str, Any] = json.loads(answer or b'{"error": "the cluster ends"}')
        if "error" in told:
            raise OSError(f"{self.name}: {told['error']}")
        return told


def _nsenter() -> str:
    return tools.require_tool("nsenter", "util-linux")


def _stop_all(init: int) -> list[int]:
    """Stop all processes of the namespace of `init`; returns those that ran."""
    namespace = _namespace(init)
    stopped: list[int] = []
    deadline = time.monotonic() + FREEZE_TIMEOUT
    while running := [pid for pid in _processes() if _namespace(pid) == namespace and _state(pid) not in "TZX"]:
        if time.monotonic() > deadline:
            _continue(init, stopped)
            raise OSError(f"processes cannot be stopped: {running}")
        for pid in running:  # again until a look finds none: a process may fork before it stops
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        time.sleep(0.001)
    return list(dict.fromkeys(stopped))


def _continue(init: int, stopped: list[int]) -> None:
    namespace = _namespace(init)
    for pid in stopped:
        if namespace and _namespace(pid) == namespace:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:  # it has ended
        return ""


def _state(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "X"
    return stat.rpartition(b")")[2].split()[0].decode()
