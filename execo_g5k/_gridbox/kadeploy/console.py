"""The console of a node: who opens it is asked for a name and a password, and has a shell of root on the node."""

from __future__ import annotations

import os
import pty
import select
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .call import Call

QUIT = b"\x1b" * 4
USER, PASSWORD = "root", "grid5000"
LOGIN = r"""
stty sane
while :; do
    printf '\n%s ttyS0\n\n%s login: ' "$1" "$2"
    read -r user || continue
    [ -n "$user" ] || continue
    stty -echo; printf 'Password: '; read -r word; stty echo; printf '\n'
    if [ "$user $word" = "$3" ]; then
        export PS1="root@$2:~# " ENV=; exec sh -i
    fi
    sleep 1; echo 'Login incorrect'
done
"""


def relay(call: Call, enter: Sequence[str], node: str, system: str) -> None:
    """Let the caller type on the console, until he quits or is gone.

    :param enter: words of a program that runs others on the node; none: here.
    """
    master, slave = pty.openpty()
    words = [*enter, "setsid", "--ctty", "sh", "-c", LOGIN, "sh", system, node.partition(".")[0], f"{USER} {PASSWORD}"]
    try:
        process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, cwd="/",
                                   env={"PATH": os.environ.get("PATH", os.defpath), "TERM": "dumb", "HOME": os.path.expanduser("~")})
    finally:
        os.close(slave)
    try:
        _relay(call, master)
    finally:
        os.close(master)                # hangs up
        process.kill()
        process.wait()


def _relay(call: Call, master: int) -> None:
    typed = b""
    poll = select.poll()                # `select` takes no descriptor from 1024 on
    for descriptor in (master, call.connection.fileno()):
        poll.register(descriptor, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if master in ready:
            try:
                shown = os.read(master, 1 << 16)
            except OSError:             # nothing runs on it any more: the node is off
                return
            call.out(shown.decode("utf-8", "replace"))
        if call.connection.fileno() in ready:
            data = call.connection.recv(4096)
            if not data:
                return
            typed = typed[-len(QUIT):] + data
            if QUIT in typed:
                return
            os.write(master, data)
