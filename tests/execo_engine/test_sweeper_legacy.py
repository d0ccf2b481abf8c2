"""Directories of execo 2.8: read as data, continued, written back."""

from __future__ import annotations

import json
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_engine._sweep.legacy import read_pickles
from execo_engine.sweep import HashableDict, ParamSweeper, export_execo2, sweep


class Foreign:
    """A class that only the script that wrote the directory has."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/execo-must-not-be-there",)


PLAN = sweep({"n": [1, 2.5, "x", None, (1, 2)], "kind": ["a", "b"]})


def write(directory: Path, done: list[Any], inprogress: list[Any], sweeps: list[Any] | None = None, protocol: int = 4) -> None:
    directory.mkdir()
    (directory / "done").write_bytes(b"".join(pickle.dumps(one, protocol) for one in done))
    (directory / "inprogress").write_bytes(pickle.dumps(set(inprogress), protocol))
    if sweeps is not None:
        (directory / "sweeps").write_bytes(pickle.dumps(set(sweeps), protocol))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_directory_of_execo_2_is_read_and_continued_and_not_written(protocol: int, tmp_path: Path) -> None:
    write(tmp_path / "s", PLAN[:3], PLAN[3:4], PLAN, protocol)
    before = {name: (tmp_path / "s" / name).read_bytes() for name in ("done", "inprogress", "sweeps")}
    sweeper = ParamSweeper(tmp_path / "s")
    assert sweeper.get_sweeps() == set(PLAN)
    assert sweeper.get_done() == set(PLAN[:3])
    assert sweeper.get_inprogress() == set(PLAN[3:4])
    sweeper.done(sweeper.get_next())
    sweeper.close()
    again = ParamSweeper(tmp_path / "s", PLAN)
    assert len(again.get_done()) == 4
    assert {name: (tmp_path / "s" / name).read_bytes() for name in before} == before
    again.cancel(PLAN[3])
    assert again.get_inprogress() == set()


def test_claims_of_execo_2_are_given_back_after_the_lease(tmp_path: Path) -> None:
    write(tmp_path / "s", [], PLAN[:1])
    sweeper = ParamSweeper(tmp_path / "s", PLAN[:1], lease=50)
    now = [0.0]
    sweeper._store.monotonic = lambda: now[0]
    sweeper._store._watch._seen.clear()
    assert sweeper.get_next() is None
    now[0] = 51.0
    assert sweeper.get_next() == PLAN[0]


def test_what_execo_2_did_meanwhile_is_taken_in(tmp_path: Path) -> None:
    write(tmp_path / "s", PLAN[:1], [])
    assert len(ParamSweeper(tmp_path / "s", PLAN).get_done()) == 1
    with open(tmp_path / "s" / "done", "ab") as file:
        pickle.dump(PLAN[1], file)
    sweeper = ParamSweeper(tmp_path / "s", PLAN)
    assert sweeper.get_done() == set(PLAN[:2])
    imports = [(note["file"], note["records"]) for note in sweeper.directory.history() if note["kind"] == "imported"]
    assert imports == [("done", 1), ("inprogress", 0), ("done", 1)]


def test_an_unknown_class_costs_its_record_and_runs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = HashableDict(n=1, node=Foreign())
    write(tmp_path / "s", [PLAN[0], bad, PLAN[1]], [])
    sweeper = ParamSweeper(tmp_path / "s", PLAN)
    assert sweeper.get_done() == set(PLAN[:2])
    assert "system, and only plain values are read" in caplog.text
    [kept] = [json.loads(line) for line in (tmp_path / "s" / "quarantine").read_text().splitlines()]
    assert kept["file"] == "done"
    assert not os.path.exists("/tmp/execo-must-not-be-there")


@pytest.mark.parametrize("rubbish", [b"garbage", b"\x80\x04garbage", b"\x80", b"\x00" * 100, pickle.dumps(PLAN[3])[:-5],
                                     b"cposix\nsystem\n."], ids=str)
def test_rubbish_between_records_costs_no_other(rubbish: bytes, tmp_path: Path) -> None:
    write(tmp_path / "s", [], [])
    (tmp_path / "s" / "done").write_bytes(pickle.dumps(PLAN[0]) + rubbish + pickle.dumps(PLAN[1]) + pickle.dumps(PLAN[2]) + rubbish)
    (tmp_path / "s" / "inprogress").write_bytes(rubbish)
    done = ParamSweeper(tmp_path / "s", PLAN).get_done()
    assert {PLAN[0], PLAN[2]} <= done <= set(PLAN[:3])


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail(data: bytes) -> None:
    values, damaged = read_pickles(data + pickle.dumps(PLAN[0]))
    assert len(values) + len(damaged) >= 1


def test_the_reader_builds_plain_values_only() -> None:
    for value in (eval, os.system, object, Foreign(), Path("/")):
        values, damaged = read_pickles(pickle.dumps(value, 2) + pickle.dumps({"a"}, 2))
        assert values == [{"a"}]
        assert len(damaged) == 1
    plain = [1, 2.5, "é", b"\x00\xff", None, True, (1, ("a",)), frozenset([1]), HashableDict(a=HashableDict(b=1)), 1j, 2**100]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert read_pickles(b"".join(pickle.dumps(one, protocol) for one in plain)) == (plain, [])


def test_a_directory_is_written_back_as_execo_2_has_it(tmp_path: Path) -> None:
    sweeper = ParamSweeper(tmp_path / "s", PLAN)
    sweeper.done_batch(PLAN[:3])
    sweeper.fail(PLAN[3], "why")
    claimed = sweeper.get_next()
    assert export_execo2(tmp_path / "s", tmp_path / "old") == {"done": 3, "inprogress": 1, "sweeps": 10}
    done, damaged = read_pickles((tmp_path / "old" / "done").read_bytes())
    assert (done, damaged) == (PLAN[:3], [])
    assert pickle.loads((tmp_path / "old" / "inprogress").read_bytes()) == {claimed}
    assert pickle.loads((tmp_path / "old" / "sweeps").read_bytes()) == set(PLAN)
    assert {argument for opcode, argument, _ in pickletools.genops((tmp_path / "old" / "inprogress").read_bytes())
            if opcode.name == "GLOBAL"} <= {"execo_engine.sweep HashableDict", "__builtin__ set"}
    with pytest.raises(FileExistsError, match="choose another directory"):
        export_execo2(tmp_path / "s", tmp_path / "old")
    assert ParamSweeper(tmp_path / "old").get_done() == set(PLAN[:3])
