"""The SFTP subsystem of the paramiko server: the file system as it is, modes and times kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko import SFTPAttributes, SFTPHandle, SFTPServer
from paramiko.sftp import SFTP_FAILURE, SFTP_OK

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer


def failure(error: OSError) -> int:
    """The SFTP status of an error."""
    return SFTPServer.convert_errno(error.errno or 0)


def attributes(stat: os.stat_result, name: str | None = None) -> SFTPAttributes:
    return SFTPAttributes.from_stat(stat, name)


def status(call: Callable[..., object], *arguments: Any) -> int:
    """SFTP status of a call."""
    try:
        call(*arguments)
    except OSError as error:
        return failure(error)
    return SFTP_OK


def apply(target: str | int, wanted: SFTPAttributes) -> None:
    """Set size, owner, mode and times, those that are given; in this order, as each may change the later ones."""
    if wanted.st_size is not None:
        os.truncate(target, wanted.st_size)
    if wanted.st_uid is not None and wanted.st_gid is not None:
        os.chown(target, wanted.st_uid, wanted.st_gid)
    if wanted.st_mode is not None:
        os.chmod(target, wanted.st_mode & 0o7777)
    if wanted.st_atime is not None and wanted.st_mtime is not None:
        os.utime(target, (wanted.st_atime, wanted.st_mtime))


class OpenFile(SFTPHandle):
    """An open file; reads and writes say where, so they need no position."""

    def __init__(self, fd: int, flags: int) -> None:
        super().__init__(flags)
        self._fd = fd
        self._append = bool(flags & os.O_APPEND)

    def close(self) -> None:
        os.close(self._fd)

    def read(self, offset: int, length: int) -> bytes | int:
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            return failure(error)

    def write(self, offset: int, data: Buffer) -> int:
        rest = memoryview(data)
        try:
            while rest:
                done = os.write(self._fd, rest) if self._append else os.pwrite(self._fd, rest, offset)
                rest, offset = rest[done:], offset + done
        except OSError as error:
            return failure(error)
        return SFTP_OK

    def stat(self) -> SFTPAttributes | int:
        try:
            return attributes(os.fstat(self._fd))
        except OSError as error:
            return failure(error)

    def chattr(self, attr: SFTPAttributes) -> int:
        return status(apply, self._fd, attr)


class FileSystem(paramiko.SFTPServerInterface):
    """Paths are absolute, or relative to the home directory, as a session starts there."""

    def __init__(self, server: paramiko.ServerInterface, *, home: str) -> None:
        super().__init__(server)
        self._home = home

    def _at(self, path: str) -> str:
        return os.path.join(self._home, path)

    def canonicalize(self, path: str) -> str:
        return os.path.realpath(self._at(path))

    def list_folder(self, path: str) -> list[SFTPAttributes] | int:
        try:
            return [attributes(entry.stat(follow_symlinks=False), entry.name) for entry in os.scandir(self._at(path))]
        except OSError as error:
            return failure(error)

    def stat(self, path: str) -> SFTPAttributes | int:
        try:
            return attributes(os.stat(self._at(path)))
        except OSError as error:
            return failure(error)

    def lstat(self, path: str) -> SFTPAttributes | int:
        try:
            return attributes(os.lstat(self._at(path)))
        except OSError as error:
            return failure(error)

    def open(self, path: str, flags: int, attr: SFTPAttributes) -> SFTPHandle | int:
        mode = 0o666 if attr.st_mode is None else attr.st_mode
        try:
            return OpenFile(os.open(self._at(path), flags | os.O_CLOEXEC, mode & 0o7777), flags)
        except OSError as error:
            return failure(error)

    def remove(self, path: str) -> int:
        return status(os.remove, self._at(path))

    def rename(self, oldpath: str, newpath: str) -> int:
        if os.path.lexists(self._at(newpath)):  # so says the protocol; posix_rename overwrites
            return SFTP_FAILURE
        return status(os.rename, self._at(oldpath), self._at(newpath))

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return status(os.rename, self._at(oldpath), self._at(newpath))

    def mkdir(self, path: str, attr: SFTPAttributes) -> int:
        mode = 0o777 if attr.st_mode is None else attr.st_mode
        return status(os.mkdir, self._at(path), mode & 0o7777)

    def rmdir(self, path: str) -> int:
        return status(os.rmdir, self._at(path))

    def chattr(self, path: str, attr: SFTPAttributes) -> int:
        return status(apply, self._at(path), attr)

    def readlink(self, path: str) -> str | int:
        try:
            return str(Path(self._at(path)).readlink())
        except OSError as error:
            return failure(error)

    def symlink(self, target_path: str, path: str) -> int:
        return status(os.symlink, target_path, self._at(path))
