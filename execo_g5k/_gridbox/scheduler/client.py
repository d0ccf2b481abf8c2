"""One command of the box's frontend: it tells the site what it was called with, and prints what that answers.

``python -I -S client.py SOCKET COMMAND ARGUMENTS...``: few imports, for it starts often.

There: the numbers of arguments and variables, then these, the folder and the standard input (of `oarprint` only), each ended by a NUL.
Back: frames of one letter, eight hexadecimal digits (a length) and as many bytes: ``o`` output, ``e`` errors, ``x`` the exit code, ``p``
words of a program to become.
"""

import _socket
import posix
import sys


def main() -> int:
    path, command = sys.argv[1:3]
    arguments = [word.encode("utf-8", "surrogateescape") for word in sys.argv[2:]]
    variables = [name + b"=" + value for name, value in posix.environ.items()]
    text = sys.stdin.buffer.read() if command == "oarprint" else b""
    try:
        folder = posix.getcwdb()
    except FileNotFoundError:
        folder = b"/"
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError as error:
        sys.stderr.write(f"{command}: the scheduler of the box does not answer: {error.strerror}\n")
        return 70
    counts = b"%d" % len(arguments), b"%d" % len(variables)
    connection.sendall(b"".join(part + b"\0" for part in (*counts, *arguments, *variables, folder, text)))
    connection.shutdown(_socket.SHUT_WR)
    answer = bytearray()
    while True:
        while len(answer) >= 9 and len(answer) >= 9 + int(answer[1:9], 16):
            kind, end = answer[:1], 9 + int(answer[1:9], 16)
            body = bytes(answer[9:end])
            del answer[:end]
            if kind == b"x":
                return int(body)
            if kind == b"p":
                words = body.split(b"\0")
                posix.execv(words[0], words)
            write(1 if kind == b"o" else 2, body)
        more = connection.recv(1 << 16)
        if not more:
            sys.stderr.write(f"{command}: the scheduler of the box has stopped\n")
            return 70
        answer += more


def write(descriptor: int, text: bytes) -> None:
    while text:
        text = text[posix.write(descriptor, text):]


if __name__ == "__main__":
    posix._exit(main())
