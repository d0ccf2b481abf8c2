"""The small scheduler as the OAR of a site: one thread that starts and ends jobs, and a socket for the commands."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shlex
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from execo._localcluster import params, tools

from ..._oar.formats import format_oar_duration
from ..command_socket import CommandSocket, frame, words_of
from ..oarapi import ByOarApi
from ..oarapi_standin import StandIn
from . import fields as api
from . import texts
from .calendar import Calendar
from .commands import Answer as Said
from .commands import Call, Commands
from .model import Job, Schedule
from .processes import JobProcess, wait_for_any

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ..http import Answer, Request
    from ..site import SiteSetup

CLIENT = Path(__file__).with_name("client.py")
KADEPLOY_CLIENT = Path(__file__).parents[1] / "kadeploy" / "client.py"
JUMP_SECONDS = 0.05
"""How soon it sees that a clock that is not the system's has moved."""


class OwnOar(ByOarApi):
    """A `SiteOar`.  All methods may be called from any thread."""

    kind = "the box's own scheduler, not OAR"

    def __init__(self, setup: SiteSetup) -> None:
        self._setup = setup
        self.user = tools.current_account().pw_name
        self.commands = setup.directory / "commands"
        config = setup.directory / params.SSHD_CONFIG
        self.proxy_command = [tools.find_tool("sshd") or "/usr/sbin/sshd", "-i", "-f", str(config), "-E", str(setup.directory / "sshd.log")]
        self._lock = threading.RLock()
        self._clock = setup.clock
        calendar = Calendar(setup.charter, setup.rows)
        self._schedule = Schedule(setup.rows, self._to_start, self._to_kill, calendar.may_run, calendar.next_change)
        self._commands = Commands(setup.site, setup.rows, self._schedule, setup.clock, self.user, self._reach, _new_key,
                                  lambda job: calendar.objections(job, self._schedule, self._clock()))
        self._oarapi = StandIn(self._shown, self.resources, setup.clock, self._run)
        self._starting: list[Job] = []
        self._running: dict[int, JobProcess | None] = {}
        self._ending: set[int] = set()
        self._token = secrets.token_hex(8)
        self._thread: threading.Thread | None = None
        self._socket = CommandSocket(f"{setup.site}-commands", setup.directory / "oar", self._answer)
        self._stopping = False
        self._wake_out, self._wake_in = -1, -1

    # Life

    def start(self) -> None:
        """See `SiteOar`."""
        self._wake_out, self._wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for name in ("nodes", "home"):
            (self._setup.directory / name).mkdir(exist_ok=True)
        self._socket.start()
        self._write_commands(self._socket.path)
        self._write_sshd_config()
        self._thread = threading.Thread(target=self._run_jobs, name=f"{self._setup.site}-jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """See `SiteOar`."""
        with self._lock:
            self._stopping = True
        self._wake()
        if self._thread is not None:
            self._thread.join()
        self._socket.stop()
        for descriptor in (self._wake_out, self._wake_in):
            if descriptor >= 0:
                os.close(descriptor)
        self._wake_out = self._wake_in = -1

    def _write_commands(self, path: str) -> None:
        self.commands.mkdir(exist_ok=True)
        for name in self._commands.names:
            script = self.commands / name
            words = shlex.join([sys.executable, "-I", "-S", str(CLIENT), path, name])
            script.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
            script.chmod(0o755)

    @property
    def shared(self) -> Path:
        """See `SiteFrontend`."""
        return self._setup.directory

    def add_commands(self, names: Iterable[str], socket: str) -> None:
        """See `SiteFrontend`."""
        for name in names:
            words = shlex.join([sys.executable, "-I", "-S", str(KADEPLOY_CLIENT), socket, name])
            # a new file: the old one may be running
            new = self.commands / f".{name}"
            new.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
            new.chmod(0o755)
            new.replace(self.commands / name)

    def _write_sshd_config(self) -> None:
        folder = self._setup.directory
        tools.make_keys(str(folder / params.HOST_KEY))
        shutil.copy(f"{self._setup.key}.pub", folder / params.AUTHORIZED_KEYS)
        tools.make_privilege_separation_directory()
        search = os.pathsep.join([str(self.commands), os.environ.get("PATH", os.defpath)])
        config = params.sshd_config(folder, use_pam=tools.needs_pam(), environment={"PATH": search})
        (folder / params.SSHD_CONFIG).write_text(config, encoding="utf-8")

    # Jobs

    def _wake(self) -> None:
        with contextlib.suppress(OSError):      # full, so it will wake; or stopped
            os.write(self._wake_in, b"x")

    def _to_start(self, job: Job) -> None:
        self._starting.append(job)
        self._wake()

    def _to_kill(self, job: Job) -> None:
        self._ending.add(job.job_id)
        self._wake()

    def _run_jobs(self) -> None:
        while True:
            with self._lock:
                if self._stopping:
                    break
                self._turn()
                now = self._clock()
                due = self._schedule.next_event(now)
                timeout = None if due is None else due - now
                if due is not None and self._clock is not time.time:
                    timeout = min(due - now, JUMP_SECONDS) if due > now else 0.0
                processes = [process for process in self._running.values() if process is not None]
            wait_for_any(processes, self._wake_out, timeout)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_out, 4096)
        for process in self._running.values():
            if process is not None:
                process.kill()
                process.wait()

    def _turn(self) -> None:
        """What is to be done now; the lock is held."""
        starting, self._starting = self._starting, []
        for job in starting:
            if job.state == "Launching":
                self._launch(job)
        for number in [number for number in self._ending if number in self._running]:
            process = self._running[number]
            if process is not None:
                process.kill()
        for number, process in list(self._running.items()):
            job = self._schedule.jobs[number]
            code = None if process is None else process.exit_code
            if code is not None or (process is None and number in self._ending):
                if process is not None:
                    process.kill()      # what it has left
                self._finish(job, code)
        self._schedule.step(self._clock())
        if self._starting or self._ending:
            self._wake()

    def _finish(self, job: Job, code: int | None) -> None:
        del self._running[job.job_id]
        self._ending.discard(job.job_id)
        self._schedule.ended(job, self._clock(), code)

    def _launch(self, job: Job) -> None:
        rows = [self._commands.rows[number] for number in job.resources]
        nodes = [row["network_address"] for row in rows if row["type"] == "default"]
        node_file = self._setup.directory / "nodes" / str(job.job_id)
        node_file.write_text("".join(f"{node}\n" for node in nodes), encoding="utf-8")
        properties = node_file.with_name(f"{job.job_id}_resources")
        properties.write_text("".join(map(texts.properties_line, rows)), encoding="utf-8")
        job.state = "Running"
        if not job.command:
            self._running[job.job_id] = None
            return
        environment = {
            "OAR_JOB_ID": str(job.job_id), "OAR_JOBID": str(job.job_id), "OAR_ARRAY_ID": str(job.array_id),
            "OAR_ARRAYID": str(job.array_id),
            "OAR_ARRAY_INDEX": str(job.array_index), "OAR_ARRAYINDEX": str(job.array_index), "OAR_JOB_NAME": job.name or "",
            "OAR_JOB_WALLTIME": format_oar_duration(job.walltime), "OAR_JOB_WALLTIME_SECONDS": str(job.walltime),
            "OAR_NODEFILE": str(node_file), "OAR_NODE_FILE": str(node_file), "OAR_FILE_NODES": str(node_file),
            "OAR_RESOURCE_FILE": str(node_file),
            "OAR_RESOURCE_PROPERTIES_FILE": str(properties), "OAR_PROJECT_NAME": job.project, "OAR_USER": job.user,
            "OAR_STDOUT": str(Path(job.directory, job.stdout_file)), "OAR_STDERR": str(Path(job.directory, job.stderr_file)),
            "OAR_WORKDIR": job.directory, "OAR_WORKING_DIRECTORY": job.directory, "OAR_O_WORKDIR": job.directory,
        }
        kinds = {job_type.partition("=")[0] for job_type in job.types}
        on_frontend = kinds & {"deploy", "noop", "cosystem"} or not nodes or nodes[0] not in self._setup.hosts
        words = [] if on_frontend else [*self._reach("ssh"), "-n", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", nodes[0]]
        if on_frontend:
            environment["PATH"] = os.pathsep.join([str(self.commands), os.environ.get("PATH", os.defpath)])
        try:
            self._running[job.job_id] = JobProcess(job, words, environment, f"{self._token}-{job.job_id}")
        except OSError:
            self._schedule.ended(job, self._clock(), 127 << 8)

    def _reach(self, tool: str) -> list[str]:
        return [tools.find_tool(tool) or tool, "-F", str(self._setup.ssh_config)]

    # Commands

    def _answer(self, connection: socket.socket) -> None:
        call = _read_call(connection)
        if call is not None:
            connection.sendall(_frames(self.call(call)))

    def call(self, call: Call, user: str | None = None) -> Said:
        """What a command on the frontend answers."""
        # that of the account, where ssh begins, whatever HOME says here
        if call.folder.rstrip("/") in (os.path.expanduser("~").rstrip("/"), pwd.getpwuid(os.getuid()).pw_dir.rstrip("/")):
            # A site has a home of its own; what jobs print into files shall not fill that of the user.
            call.folder = str(self._setup.directory / "home")
        with self._lock:
            self._schedule.step(self._clock())
            try:
                return self._commands.run(call, user)
            finally:
                self._wake()

    # As the box asks it

    def jobs(self) -> list[dict[str, Any]]:
        """See `SiteOar`."""
        return [api.job_item(job, rows, self._setup.site) for job, rows in reversed(self._shown())]

    def _shown(self) -> list[tuple[dict[str, Any], list[Mapping[str, Any]]]]:
        """Oldest first."""
        with self._lock:
            self._schedule.step(self._clock())
            return [self._commands.job_item_fields(job) for job in self._schedule.jobs.values()]

    def oarapi(self, request: Request) -> Answer:
        """See `SiteOar`."""
        return self._oarapi.answer(request)

    def resources(self) -> list[dict[str, Any]]:
        """See `SiteOar`."""
        return [dict(row) for row in self._setup.rows]

    def _run(self, words: list[str], user: str) -> tuple[str, str, int]:
        answer = self.call(Call(words, os.path.expanduser("~")), user)
        return answer.stdout, answer.stderr, answer.code


def _new_key() -> str:
    """The private key of a job."""
    folder = tempfile.mkdtemp(prefix="execo-box-key-")
    try:
        tools.make_keys(f"{folder}/key")
        return Path(folder, "key").read_text(encoding="utf-8")
    finally:
        shutil.rmtree(folder)


def _read_call(connection: socket.socket) -> Call | None:
    data = b""
    while more := connection.recv(1 << 16):
        data += more
    parts = words_of(data)
    try:
        arguments, variables = int(parts[0]), int(parts[1])
        folder, text = parts[2 + arguments + variables:][:2]
    except (ValueError, IndexError):    # it was cut off
        return None
    names = dict(name.partition("=")[::2] for name in parts[2 + arguments:2 + arguments + variables])
    return Call(parts[2:2 + arguments], folder, names, text)


def _frames(answer: Said) -> bytes:
    if answer.become is not None:
        return frame("p", "\0".join(answer.become))
    return frame("o", answer.stdout) + frame("e", answer.stderr) + frame("x", str(answer.code))
