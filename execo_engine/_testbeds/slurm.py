"""Jobs of Slurm, by its commands `salloc`, `squeue`, `sinfo`.

The job is an allocation of `salloc`, which runs `cat` on this machine for as long as we keep its standard input open: when this program
dies, however that comes, `cat` reads the end of file, and Slurm gets the nodes back.
"""

from __future__ import annotations

import math
import re
import shlex
import shutil
import threading
import time

from execo.host import Host
from execo.hostset import expand
from execo.process import Process, ProcessLifecycleHandler
from execo.time_utils import format_duration, get_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from typing import Any

_KEEP = 'echo "execo-job $SLURM_JOB_ID $SLURM_JOB_NODELIST"; exec cat'
_GRANTED = re.compile(r"^execo-job (\d+) (\S+)$", re.MULTILINE)
_ASK_SECONDS = 30.0
_GOOD_STATES = re.compile(r"(idle|mix|alloc|comp|resv)")
_QUIET: dict[str, Any] = {"nolog_exit_code": True, "nolog_error": True, "nolog_timeout": True}


def parse_time_left(text: str) -> float | None:
    """Seconds of what ``squeue -o %L`` prints: ``[days-][[hours:]minutes:]seconds``; None for UNLIMITED.

    :raises ValueError: for anything else, such as INVALID or NOT_SET.
    """
    text = text.strip()
    if text == "UNLIMITED":
        return None
    found = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", text)
    if not found:
        raise ValueError(f"time left: expected [days-][[hours:]minutes:]seconds, found {text!r}")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60.0 + seconds


def parse_granted(stdout: str) -> tuple[int, list[str]] | None:
    """(job id, names of its nodes) from the output of the allocation; None if it is not granted yet."""
    found = _GRANTED.search(stdout)
    return (int(found[1]), expand(found[2])) if found else None


def parse_usable(sinfo: str) -> set[str]:
    """Nodes that can run jobs, now or later, from lines ``name state``."""
    lines = [line.split() for line in sinfo.splitlines() if line.strip()]
    # A trailing * is a node that does not answer.
    return {name for name, state in lines if _GOOD_STATES.match(state) and not state.endswith("*")}


class _Ends(ProcessLifecycleHandler):
    inline = True

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def end(self, process: Any) -> None:
        self._event.set()


class SlurmTestbed:
    """A job of Slurm for each reservation.

    :param n_hosts: number of nodes.
    :param walltime: duration of a job; Slurm counts in minutes, and rounds up.
    :param partition: None: that of Slurm's configuration.
    :param options: more arguments for `salloc`: ``["--constraint=infiniband", "--exclusive"]``.
    :param connection_params: how the nodes are reached by ssh, under the names that Slurm gives them.
    :param name: of the jobs.

    The attribute ``job_id`` is that of the current reservation, once it has begun.
    """

    def __init__(self, n_hosts: int, walltime: float | str | timedelta, partition: str | None = None, options: Sequence[str] = (),
                 connection_params: Mapping[str, Any] | None = None, name: str = "execo") -> None:
        seconds = get_seconds(walltime)
        if n_hosts < 1 or not seconds or seconds <= 0:
            raise ValueError(f"SlurmTestbed: expected at least 1 node, for more than 0 s; found {n_hosts!r} nodes, {walltime!r}")
        if isinstance(options, str):
            raise TypeError(f"options of salloc: expected a list, found {options!r}")
        self.n_hosts = n_hosts
        self.walltime: float | None = math.ceil(seconds / 60) * 60.0
        self.partition = partition
        self.options = list(options)
        self.connection_params = connection_params
        self.name = name
        self.job_id: int | None = None
        self._hosts: list[Host] = []
        self._salloc: Process | None = None
        self._changed = threading.Event()
        self._lock = threading.Lock()
        self._end: float | None = None
        self._asked = -math.inf

    def __repr__(self) -> str:
        job = f", job {self.job_id}" if self.job_id else ""
        return f"SlurmTestbed({self.n_hosts} nodes, {format_duration(self.walltime)}{job})"

    @property
    def hosts(self) -> list[Host]:
        return list(self._hosts)

    def command(self, prefer: Sequence[str] = ()) -> list[str]:
        """The command that asks for the nodes.

        :param prefer: nodes that it demands.
        """
        minutes = math.ceil((self.walltime or 0) / 60)
        command = ["salloc", "--no-bell", "--kill-command=TERM", f"--job-name={self.name}", f"--nodes={self.n_hosts}", f"--time={minutes}"]
        if self.partition is not None:
            command.append(f"--partition={self.partition}")
        if prefer:
            command.append("--nodelist=" + ",".join(prefer))
        return [*command, *self.options, "sh", "-c", _KEEP]

    def reserve(self, prefer: Sequence[str] = ()) -> None:
        """:raises FileNotFoundError: without Slurm's commands."""
        if self._salloc is not None:
            raise RuntimeError(f"{self!r} has a reservation already")
        if shutil.which("salloc") is None:
            raise FileNotFoundError("no salloc in PATH: SlurmTestbed needs the commands of Slurm (Debian: slurm-client)")
        demanded = self._usable(prefer)[:self.n_hosts] if prefer else []
        self._changed = threading.Event()
        changed = self._changed
        process = Process(self.command(demanded), name=f"salloc {self.n_hosts} nodes", **_QUIET, lifecycle_handlers=[_Ends(changed)],
                          stdout_handlers=[_Notice(changed)])
        self._salloc = process.start()

    def _usable(self, names: Sequence[str]) -> list[str]:
        process = Process(["sinfo", "-h", "-N", "-o", "%N %T"], timeout=_ASK_SECONDS, **_QUIET).run()
        usable = parse_usable(process.stdout) if process.ok else set()
        return [name for name in names if name in usable]

    def wait(self, timeout: float | None = None) -> bool:
        """:raises RuntimeError: with what Slurm said, if it refused or ended the job."""
        process = self._salloc
        if process is None:
            raise RuntimeError(f"{self!r} has no reservation to wait for")
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.job_id is None:
            self._changed.clear()
            if granted := parse_granted(process.stdout):
                self._asked = -math.inf
                self._hosts = [Host(name) for name in granted[1]]
                self.job_id = granted[0]
                break
            if process.ended:
                raise RuntimeError(f"Slurm gave no job to {shlex.join(self.command())}: {process.stderr.strip() or process.error_reason}")
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            # The handler may be called a moment before `ended` is true.
            self._changed.wait(1.0 if left is None else min(left, 1.0))
        return True

    def time_left(self) -> float | None:
        """Slurm is asked every 30 s, for its administrators may change the end of a job; the end of `salloc` is seen at once."""
        with self._lock:
            process, job = self._salloc, self.job_id
            if process is None or job is None or process.ended:
                return 0
            if time.monotonic() >= self._asked + _ASK_SECONDS:
                self._asked = time.monotonic()
                self._ask_end(job)
            return None if self._end is None else self._end - time.monotonic()

    def _ask_end(self, job: int) -> None:
        begun = time.monotonic()
        squeue = Process(["squeue", "-h", "-j", str(job), "-o", "%L"], timeout=_ASK_SECONDS, **_QUIET).run()
        try:
            left = parse_time_left(squeue.stdout)
        except ValueError:
            if self._end is None:               # a Slurm that does not answer now: what was asked for
                self._end = begun + (self.walltime or 0)
            return
        self._end = None if left is None else begun + left

    def release(self) -> None:
        process, self._salloc = self._salloc, None
        job, self.job_id = self.job_id, None
        self._hosts, self._end = [], None
        if process is None:
            return
        if job is not None and not process.ended:
            process.close_stdin()               # the end of `cat` is that of the job
        else:
            process.kill()                      # still in the queue: salloc withdraws the request
        process.wait(_ASK_SECONDS / 2)
        if not process.ended:
            if job is not None:
                Process(["scancel", str(job)], timeout=_ASK_SECONDS, **_QUIET).run()
            process.kill()
            process.wait()


class _Notice:
    """A file-like output handler: something was printed."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def write(self, text: str) -> int:
        self._event.set()
        return len(text)
