"""The folder `owners` of a sweep: a counter for each process that holds claims."""

from __future__ import annotations

import os

from execo_engine._sweep import files, lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from execo_engine._sweep.state import State

__all__ = ["ENDED", "make_folder", "read_beat", "remove_beat", "remove_gone", "why_gone", "write_beat"]

OWNERS = "owners"
ENDED = "ended"
"""In place of a number: the process ended while it had claims."""


def make_folder(directory: int) -> None:
    try:
        os.mkdir(OWNERS, dir_fd=directory)
    except FileExistsError:
        pass


def write_beat(directory: int, id_: str, text: str) -> None:
    fd = os.open(f"{OWNERS}/{id_}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666, dir_fd=directory)
    try:
        files.write_at(fd, f"{text:<24}\n".encode(), 0)
    finally:
        os.close(fd)


def read_beat(directory: int, id_: str) -> str:
    """What the counter of an owner shows; "" if there is none."""
    try:
        fd = os.open(f"{OWNERS}/{id_}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return ""
    try:
        return os.read(fd, 64).decode("ascii", "replace").strip()
    finally:
        os.close(fd)


def remove_beat(directory: int, id_: str) -> None:
    _unlink(directory, f"{OWNERS}/{id_}")


def remove_gone(directory: int, state: State) -> None:
    """Remove the counters of owners that are gone and have no claims: killed between two combinations."""
    claims = set(state.inprogress.values())
    fd = os.open(OWNERS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        for id_ in os.listdir(fd):
            owner = state.owners.get(id_)
            if id_ not in claims and owner is not None and lease.is_gone(owner):
                _unlink(fd, id_)
    finally:
        os.close(fd)


def why_gone(directory: int, id_: str, owner: lease.Owner | None, watch: lease.Watch, now: float) -> str:
    """'' if it may be alive.

    :param now: monotonic seconds.
    """
    name = str(owner) if owner else f"owner {id_}"
    if owner is not None and lease.is_gone(owner):
        return f"{name} is gone"
    beat = read_beat(directory, id_)
    if beat == ENDED:
        return f"{name} has ended"
    if watch.observe(id_, beat, now):
        return f"{name} gave no sign of life for {watch.lease:g} s"
    return ""


def _unlink(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:                     # gone, or the directory is read-only: it is a file that nobody needs
        pass
