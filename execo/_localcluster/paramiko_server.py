"""The server of a `LocalCluster` on machines without sshd.

``python -m execo._localcluster.paramiko_server PARAMETERS`` with the JSON of the keywords of `main`.  One process, a
thread for each connection (paramiko's) and those of `paramiko_session` for each command; needs the extra
``execo[localcluster]``.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import pwd
import select
import socket
import sys
import threading

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_FAILED_UNKNOWN_CHANNEL_TYPE,
    OPEN_SUCCEEDED,
)

from execo._localcluster.paramiko_session import CHUNK, Session
from execo._localcluster.paramiko_sftp import FileSystem
from execo._localcluster.params import AUTHORIZED_KEYS, HOST_KEY
from execo._localcluster.sshd_server import announce, listen_anywhere, raise_open_files

CONNECT_TIMEOUT = 10.0
"""Seconds that the destination of a forwarded port has to answer."""
PATIENCE = 120
"""Seconds for each step of a handshake: a hundred at once share one interpreter."""


def session_environment(account: pwd.struct_passwd, shell: str, connection: socket.socket) -> dict[str, str]:
    """What sshd gives to a session."""
    (client, client_port), (server, server_port) = connection.getpeername(), connection.getsockname()
    environment = {
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "HOME": account.pw_dir,
        "SHELL": shell,
        "PATH": "/usr/local/bin:/usr/bin:/bin" + ("" if os.getuid() else ":/usr/local/sbin:/usr/sbin:/sbin"),
        "SSH_CLIENT": f"{client} {client_port} {server_port}",
        "SSH_CONNECTION": f"{client} {client_port} {server} {server_port}",
        "SHLVL": "1",  # spares the start-up file of bash, see params.sshd_config
    }
    return environment | {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}


class SftpServer(paramiko.SFTPServer):
    """Ends with an exit code, as the clients of OpenSSH expect."""

    def start_subsystem(self, name: str, transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        super().start_subsystem(name, transport, channel)
        if not channel.closed:
            channel.send_exit_status(0)


class Connection(paramiko.ServerInterface):
    """What one client may do; called by the thread of its transport."""

    def __init__(self, key: paramiko.PKey, account: pwd.struct_passwd, shell: str, connection: socket.socket) -> None:
        self._key = key
        self._account = account
        self._shell = shell
        self._home = account.pw_dir if os.path.isdir(account.pw_dir) else "/"
        self._environment = session_environment(account, shell, connection)
        self._sessions: dict[int, Session] = {}
        self.forwarded: dict[int, socket.socket] = {}
        """Connections to destinations, by number of channel."""

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if username == self._account.pw_name and key == self._key else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_UNKNOWN_CHANNEL_TYPE

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        try:
            connection = socket.create_connection(destination, CONNECT_TIMEOUT)
        except OSError:
            return OPEN_FAILED_CONNECT_FAILED
        connection.settimeout(None)
        self.forwarded[chanid] = connection
        return OPEN_SUCCEEDED

    def _session(self, channel: paramiko.Channel) -> Session:
        new = Session(channel, self._shell, self._home, dict(self._environment))
        return self._sessions.setdefault(channel.get_id(), new)

    def check_channel_pty_request(
        self,
        channel: paramiko.Channel,
        term: bytes,
        width: int,
        height: int,
        pixelwidth: int,
        pixelheight: int,
        modes: bytes,
    ) -> bool:
        session = self._session(channel)
        session.terminal = True
        session.environment["TERM"] = term.decode("ascii", "replace")
        return True

    def check_channel_window_change_request(
        self, channel: paramiko.Channel, width: int, height: int, pixelwidth: int, pixelheight: int
    ) -> bool:
        return True

    def check_channel_env_request(self, channel: paramiko.Channel, name: bytes, value: bytes) -> bool:
        return False  # as sshd without AcceptEnv

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        return self._start(channel, os.fsdecode(command))

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        return self._start(channel, None)

    def _start(self, channel: paramiko.Channel, command: str | None) -> bool:
        session = self._session(channel)
        del self._sessions[channel.get_id()]
        try:
            session.start(command)
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the command
            print(f"{command!r}: {error}", file=sys.stderr, flush=True)
            return False
        return True


def pump(read: socket.socket | paramiko.Channel, write: socket.socket | paramiko.Channel) -> None:
    """Copy to the end of file, and pass that on."""
    try:
        while data := read.recv(CHUNK):
            write.sendall(data)
        write.shutdown(socket.SHUT_WR)
    except (OSError, EOFError, paramiko.SSHException):  # one side is gone: so must be the other
        read.close()
        write.close()


def forward(channel: paramiko.Channel, connection: socket.socket) -> None:
    back = threading.Thread(target=pump, args=(connection, channel), daemon=True)
    back.start()
    pump(channel, connection)
    back.join()
    channel.close()
    connection.close()


def serve(
    connection: socket.socket, host_key: paramiko.PKey, key: paramiko.PKey, account: pwd.struct_passwd, shell: str
) -> None:
    """One connection, to its end."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        server = Connection(key, account, shell, connection)
        transport = paramiko.Transport(connection)
    except (OSError, paramiko.SSHException):  # the client has gone
        connection.close()
        return
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = PATIENCE
    options = transport.get_security_options()
    options.kex = [name for name in options.kex if name.startswith(("curve25519-sha256", "ecdh-sha2-nistp256"))]
    transport.add_server_key(host_key)
    transport.set_subsystem_handler("sftp", SftpServer, FileSystem, home=server._home)
    try:
        transport.start_server(event=threading.Event(), server=server)
        while transport.is_active():
            channel = transport.accept(1)
            if channel is not None and (destination := server.forwarded.pop(channel.get_id(), None)) is not None:
                threading.Thread(target=forward, args=(channel, destination), daemon=True).start()
    finally:
        transport.close()
        for destination in server.forwarded.values():
            destination.close()


def main(n: int, directory: str) -> None:
    try:
        listeners = listen_anywhere(n)
    except OSError as error:
        announce(error=f"cannot listen on {n} loopback addresses: {error}")
        return
    logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else broken connections are printed
    raise_open_files(n + 8192)  # a connection takes up to eight
    threading.stack_size(512 * 1024)
    host_key = paramiko.Ed25519Key.from_private_key_file(os.path.join(directory, HOST_KEY))
    with open(os.path.join(directory, AUTHORIZED_KEYS), encoding="ascii") as file:
        key = paramiko.Ed25519Key(data=base64.b64decode(file.read().split()[1]))
    account = pwd.getpwuid(os.getuid())
    shell = account.pw_shell if os.path.basename(account.pw_shell) not in ("", "nologin", "false") else "/bin/sh"
    addresses = [listener.getsockname()[0] for listener in listeners]
    poll = select.poll()
    by_fd = {listener.fileno(): listener for listener in listeners}
    for fd in (0, *by_fd):
        poll.register(fd, select.POLLIN)
    announce(addresses=addresses, port=listeners[0].getsockname()[1])
    while True:
        for fd, _ in poll.poll():
            if fd == 0:
                if not os.read(0, 4096):
                    os._exit(0)  # without waiting for threads: the supervisor ends all commands
                continue
            try:
                connection, _ = by_fd[fd].accept()
            except OSError:  # the client has gone, or no descriptor is free: the next turn tries again
                continue
            connection.setblocking(True)
            threading.Thread(target=serve, args=(connection, host_key, key, account, shell), daemon=True).start()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
