"""Commands, input and file names reach the other side of the real TakTuk as they are."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taktuk import HERE

from execo import Host, TaktukGet, TaktukPut, TaktukRemote
from execo._taktuk.quoting import quote, quote_again

pytestmark = pytest.mark.requires("taktuk", "perl")

# Many examples in one tree, a host for each: it is the start of the tree that takes time.
few = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.large_base_example,
                                                                    HealthCheck.data_too_large, HealthCheck.too_slow])
SPECIAL = [" ", "%", ";", "]", "[", "-]", "-[", "{", "}", "\n", "\r", "\t", "\\", "!", "$", "'", '"', "`", "#", "a", "é", "%]",
           "quit", "exec", "|", "\x1b", "~", "*", "-", ".", ",", "/", "\udcff"]
TEXT = st.one_of(st.lists(st.sampled_from(SPECIAL), max_size=12).map("".join),
                 st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20))
DATA = st.one_of(st.binary(max_size=50), st.lists(st.sampled_from(SPECIAL), max_size=12).map(lambda words: "".join(words).encode(
    "utf-8", "surrogateescape")))
NAME = TEXT.map(lambda text: text.replace("/", "_")).filter(lambda text: text not in ("", ".", "..") and len(os.fsencode(text)) < 200)


def hosts(number: int) -> list[Host]:
    return [Host(f"h{n}") for n in range(number)]


def run(commands: list[str]) -> list[bytes]:
    """The output of each, as a command of its own host."""
    action = TaktukRemote("{{commands}}", hosts(len(commands)), HERE).run(60)
    assert action.finished_ok, [str(process) for process in action.processes if not process.ok]
    return [process.stdout_bytes for process in action.processes]


@few
@given(st.lists(TEXT, min_size=16, max_size=16))
def test_a_command_arrives_as_it_is(texts: list[str]) -> None:
    # The shell tells its own command line, so the text is not parsed by it.
    commands = ["tr '\\0' '\\n' < /proc/$$/cmdline | tail -n +3; exit\n" + text for text in texts]
    # Its first bytes are those that make TakTuk's Perl use a shell; a command line ends in a NUL.
    assert run(commands) == [b":; " + os.fsencode(command) + b"\n" for command in commands]


@few
@given(st.lists(TEXT, min_size=16, max_size=16))
def test_a_word_in_quotes_arrives_as_it_is(texts: list[str]) -> None:
    assert run([f"printf %s {shlex.quote(text)}" for text in texts]) == [os.fsencode(text) for text in texts]


@few
@given(st.lists(st.lists(DATA, min_size=1, max_size=5), min_size=16, max_size=16))
def test_input_arrives_byte_for_byte(inputs: list[list[bytes]]) -> None:
    action = TaktukRemote("cat", hosts(len(inputs)), HERE).start()
    for process, pieces in zip(action.processes, inputs, strict=True):
        for piece in pieces:
            process.write(piece)
    action.close_stdin().wait(60)
    assert action.finished_ok
    assert [process.stdout_bytes for process in action.processes] == [b"".join(pieces) for pieces in inputs]


@few
@given(st.lists(NAME, min_size=6, max_size=6, unique=True), st.booleans())
def test_names_of_files_and_directories_there_and_back(tmp_path: Path, names: list[str], directories: bool) -> None:
    folder = tmp_path / os.urandom(8).hex()
    for place in ("from", "to", "back"):
        (folder / place).mkdir(parents=True)
    for name in names:
        source = folder / "from" / name
        if directories:
            source.mkdir()
            source /= name
        source.write_bytes(os.fsencode(name))
    # Named in the copies.
    sources = [str(folder / "from" / name) for name in names]       # noqa: F841
    copies = [str(folder / "to" / name) for name in names]          # noqa: F841
    backs = [str(folder / "back" / name) for name in names]         # noqa: F841
    put = TaktukPut(hosts(6), "{{sources}}", "{{copies}}", HERE).run(60)
    assert put.finished_ok, [str(process) for process in put.processes if not process.ok]
    get = TaktukGet(hosts(6), "{{copies}}", "{{backs}}", HERE).run(60)
    assert get.finished_ok, [str(process) for process in get.processes if not process.ok]
    for place in ("to", "back"):
        for name in names:
            copy = folder / place / name
            assert (copy / name if directories else copy).read_bytes() == os.fsencode(name)
        assert len(os.listdir(folder / place)) == 6


@given(st.binary(max_size=30))
def test_quotes_are_those_of_the_escape_character(data: bytes) -> None:
    def read(text: bytes) -> bytes:
        out, escaped = bytearray(), False
        for byte in text:
            if not escaped and byte == ord("%"):
                escaped = True
                continue
            assert escaped or byte not in b" ;]"
            out.append(byte)
            escaped = False
        assert not escaped
        return bytes(out)

    assert read(quote(data)) == data
    assert read(quote_again(data)) == data
    assert read(read(quote_again(quote(data)))) == data
