"""Short commands whose answer goes in the notebook: none of them may hold up an experiment, or fill its memory."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Answer:
    """What a command said, at most `limit` bytes of it."""

    text: str
    ok: bool
    cut: bool = False
    """It said more, or took too long."""
    error: str = ""


def ask(command: list[str], *, folder: str | None = None, environment: Mapping[str, str] | None = None,
        deadline: float | None = None, limit: int = 1 << 20) -> Answer:
    """Run the command; never raises, ends before `deadline` (monotonic seconds; None: in 10 s) and reads at most `limit` bytes."""
    import subprocess  # not needed before an engine starts

    if deadline is None:
        deadline = time.monotonic() + 10
    try:
        # Errors that do not fit in their pipe hold up the command until the deadline; those of git are one line.
        child = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, start_new_session=True)
    except OSError as failed:
        return Answer("", False, error=str(failed))
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        over = False
        try:
            data, cut = _read(child.stdout.fileno(), deadline, limit)
            if not cut:
                try:
                    child.wait(max(0.0, deadline - time.monotonic()))
                    over = True
                except subprocess.TimeoutExpired:
                    cut = True
        finally:
            if not over:
                os.killpg(child.pid, signal.SIGKILL)        # not reaped yet, so the group is ours: also what it started
        os.set_blocking(child.stderr.fileno(), False)       # a grandchild may hold it open for ever
        error = (child.stderr.read() or b"").decode(errors="replace").strip()
    return Answer(data.decode(errors="replace"), child.returncode == 0 and not cut, cut, error)


def _read(fd: int, deadline: float, limit: int) -> tuple[bytes, bool]:
    """What can be read, and whether the time or the limit cut it."""
    data = bytearray()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(data) <= limit:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return bytes(data), True
        piece = os.read(fd, 65536)
        if not piece:
            return bytes(data), False
        data += piece
    return bytes(data[:limit]), True
