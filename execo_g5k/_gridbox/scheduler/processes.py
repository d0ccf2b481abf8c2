"""Processes of jobs: started, ended with all that they left, and reaped."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .model import Job

MARK = "EXECO_GRIDBOX_JOB"
"""A variable of all processes of a job, by which they are found."""


class JobProcess:
    """The command of a job, on its first node or on the frontend.

    :param words: a program that runs a line of shell that is appended, on the node; none: it runs here.

    It is to be made in a thread that lives as long as the process may: the kernel ends the process with that thread.
    """

    def __init__(self, job: Job, words: Sequence[str], environment: Mapping[str, str], mark: str) -> None:
        self.mark = mark
        given = {**environment, MARK: mark}
        # A shell that is given one simple command becomes it: so it is that one, mostly sleep, that the kernel ends with us.
        line = f"cd {shlex.quote(job.directory)} || exit 1\nexec sh -c {shlex.quote(job.command)}"
        if words:
            assignments = " ".join(f"{name}={shlex.quote(value)}" for name, value in given.items())
            command = [*words, f"exec env {assignments} sh -c {shlex.quote(line)}"]
        else:
            command = ["sh", "-c", line]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        folder = Path(job.directory)
        with _Appended(folder / job.stdout_file) as out, _Appended(folder / job.stderr_file) as err:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **given},
                                             start_new_session=True, cwd="/")

    @property
    def exit_code(self) -> int | None:
        """As wait(2) has it; None while it runs."""
        code = self._process.poll()
        return None if code is None else -code if code < 0 else code << 8

    @property
    def pid(self) -> int:
        """Of the process here."""
        return self._process.pid

    def kill(self) -> None:
        """End it and what it has left, wherever on this machine."""
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:      # it ended between the question and the signal
                pass
        kill_marked(self.mark)

    def wait(self) -> None:
        """Until it has ended."""
        self._process.wait()


def kill_marked(mark: str) -> None:
    """End the processes that have this mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            # A pidfd before the look: the number cannot come to mean another process between look and signal.
            descriptor = os.pidfd_open(int(name))
        except OSError:
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except OSError:             # of another user, or gone
            pass
        finally:
            os.close(descriptor)


class _Appended:
    """A descriptor of a file; of /dev/null if it cannot be written."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError:
            self._descriptor = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)


def wait_for_any(processes: Sequence[JobProcess], wake: int, timeout: float | None) -> None:
    """Until one has ended, there is something to read on the descriptor `wake`, or so many seconds have passed."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    descriptors = []
    for process in processes:
        try:
            descriptors.append(os.pidfd_open(process.pid))
        except OSError:             # no descriptor is free: the next turn tries again
            timeout = min(timeout if timeout is not None else 1.0, 0.1)
            continue
        poll.register(descriptors[-1], select.POLLIN)
    try:
        poll.poll(None if timeout is None else max(0.0, timeout) * 1000 + 1)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
