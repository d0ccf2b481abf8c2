"""The commands of Kadeploy on a frontend: a socket, on which each command that runs there is answered by a thread here."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import struct
import tempfile
import threading
import time
from pathlib import Path

from execo.log import logger

from .standin import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Command = Callable[["Call"], int]

LONGEST_SOCKET = 100
"""Bytes of the name of a socket; the kernel takes 107."""
CALL_SECONDS = 10.0
"""A command has so long to say what it wants."""


class Gone(Exception):
    """Who called the command is not there any more: it was killed, or its connection to the frontend was lost."""


class Call:
    """A command that runs on the frontend."""

    def __init__(self, connection: socket.socket, parts: Sequence[str], pid: int) -> None:
        count = int(parts[0])
        self.words = list(parts[1:1 + count])
        """Its name and arguments."""
        self.folder, self.job, terminal, self.typed = parts[1 + count:5 + count]
        """Where it runs, its OAR_JOB_ID, and its standard input."""
        self.has_terminal = terminal == "tty"
        self.connection = connection
        self._root = f"/proc/{pid}/root" if os.geteuid() == 0 else ""

    def out(self, text: str) -> None:
        """Print.

        :raises Gone: if nobody is there to read it.
        """
        self._send("o", text)

    def err(self, text: str) -> None:
        """Print on standard error."""
        self._send("e", text)

    def end(self, code: int) -> None:
        """The exit code."""
        self._send("x", str(code))

    def _send(self, kind: str, text: str) -> None:
        body = text.encode("utf-8", "surrogateescape")
        if not body:
            return
        try:
            self.connection.sendall(f"{kind}{len(body):08x}".encode() + body)
        except OSError:
            raise Gone from None

    def is_interrupted(self, seconds: float) -> bool:
        """Whether it gets a SIGINT within so many seconds.

        :raises Gone: if it has ended.
        """
        if not select.select([self.connection], [], [], seconds)[0]:
            return False
        try:
            typed = self.connection.recv(64)
        except OSError:
            typed = b""
        if not typed:
            raise Gone
        return b"\x03" in typed

    def path(self, name: str) -> Path:
        """A file that the command names, as this program sees it: the frontend may have another root."""
        return Path(self._root + os.path.join(self.folder, name))

    def read(self, name: str) -> str:
        """:raises Failure: if it cannot be read."""
        if name == "-":
            return self.typed
        try:
            return self.path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(1, f"Option parsing error: invalid argument: {name}: {getattr(error, 'strerror', None) or error}") from None

    def write(self, name: str, text: str) -> None:
        """:raises Failure: if it cannot be written."""
        try:
            path = self.path(name)
            path.write_text(text, encoding="utf-8")
            if self._root:                      # the user's, not root's
                owner = os.stat(path.parent)
                os.chown(path, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise Failure(1, f"Option parsing error: invalid argument: {name}: {error.strerror}") from None


class Frontend:
    """Answers the commands of one site from `start` to `stop`.

    :param directory: where the socket is made.
    :param commands: {name: what answers it}.
    """

    def __init__(self, site: str, directory: Path, commands: Mapping[str, Command]) -> None:
        self._site = site
        self._directory = directory
        self._commands = dict(commands)
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._folder: str | None = None
        self._thread: threading.Thread | None = None
        self._answering: dict[threading.Thread, socket.socket] = {}
        self._stopping = False
        self.path = ""
        """Of the socket."""

    def start(self) -> None:
        self.path = str(self._directory / "ka")
        if len(os.fsencode(self.path)) > LONGEST_SOCKET:
            self._folder = tempfile.mkdtemp(prefix="execo-box-")
            self.path = os.path.join(self._folder, "ka")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        os.chmod(self.path, 0o666)              # a real OAR has users of its own; who may reach it, the folder says
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._serve, name=f"{self._site}-frontend", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when no command is answered any more."""
        self._stopping = True
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            answering = dict(self._answering)
        for thread, connection in answering.items():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()
        if self._listener is not None:
            self._listener.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self) -> None:
        assert self._listener is not None
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._stopping:
                    return
                time.sleep(0.01)                # no descriptor is free
                continue
            thread = threading.Thread(target=self._answer, args=(connection,), name=f"{self._site}-command", daemon=True)
            with self._lock:
                self._answering[thread] = connection
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection:
                call = _read_call(connection)
                if call is not None:
                    self._run(call)
        except (Gone, OSError):
            pass
        finally:
            with self._lock:
                self._answering.pop(threading.current_thread(), None)

    def _run(self, call: Call) -> None:
        command = self._commands.get(call.words[0]) if call.words else None
        try:
            code = 127 if command is None else command(call)
        except Failure as failure:
            call.err(f"{failure.text}\n")
            code = failure.code
        except Gone:
            raise
        except Exception as error:
            logger.exception("Grid'5000 in a box: %s:", call.words)
            call.err(f"[Internal Server Error]\n{error!r}\n")
            code = 3
        call.end(code)


def _read_call(connection: socket.socket) -> Call | None:
    """None if it was cut off."""
    connection.settimeout(CALL_SECONDS)
    data, wanted = b"", None
    while wanted is None or data.count(b"\0") < wanted:
        more = connection.recv(1 << 16)
        if not more:
            return None
        data += more
        if wanted is None and b"\0" in data:
            count = data.partition(b"\0")[0]
            if not count.isdigit():
                return None
            wanted = 1 + int(count) + 4
    connection.settimeout(None)
    pid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return Call(connection, [part.decode("utf-8", "surrogateescape") for part in data.split(b"\0")], pid)
