"""One session of the paramiko server: a real command of the user's shell, its pipes or terminal pumped to a channel.

A session has two or three threads that block: one for each direction.  Flow control is that of the pipe on one side and
of the window of the channel on the other, so nothing is ever loaded whole.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import paramiko

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 32768
GRACE = 1.0
"""Seconds between SIGHUP and SIGKILL when a connection is lost."""

# With its session new and without a terminal, the first terminal that the shell opens becomes the controlling one.
TERMINAL_SCRIPT = 'exec <>"$1" >&0 2>&0; shift; exec "$@"'


@dataclass
class Session:
    """A channel, and what its client asks for it before its command starts."""

    channel: paramiko.Channel
    shell: str
    home: str
    environment: dict[str, str]
    terminal: bool = False
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, command: str | None) -> None:
        """Run the command, or a login shell if None; OSError if that cannot be done."""
        argv = [self.shell, "-l"] if command is None else [self.shell, "-c", command]
        (self._start_on_terminal if self.terminal else self._start_on_pipes)(argv)

    def _start_on_pipes(self, argv: list[str]) -> None:
        process = self._process = subprocess.Popen(
            argv,
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        stdin = os.dup(process.stdin.fileno())
        process.stdin.close()
        errors = self._thread(self._pump_out, process.stderr.fileno(), self.channel.sendall_stderr)
        self._thread(self._pump_in, stdin, True)
        self._thread(self._finish, process.stdout.fileno(), [errors])

    def _start_on_terminal(self, argv: list[str]) -> None:
        master, slave = pty.openpty()
        tty = os.ttyname(slave)
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", TERMINAL_SCRIPT, "sh", tty, *argv],
                cwd=self.home,
                env={**self.environment, "SSH_TTY": tty},
                stdin=subprocess.DEVNULL,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        except OSError:
            os.close(master)
            raise
        finally:
            os.close(slave)
        self._thread(self._pump_in, os.dup(master), False)
        self._thread(self._finish, master, [])

    def _thread(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        return thread

    def _pump_in(self, fd: int, close_at_end: bool) -> None:
        """From the client to the command; then wait for the end of the channel, and hang up what still runs."""
        try:
            while data := self.channel.recv(CHUNK):
                while data:
                    data = data[os.write(fd, data) :]
        except OSError:  # the command closed its standard input: drop what follows, as sshd does
            while self.channel.recv(CHUNK):
                pass
        if close_at_end:
            os.close(fd)
        # The end of the client's input is not the end of the channel.
        with self.channel.out_buffer_cv:
            self.channel.out_buffer_cv.wait_for(lambda: self.channel.closed)
        if not close_at_end:
            os.close(fd)
        self._hang_up()

    def _pump_out(self, fd: int, send: Callable[[bytes], object]) -> None:
        """From the command to the client."""
        try:
            while data := os.read(fd, CHUNK):
                send(data)
        except OSError:  # no reader at the other end any more; or EIO, the end of file of a terminal
            pass

    def _finish(self, fd: int, others: list[threading.Thread]) -> None:
        """Pump standard output; when all output has ended, tell how the command ended and close the channel."""
        assert self._process is not None
        self._pump_out(fd, self.channel.sendall)
        for thread in others:
            thread.join()
        code = self._process.wait()
        try:
            if code >= 0:
                self.channel.send_exit_status(code)
            else:
                send_exit_signal(self.channel, -code)
            self.channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException):  # the connection is lost
            pass
        self.channel.close()
        if self._process.stdout is None:
            os.close(fd)
        else:
            self._process.stdout.close()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _hang_up(self) -> None:
        """SIGHUP, then SIGKILL, to the group of a command that still runs; what an ended one has left is left alone."""
        process = self._process
        assert process is not None
        for sig in (signal.SIGHUP, signal.SIGKILL):
            if process.poll() is not None:
                return
            try:
                os.killpg(process.pid, sig)
                process.wait(GRACE)
            except (ProcessLookupError, subprocess.TimeoutExpired):  # it has just ended; or it ignores SIGHUP
                continue


def send_exit_signal(channel: paramiko.Channel, number: int) -> None:
    """`exit-signal` of RFC 4254, section 6.10, which paramiko has no call for."""
    message = paramiko.Message()
    message.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("exit-signal")
    message.add_boolean(False)
    message.add_string(signal.Signals(number).name.removeprefix("SIG"))
    message.add_boolean(False)
    message.add_string("")
    message.add_string("")
    transport: Any = channel.get_transport()
    transport._send_user_message(message)
