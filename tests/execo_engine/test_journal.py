"""The lines of the journal: framed, checked, and found among damaged ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_engine._sweep.journal import STATES, Entry, frame, is_sound, kind_of, make_note, parse_entry, scan, split_key

ENTRIES = [
    Entry("inprogress", 1, 1, "c0ffee", 1763772000.25, None, b'{"n":1}', {}),
    Entry("done", 3, 2, "c0ffee", 1763772000.25, 1763772001.5, b'{"a,b":"x]\\n"}', {}, b'{"a,b":1.0,"c":["t",1]}'),
    Entry("failed", 1, 1, None, None, 12.0, b"1", {"reason": 'a "quoted", reason\nwith é'}, b"true"),
    Entry("skipped", 0, 0, "x", None, None, b'"s"', {"persistent": True}),
]
LINES = [frame(entry.body()) for entry in ENTRIES]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.state)
def test_a_record_comes_back(entry: Entry) -> None:
    line = frame(entry.body())
    assert line.endswith(b"]\n")
    assert parse_entry(line[:-1]) == entry
    assert split_key(line[:-1]) == entry.key
    assert kind_of(line[:-1]) == entry.state
    json.loads(line)


@given(st.sampled_from(STATES), st.integers(0), st.integers(0), st.one_of(st.none(), st.text("0123456789abcdef", min_size=1)),
       st.dictionaries(st.sampled_from(["reason", "persistent"]), st.one_of(st.text(), st.booleans())), st.text(), st.text())
def test_any_record_comes_back(state: str, serial: int, attempts: int, owner: str | None, more: dict[str, Any], key: str, value: str
                               ) -> None:
    entry = Entry(state, serial, attempts, owner, None, 1.5, json.dumps(key).encode(), more, json.dumps(value).encode())
    line = frame(entry.body())
    assert scan(line, 0) == ([line[:-1]], [], b"")
    assert parse_entry(line[:-1]) == entry


def test_a_note_is_json() -> None:
    line = make_note("plan", {"size": 3, "name": "é"})
    assert json.loads(line)[1:] == ["plan", {"size": 3, "name": "é"}]
    assert is_sound(line[:-1])


def test_every_bit_counts() -> None:
    line = LINES[0][:-1]
    for place in range(len(line)):
        for bit in range(8):
            damaged = bytearray(line)
            damaged[place] ^= 1 << bit
            # The case of the checksum's letters is the one thing that says nothing.
            if bytes(damaged).lower() != line.lower():
                assert not is_sound(bytes(damaged)), (place, bit)


def test_a_record_that_was_cut_off_at_any_byte_costs_no_other() -> None:
    first, torn, last = LINES[0], LINES[1], LINES[2]
    for cut in range(len(torn)):
        found = scan(first + torn[:cut], 0)
        assert found.lines == [first[:-1]]
        assert found.tail == torn[:cut]
        # The next writer ends the line, and writes its own.
        found = scan(first + torn[:cut] + b"\n" + last, 100)
        whole = [torn[:-1]] if cut == len(torn) - 1 else []
        assert found.lines == [first[:-1], *whole, last[:-1]]
        assert [(damage.offset, damage.content) for damage in found.damages] == (
            [] if cut == 0 or whole else [(100 + len(first), torn[:cut])])
        # Also if the bytes are zeros, as after a failure of power.
        found = scan(first + torn[:cut] + bytes(len(torn) - cut) + b"\n" + last, 0)
        assert found.lines[0] == first[:-1]
        assert found.lines[-1] == last[:-1]


def test_a_newline_that_is_damaged_costs_no_record() -> None:
    data = LINES[0][:-1] + b"\x00" + LINES[1] + LINES[2]
    found = scan(data, 0)
    assert found.lines == [line[:-1] for line in LINES[:3]]
    assert [damage.content for damage in found.damages] == [b"\x00"]


@given(st.integers(0, len(b"".join(LINES)) - 1), st.binary(min_size=1, max_size=40))
def test_damage_anywhere_costs_what_it_hits_and_no_other(place: int, rubbish: bytes) -> None:
    data = b"".join(LINES)
    damaged = data[:place] + rubbish + data[place + len(rubbish):]
    found = scan(damaged, 0)
    untouched, offset = [], 0
    for line in LINES:
        if damaged[offset:offset + len(line)] == line:
            untouched.append(line[:-1])
        offset += len(line)
    kept = [line for line in found.lines if line in untouched]
    assert kept == untouched or (found.tail and kept == untouched[:-1] and untouched[-1] in found.tail)
    for damage in found.damages:
        assert damaged[damage.offset:damage.offset + len(damage.content)] == damage.content


def test_rubbish_of_any_kind_is_no_record() -> None:
    for rubbish in (b"garbage", b'["zzzzzzzz","done"]', b'["', b"[]", b"\x00" * 5000, b'["5f3a9c1e",', b'["5f3a9c1e","done",1,1]'):
        found = scan(rubbish + b"\n" + LINES[0], 0)
        assert found.lines == [LINES[0][:-1]]
        assert b"".join(damage.content for damage in found.damages) == rubbish
    assert scan(b"\n\n" + LINES[0] + b"\n", 0) == ([LINES[0][:-1]], [], b"")
