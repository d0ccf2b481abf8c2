"""Shell scripts that do many things on a host, and tell of each how it went: pure.

What is done for one thing (a VM, as a rule) prints a block::

    @NONCE > NAME
    what its commands print, on both streams
    @NONCE < STATUS NAME

STATUS is an exit code, or "-" after commands of a virsh that did several: then a line with "error:" tells of a failure.
"""

from __future__ import annotations

import re
import shlex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COMMAND = 'script=$(cat); exec </dev/null; eval "$script"'
"""Runs the script that it gets on standard input: as an argument it would be too long with many VMs (128 KiB on Linux)."""
LONGEST = 100_000
"""Bytes of one argument."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:=+,@%-]+")


def checked_name(name: str) -> str:
    """:raises ValueError: for a name that does not fit in a line."""
    if not name or name != name.strip() or any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise ValueError(f"a name of one line is needed, found {name!r}")
    return name


def head() -> str:
    """What each script begins with: one language, a folder of its own that is removed at the end."""
    return ("export LC_ALL=C\n"
            'folder=$(mktemp -d) && cd "$folder" || exit 1\n'
            "trap 'cd /; rm -rf \"$folder\"' EXIT\n"
            "trap 'exit 143' HUP INT TERM\n")


def shell_block(nonce: str, name: str, commands: Iterable[Sequence[str] | str]) -> str:
    """Commands (words, or text of the shell) one after the other, until one fails."""
    lines = [command if isinstance(command, str) else shlex.join(command) for command in commands]
    body = " &&\n".join(f"{{ {line}\n}}" for line in lines) or ":"
    return f"{begin_line(nonce, name)}( {body} ) 2>&1\n{end_line(nonce, name)}"


def begin_line(nonce: str, name: str) -> str:
    return f"printf '\\n%s\\n' {shlex.quote(f'@{nonce} > {checked_name(name)}')}\n"


def end_line(nonce: str, name: str) -> str:
    """Tells the exit code of the command before it."""
    return f"printf '\\n%s %s %s\\n' {shlex.quote(f'@{nonce} <')} $? {shlex.quote(checked_name(name))}\n"


def virsh_word(word: str) -> str:
    """A word as virsh's own parser reads it."""
    if _PLAIN.fullmatch(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def virsh(uri: str, *words: str) -> str:
    """A command of a virsh of its own, for the shell."""
    return shlex.join(["virsh", "-q", "-c", uri, *words])


def virsh_blocks(nonce: str, uri: str, blocks: Iterable[tuple[str, Sequence[Sequence[str]]]]) -> str:
    """Commands of virsh for several names, by as few processes as possible: to start virsh and to connect takes longer than most commands.

    :param blocks: (name, commands), all commands of a name are tried.
    """
    texts = []
    for name, commands in blocks:
        begin, end = (f'echo "\n@{nonce} {mark} {_escaped(checked_name(name))}\n"' for mark in (">", "< -"))
        texts.append("; ".join([begin, *(" ".join(map(virsh_word, command)) for command in commands), end]))
    lines = []
    part: list[str] = []
    length = 0
    for text in texts:
        size = len(text.encode())
        if part and length + size > LONGEST:
            lines.append("; ".join(part))
            part, length = [], 0
        part.append(text)
        length += size + 2
    if part:
        lines.append("; ".join(part))
    return "".join(f"{virsh(uri, line)} 2>&1\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def write_file(name: str, text: str) -> str:
    """Write a small file, without a process."""
    return f"printf '%s' {shlex.quote(text)} > {shlex.quote(name)}\n"
