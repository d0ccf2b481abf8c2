"""A command of Kadeploy on the box's frontend: it tells the box what it was called with, and prints what that answers, as it comes.

``python -I -S client.py SOCKET COMMAND ARGUMENTS...``; client.pl is the same, for frontends where this Python cannot be had.

There: the number of words, the command and its arguments, the folder, OAR_JOB_ID, "tty" or nothing, and the standard input if an argument
is ``-``, each ended by a NUL; then what is typed, of kaconsole3, or a ^C when the command is interrupted.
Back: frames of one letter, eight hexadecimal digits (a length) and as many bytes: ``o`` output, ``e`` errors, ``x`` the exit code,
``s`` a program to be run.
"""

import os
import select
import signal
import socket
import sys


def main() -> int:
    path, command = sys.argv[1:3]
    typed = sys.stdin.buffer.read() if "-" in sys.argv[3:] else b""
    try:
        folder = os.getcwdb()
    except FileNotFoundError:
        folder = b"/"
    terminal = os.isatty(0) and os.isatty(1)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        sys.stderr.write(f"The {command} server is unreachable\n")
        return 1
    words = [word.encode("utf-8", "surrogateescape") for word in sys.argv[2:]]
    parts = [b"%d" % len(words), *words, folder, os.environb.get(b"OAR_JOB_ID", b""), b"tty" if terminal else b"", typed]
    signal.signal(signal.SIGINT, lambda *_: connection.send(b"\x03"))
    connection.sendall(b"".join(part + b"\0" for part in parts))
    if command != "kaconsole3" or not terminal:
        return relay(connection, [connection])
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        return relay(connection, [connection, 0])
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def relay(connection: socket.socket, sources: list) -> int:  # type: ignore[type-arg]
    answer = bytearray()
    while True:
        ready = select.select(sources, [], [])[0]
        if 0 in ready:
            text = os.read(0, 4096)
            if not text:
                return 0
            connection.sendall(text)
        if connection not in ready:
            continue
        more = connection.recv(1 << 16)
        if not more:
            sys.stderr.write("the server of the box has stopped\n")
            return 1
        answer += more
        while len(answer) >= 9 and len(answer) >= 9 + int(answer[1:9], 16):
            kind, end = answer[:1], 9 + int(answer[1:9], 16)
            body = bytes(answer[9:end])
            del answer[:end]
            if kind == b"x":
                return int(body)
            if kind == b"s":
                sys.stdout.flush()
                os.spawnv(os.P_WAIT, body, [body])
                continue
            while body:
                body = body[os.write(1 if kind == b"o" else 2, body):]


if __name__ == "__main__":
    sys.exit(main())
