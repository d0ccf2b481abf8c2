"""The description of the platform on disk, as JSON, for all programs of the user.

A folder of seven files: ``network``, ``sites``, ``clusters``, ``hosts``, ``hierarchy``, ``api_commit`` (the API's version of the whole),
and ``version``, which says what the five should be, by length and checksum, and of which API.  Each file is replaced as a whole,
``version`` last, so a reader finds a complete set, or knows that it has not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

FILES = ("network", "sites", "clusters", "hosts", "hierarchy")
FORMAT = 2


class DamagedError(ValueError):
    """What is in the folder is not what was written."""


@dataclass(frozen=True)
class Cached:
    """A complete and consistent copy."""

    api_commit: str
    data: dict[str, Any]
    """The version, and what each file holds."""


def read(folder: Path, source: str) -> Cached | None:
    """The copy in a folder; None if there is none of this source.

    :param source: what it must have been fetched from.
    :raises DamagedError: if there is one, but not as it was written.
    :raises OSError: if it cannot be read.
    """
    noted = _read_manifest(folder, source)
    if noted is None:
        return None
    data: dict[str, Any] = {"version": str(noted["api_commit"])}
    for name in FILES:
        content = _read(folder / name)
        if content is None:
            raise DamagedError(f"{folder / name} is missing")
        length, checksum = noted["files"][name]
        if (len(content), zlib.crc32(content)) != (length, checksum):
            raise DamagedError(f"{folder / name} has {len(content)} bytes that are not the {length} that were written")
        data[name] = json.loads(content)
    return Cached(data["version"], data)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _read_manifest(folder: Path, source: str) -> dict[str, Any] | None:
    content = _read(folder / "version")
    if content is None:
        return None
    try:
        noted: Any = json.loads(content)
        if isinstance(noted, str) or noted.get("format") != FORMAT:     # of execo 2.8, which has its version there, or of a later one
            return None
        if noted["source"] != source:
            return None
        for name in FILES:
            length, checksum = noted["files"][name]
            int(length), int(checksum)
        str(noted["api_commit"])
    except (AttributeError, KeyError, TypeError, ValueError) as damage:
        raise DamagedError(f"{folder / 'version'} is damaged: {damage!r}") from None
    return dict(noted)


def write(folder: Path, source: str, api_commit: str, pieces: Mapping[str, list[bytes]]) -> None:
    """Put a copy there.

    :param pieces: of the contents of each file.
    :raises OSError: if that is not possible; what was there before may then be found damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    noted = {}
    for name in FILES:
        _replace(folder / name, pieces[name])
        noted[name] = [sum(map(len, pieces[name])), functools.reduce(lambda checksum, piece: zlib.crc32(piece, checksum), pieces[name], 0)]
    manifest = {"format": FORMAT, "api_commit": api_commit, "source": source, "files": noted}
    _replace(folder / "api_commit", [api_commit.encode()])
    _replace(folder / "version", [json.dumps(manifest, indent=1).encode()])


def _replace(path: Path, pieces: list[bytes]) -> None:
    # No fsync: after a crash of the machine, the checksum tells.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(descriptor, "wb") as file:
            file.writelines(pieces)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def locked(folder: Path, patience: float) -> Iterator[None]:
    """Keep other programs from filling the same folder meanwhile.

    Where folders cannot be locked (some network file systems), or after `patience` seconds: without, for readers check what they find.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield
        return
    try:
        _lock(descriptor, patience)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as refused:
            if refused.errno not in (errno.EAGAIN, errno.EACCES) or time.monotonic() >= deadline:
                return
        time.sleep(0.05)
