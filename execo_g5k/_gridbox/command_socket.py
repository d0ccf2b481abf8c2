"""A socket on which the commands of a frontend say what they were called with; a thread answers each."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONGEST_SOCKET = 100
"""Bytes of the name of a socket; the kernel takes 107."""
CALL_SECONDS = 10.0
"""A command has so long to say what it wants."""


class CommandSocket:
    """Answers from `start` to `stop`, which one thread calls.

    :param name: of its threads.
    :param file: of the socket.
    :param answer: called with each connection, by a thread of its own; the connection is closed when it returns.  OSError: it has gone.
    """

    def __init__(self, name: str, file: Path, answer: Callable[[socket.socket], None]) -> None:
        self.path = str(file)
        """Of the socket, which is another one where its name would be too long."""
        self._name = name
        self._answer = answer
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._folder: str | None = None
        self._thread: threading.Thread | None = None
        self._answering: dict[threading.Thread, socket.socket] = {}
        self._stopping = False

    def start(self, mode: int = 0o600) -> None:
        """:param mode: of the file: who may connect."""
        if len(os.fsencode(self.path)) > LONGEST_SOCKET:
            self._folder = tempfile.mkdtemp(prefix="execo-box-")
            self.path = os.path.join(self._folder, os.path.basename(self.path))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        os.chmod(self.path, mode)
        self._listener.listen(256)
        self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
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
            with contextlib.suppress(OSError):      # it has gone
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _serve(self) -> None:
        assert self._listener is not None
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._stopping:
                    return
                time.sleep(0.01)        # no descriptor is free
                continue
            thread = threading.Thread(target=self._run, args=(connection,), name=f"{self._name}-call", daemon=True)
            with self._lock:
                self._answering[thread] = connection
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(CALL_SECONDS)
                self._answer(connection)
        finally:
            with self._lock:
                self._answering.pop(threading.current_thread(), None)


def words_of(data: bytes) -> list[str]:
    """The words that a command has sent, each ended by a NUL."""
    return [part.decode("utf-8", "surrogateescape") for part in data.split(b"\0")]


def frame(kind: str, text: str) -> bytes:
    """A part of what a command is answered; empty if there is no text."""
    body = text.encode("utf-8", "surrogateescape")
    return f"{kind}{len(body):08x}".encode() + body if body else b""
