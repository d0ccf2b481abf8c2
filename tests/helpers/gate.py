"""A port of the loopback that refuses, keeps silent, or leads to another port: as the test says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Gate:
    """Refuses connections until `open` is called; from then on each leads to `target`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.accepted = 0
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))         # without listen: the port is ours, and refuses
        self.port: int = self._socket.getsockname()[1]
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        self._socket.listen(16)
        self._run(self._accept)

    def _run(self, function: object, *args: object) -> None:
        thread = threading.Thread(target=function, args=args, name="gate")  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:                         # closed
                return
            self.accepted += 1
            server = socket.create_connection(self.target)
            pair = _Pair(client, server)
            self._run(pair.copy, client, server)
            self._run(pair.copy, server, client)

    def close(self) -> None:
        with contextlib.suppress(OSError):          # it never listened
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(20)


class _Pair:
    def __init__(self, *sockets: socket.socket) -> None:
        self._sockets = sockets
        self._left = 2
        self._lock = threading.Lock()

    def copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            for one in self._sockets:
                one.close()


@contextlib.contextmanager
def gate(host: str, port: int) -> Iterator[Gate]:
    """A closed gate to this port."""
    made = Gate((host, port))
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
