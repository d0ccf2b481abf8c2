"""What TakTuk prints, as events: every byte of it, however it was cut."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taktuk import HERE

from execo._taktuk.command import guarded, host_item, shell_command, tree_command
from execo._taktuk.lines import COMMAND_STARTED, CONNECTION_FAILED, NUMBERED, LineParser
from execo.host import Host

RECORDED = (
    b"X 0 1 0    \n"
    b"X 1 1 1    \n"
    b"C 3 ssh: connect to host 10.0.0.3 port 22: Connection refused\n"
    b"X 0 3 0 4711 3 \n"
    b"X 1 6 1 4712  \n"
    b"X 2 1 2    \n"
    b"X 2 6 2 4713  \n"
    b"O 1 1 first\n"
    b"O 1 1 \n"
    b"O 1 0 prompt> \n"
    b"O 2 1 from the second\n"
    b"E 1 1 \xff\x00 no text\n"
    b"D 2 1 9\nS 1 0\n\n\n\xff"
    b"D 2 2 1\nx"
    b"X 1 5 1 4720 4 node-5:5 node-6:1.6\n"
    b"S 1 768\n"
    b"T 2 warning  odd\n"
    b"X 2 7 2 4713  \n"
)
EVENTS: list[tuple[Any, ...]] = [
    ("state", 0, 1, 0, 0, None, []),
    ("state", 1, 1, 1, 0, None, []),
    ("connector", 3, b"ssh: connect to host 10.0.0.3 port 22: Connection refused"),
    ("state", 0, 3, 0, 4711, 3, []),
    ("state", 1, 6, 1, 4712, None, []),
    ("state", 2, 1, 2, 0, None, []),
    ("state", 2, 6, 2, 4713, None, []),
    ("output", 1, 1, b"first\n\nprompt> "),
    ("output", 2, 1, b"from the second\n"),
    ("output", 1, 2, b"\xff\x00 no text\n"),
    ("output", 2, 1, b"S 1 0\n\n\n\xff"),
    ("output", 2, 2, b"x"),
    ("state", 1, 5, 1, 4720, 4, [5]),
    ("status", 1, 768),
    ("noise", b"T 2 warning  odd"),
    ("state", 2, 7, 2, 4713, None, []),
]


class Recorder:
    """A listener that remembers; adjacent output of one stream is one event, for its pieces depend on the cuts."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def on_output(self, place: int, stream: int, data: bytes) -> None:
        if self.events and self.events[-1][:3] == ("output", place, stream):
            data = self.events.pop()[3] + data
        self.events.append(("output", place, stream, data))

    def on_status(self, place: int, status: int) -> None:
        self.events.append(("status", place, status))

    def on_connector(self, place: int, words: bytes) -> None:
        self.events.append(("connector", place, words))

    def on_state(self, place: int, state: int, rank: int, pid: int, peer: int | None, below: list[int]) -> None:
        self.events.append(("state", place, state, rank, pid, peer, below))

    def on_noise(self, words: bytes) -> None:
        self.events.append(("noise", words))


def parsed(*pieces: bytes) -> list[tuple[Any, ...]]:
    recorder = Recorder()
    parser = LineParser(recorder)
    for piece in pieces:
        parser.feed(piece)
    parser.end()
    return recorder.events


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(stream) + 1) for place in places})
    return [stream[begin:end] for begin, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


def test_each_line_is_its_event() -> None:
    # A position of a host within a host's own list has a dot; ours have none, so it is not one of `below`.
    assert parsed(RECORDED) == EVENTS


@given(st.lists(st.integers(0, len(RECORDED)), max_size=30))
def test_cuts_make_no_difference(places: list[int]) -> None:
    assert parsed(*cut(RECORDED, places)) == EVENTS


def test_single_bytes_make_no_difference() -> None:
    assert parsed(*(RECORDED[place:place + 1] for place in range(len(RECORDED)))) == EVENTS


LINE = st.one_of(
    st.binary(max_size=30),
    st.builds(lambda kind, rest: kind + b" " + rest, st.sampled_from([b"D", b"O", b"E", b"S", b"C", b"X", b"T"]), st.binary(max_size=30)),
    st.builds(lambda kind, words: kind + b" " + b" ".join(words), st.sampled_from([b"D", b"O", b"E", b"S", b"C", b"X"]),
              st.lists(st.sampled_from([b"", b"0", b"1", b"7", b"-1", b"--", b"9" * 30, b"x", b"\xc2\xb2", b"a:1", b":"]), max_size=9)))


@given(st.lists(LINE, max_size=10), st.lists(st.integers(0, 500), max_size=10))
def test_nothing_raises_and_cuts_make_no_difference(lines: list[bytes], places: list[int]) -> None:
    stream = b"\n".join(lines)
    assert parsed(*cut(stream, places)) == parsed(stream)


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=5))
def test_nothing_is_dropped(lines: list[bytes]) -> None:
    """Each line that is no event is told as such."""
    junk = [b"!" + line for line in lines]
    assert parsed(b"".join(line + b"\n" for line in junk)) == [("noise", line) for line in junk]


@given(st.lists(st.tuples(st.sampled_from([(1, 1), (1, 2), (2, 1), (20, 1)]), st.binary(max_size=30).filter(lambda line: b"\n" not in line),
                          st.sampled_from(["line", "piece", "block"])), max_size=20))
def test_output_arrives_byte_for_byte(pieces: list[tuple[tuple[int, int], bytes, str]]) -> None:
    sent: dict[tuple[int, int], bytes] = {}
    stream = b""
    for (place, fd), data, kind in pieces:
        if kind == "block":
            data = data * 2 + b"\n" + data
            stream += b"D %d %d %d\n%s" % (place, fd, len(data), data)
        else:
            stream += b"%s %d %d %s\n" % (b"O" if fd == 1 else b"E", place, kind == "line", data)
        sent[place, fd] = sent.get((place, fd), b"") + data + (b"\n" if kind == "line" else b"")
    got: dict[tuple[int, int], bytes] = {}
    for _, place, fd, data in parsed(stream):
        got[place, fd] = got.get((place, fd), b"") + data
    assert {key: data for key, data in got.items() if data} == {key: data for key, data in sent.items() if data}


def test_the_last_line_needs_no_line_end() -> None:
    assert parsed(b"S 1 0") == [("status", 1, 0)]


def test_a_line_of_many_pieces_takes_time_in_proportion_to_its_length() -> None:
    def seconds(pieces: int) -> float:
        parser = LineParser(Recorder())
        parser.feed(b"O 1 1 ")
        start = time.process_time()
        for _ in range(pieces):
            parser.feed(b"x" * 100)
        parser.feed(b"\n")
        return time.process_time() - start

    # A copy of the line at each piece would take 400 times as long for 20 times as many; in all 40 GB would be copied.
    assert seconds(20_000) < 60 * max(seconds(1000), 0.002)


def test_many_lines_take_time_in_proportion_to_their_number() -> None:
    def seconds(lines: int) -> float:
        stream = b"C 1 some words\n" * lines
        start = time.process_time()
        parsed(stream)
        return time.process_time() - start

    assert seconds(100_000) < 60 * max(seconds(5000), 0.002)


@pytest.mark.requires("taktuk", "perl")
def test_a_real_tree_tells_these_events() -> None:
    commands = ["printf 'a\\n\\nb'; exit 3", "printf x >&2; cat", "true"]
    items = b"".join(host_item(Host(name), HERE, None, shell_command(command))
                     for name, command in zip(["h1", "h2", "down"], commands, strict=True))
    command = guarded(tree_command(None, None, HERE, None, False), len(items), end=True)
    recorder = Recorder()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as tree:
        assert tree.stdin is not None
        assert tree.stdout is not None
        tree.stdin.write(items)
        parser = LineParser(recorder)
        while sum(event[0] == "state" and event[2] == COMMAND_STARTED for event in recorder.events) < 2:
            parser.feed(tree.stdout.read(65536))
        rank = next(event[3] for event in recorder.events if event[:3] == ("state", 2, NUMBERED))
        tree.stdin.write(f"{rank} input [ %%% one%]%;\n\udcff ];{rank} input close;".encode("utf-8", "surrogateescape"))
        while sum(event[0] == "status" for event in recorder.events) < 2:
            parser.feed(tree.stdout.read(65536))
        tree.stdin.write(b"quit;")
        parser.feed(tree.stdout.read())
    parser.end()
    events = recorder.events
    assert [event[1:] for event in events if event[0] == "status"] in ([(1, 768), (2, 0)], [(2, 0), (1, 768)])
    assert b"".join(event[3] for event in events if event[:3] == ("output", 1, 1)) == b"a\n\nb"
    assert b"".join(event[3] for event in events if event[:3] == ("output", 2, 1)) == b"% one];\n\xff"
    assert b"".join(event[3] for event in events if event[:3] == ("output", 2, 2)) == b"x"
    assert ("connector", 3, b"ssh: connect to host down port 22: Connection refused") in events
    assert [(event[1], event[5]) for event in events if event[0] == "state" and event[2] == CONNECTION_FAILED] == [(0, 3)]
    started = [event for event in events if event[0] == "state" and event[2] == COMMAND_STARTED]
    assert sorted(event[1] for event in started) == [1, 2]
    assert all(event[4] > 0 for event in started)
    numbered = next(place for place, event in enumerate(events) if event[:3] == ("state", 0, NUMBERED))
    assert numbered < min(events.index(event) for event in started)
