"""Lines from text that comes in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo._process.output import LineSplitter
from execo.process import STDERR, STDOUT, ProcessOutputHandler, splitlines, stream_name

PIECES = st.lists(st.text(alphabet="ab\n\r\v\f\x1c\x85\u2028é", max_size=6))


def lines_of(pieces: list[str]) -> list[str]:
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    rest = splitter.rest()
    return [*lines, rest] if rest else lines


@given(PIECES)
def test_however_a_text_is_cut_its_lines_are_those_of_the_whole(pieces):
    assert lines_of(pieces) == "".join(pieces).splitlines()


def test_cr_lf_is_one_separator_also_when_it_is_split_over_two_reads():
    assert lines_of(["a\r\nb\r", "\nc\r", "", "\n", "d\r", "e"]) == ["a", "b", "c", "d", "e"]


def test_a_line_is_given_as_soon_as_its_separator_is_there():
    splitter = LineSplitter()
    assert splitter.feed("a\r") == ["a"]
    assert splitter.feed("\nb") == []
    assert splitter.feed("\n\n") == ["b", ""]


@pytest.mark.parametrize("separator", list("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))
def test_each_separator_of_the_contract_ends_a_line(separator):
    assert lines_of([f"a{separator}", f"{separator}b"]) == ["a", "", "b"]


@pytest.mark.parametrize("text, expected", [("", ([], "")), ("a", ([], "a")), ("a\nb", (["a"], "b")), ("a\r\n", (["a"], ""))])
def test_splitlines_gives_complete_lines_and_the_rest(text, expected):
    assert splitlines(text) == expected


class Lines(ProcessOutputHandler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def read_line(self, process, stream, string):
        self.lines.append((process, stream, string))


def test_read_line_keeps_processes_and_streams_apart():
    handler = Lines()
    for process, stream, text in (("p", STDOUT, "a"), ("q", STDOUT, "x\n"), ("p", STDERR, "e\n"), ("p", STDOUT, "b\n")):
        handler.read(process, stream, text, False, False)
    assert handler.lines == [("q", STDOUT, "x"), ("p", STDERR, "e"), ("p", STDOUT, "ab")]


@pytest.mark.parametrize("eof, error", [(True, False), (False, True)])
def test_the_last_line_without_separator_is_given_at_the_end_once(eof, error):
    handler = Lines()
    handler.read("p", STDOUT, "a\nrest", False, False)
    handler.read("p", STDOUT, "", eof, error)
    assert handler.lines == [("p", STDOUT, "a"), ("p", STDOUT, "rest")]
    assert handler._buffers == {}


def test_stream_name_knows_two_streams():
    assert (stream_name(STDOUT), stream_name(STDERR)) == ("STDOUT", "STDERR")
    with pytest.raises(ValueError, match="3"):
        stream_name(3)
