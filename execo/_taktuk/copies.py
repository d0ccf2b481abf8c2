"""Copies as commands: a tar stream from the standard output of one shell to the standard input of another.  Pure.

TakTuk has `put` and `get`, but these give names to a shell without quotes, call a copy done while it is being written, and say nothing of a
disk that is full.  The exit status of tar tells all that.
What is copied is what scp copies: links are followed, modes are kept, owners are not.
"""

from __future__ import annotations

import os
import posixpath
import shlex

from .quoting import quote

LONGEST = 120_000           # bytes: Linux takes 128 KiB as one argument


def receiver(location: str, names: list[str], *, home: bool) -> str:
    """The shell command that writes a tar stream, as scp does: into a directory, or, one file or directory, by a new name.

    :param names: of the sources.
    :param home: ``~`` and ``~/...`` are in the home directory of who runs it.
    """
    place = _word(location, home)
    unpack = "tar -xpof - -C"
    if len(names) != 1:
        return f'd={place}; if [ -d "$d" ]; then exec {unpack} "$d"; fi; echo "not a directory: $d" >&2; exit 1'
    # Under its new name all at once, or not at all.
    return (f'd={place}; if [ -d "$d" ]; then exec {unpack} "$d"; fi; '
            't=$(mktemp -d "$(dirname -- "$d")/.execo-XXXXXX") || exit 1; '
            """trap 'rm -rf "$t"' EXIT; trap 'exit 143' TERM INT HUP; """
            f'{unpack} "$t" && mv -f -- "$t"/{shlex.quote(_split(names[0])[1])} "$d"')


def sender(names: list[str], *, home: bool) -> str:
    """The shell command that writes these files and directories to a tar stream, each under its last name."""
    words = ["tar", "-chf", "-"]
    if any("\\" in name for name in names):
        words.append("--no-unquote")    # of GNU tar, which reads \n in a name as a line end; others do not, nor know the option
    folder = None
    for name in names:
        head, tail = _split(name)
        if head != folder:
            # tar takes each -C relative to the one before.
            words += ["-C", _word(head, home) if head.startswith(("/", "~")) else f'"$w"/{_word(head, False)}']
            folder = head
        words.append(shlex.quote(tail))
    return "w=$(pwd); exec " + " ".join(words)


def feed(names: list[str]) -> bytes:
    """The order to TakTuk, but for its receivers, by which the standard input of their commands is such a stream of local files.

    :param names: absolute.
    :raises OSError: for too many names.
    """
    # TakTuk opens the name by `open` with two arguments, which runs a command before a bar.  But first, if there is a $ or ` in it, a shell
    # gets the name.
    script = sender(names, home=False).encode("utf-8", "surrogateescape").hex()
    if len(script) > LONGEST:
        raise OSError(7, "too many files for one copy by TakTuk, copy their directory", f"{len(names)} files")
    return b"input file [ %s ]" % quote(b"perl -e 'exec q(/bin/sh), q(-c), pack q(H*), shift' %s|" % script.encode())


def unreadable(names: list[str]) -> OSError | None:
    """What is wrong with these local files and directories, as far as can be seen before a copy."""
    for name in names:
        for each in (name, *(os.path.join(head, tail) for head, folders, files in os.walk(name) for tail in (*folders, *files))):
            try:
                os.stat(each)
            except OSError as error:
                return error
            if not os.access(each, os.R_OK):
                return PermissionError(13, "Permission denied", each)
    return None


def _split(name: str) -> tuple[str, str]:
    """Directory and last name.  ``x/.`` is the whole of x."""
    head, tail = posixpath.split(name.rstrip("/") or "/")
    if not tail or name == "~":
        return name, "."
    return head or ".", f"./{tail}" if tail.startswith("-") else tail


def _word(text: str, home: bool) -> str:
    if home and (text == "~" or text.startswith("~/")):
        return '"$HOME"' + (shlex.quote(text[1:]) if text[1:] else "")
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
