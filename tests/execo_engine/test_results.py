"""Results: recorded, read back, and made into tables."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import enum
import io
import math
import os
import pickle
import sys
from decimal import Decimal
from pathlib import Path

import pytest
import simplejson

from execo import Host
from execo_engine import HashableDict, Results, sweep
from execo_engine._results.lines import pack, unpack
from execo_engine.results import Result, combination_name


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "campaign", run="this run")


def test_what_is_appended_is_read_back_by_all(results):
    combination = sweep({"n": [1], "mode": ["fast"]})[0]
    results.append(combination, {"time": 1.5, "ok": True}, start_date=100, end_date=103.5, attempt=2, host="node-1")
    results.append("plain", {}, host=[Host("a", user="root"), "b"])
    first, second = Results(results.directory).read()
    assert first.parameters == {"n": 1, "mode": "fast"}
    assert first.metrics == {"time": 1.5, "ok": True}
    assert (first.start_date, first.end_date, first.duration) == (100, 103.5, 3.5)
    assert (first.attempt, first.host, first.run) == (2, "node-1", "this run")
    assert first.directory is None
    assert second.parameters == {"combination": "plain"}
    assert second.host == ["a", "b"]
    assert (second.start_date, second.duration) == (None, None)
    assert second.date >= first.date > 1.6e9


def test_there_are_no_results_before_the_first(tmp_path):
    results = Results(tmp_path / "none")
    assert results.read() == []
    assert results.rows() == []
    assert results.to_json() == "[]\n"
    assert not results.directory.exists()


def test_the_host_is_this_machine_unless_it_is_given(results):
    results.append({"n": 1}, {})
    assert results.read()[0].host == os.uname().nodename
    with pytest.raises(TypeError, match="host must be"):
        results.append({"n": 1}, {}, host=3)


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float


class Own:
    def for_json(self):
        return {"own": math.inf}


@pytest.mark.parametrize(("value", "read"), [
    (math.nan, None), (math.inf, None), (-math.inf, None), (1e300, 1e300), (0.1, 0.1), (2**70, 2**70), (None, None), (True, True),
    ("é\n\x00\u2028", "é\n\x00\u2028"), ([1, (2, math.nan)], [1, [2, None]]), ({"a": {"b": math.nan}}, {"a": {"b": None}}),
    (Own(), {"own": None}), (Color.RED, "red"), (Point(1, math.nan), {"x": 1, "y": None}), (Path("/a/b"), "/a/b"), (b"ab\xff", "ab\\xff"),
    ({3, 1, 2}, [1, 2, 3]), (Decimal("1.10"), 1.1), (datetime.date(2031, 5, 17), "2031-05-17"), (datetime.timedelta(minutes=1), 60.0),
    (HashableDict(a=1), {"a": 1}), ("\ud800", "\ud800"),
])
def test_a_value_of_a_metric_has_a_form_in_json(value, read, results):
    results.append({"n": 1}, {"value": value})
    assert results.read()[0].metrics == {"value": read}


class Array:
    """As numpy's arrays and scalars look from outside."""

    def __init__(self, items):
        self.items = items

    def tolist(self):
        return self.items


def test_arrays_and_scalars_of_numpy_are_values(results):
    results.append({"n": Array(3)}, {"array": Array([1.0, math.nan]), "scalar": Array(2)})
    read = results.read()[0]
    assert (read.parameters, read.metrics) == ({"n": 3}, {"array": [1.0, None], "scalar": 2})


@pytest.mark.parametrize("metrics", [{"a": object()}, {"a": [lambda: 0]}, {1: "number"}, [("a", 1)], "text", None])
def test_metrics_that_have_no_form_in_json_are_refused_and_nothing_is_written(metrics, results):
    results.append({"n": 1}, {"good": 1})
    with pytest.raises(TypeError):
        results.append({"n": 2}, metrics)
    assert [result.metrics for result in results.read()] == [{"good": 1}]


def test_a_metric_that_contains_itself_is_refused(results):
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError):
        results.append({"n": 1}, {"loop": loop})
    assert results.read() == []


def test_each_line_is_json_that_carries_its_checksum(results):
    results.append({"n": 1}, {"a": math.nan})
    lines = (results.directory / "results.jsonl").read_text().splitlines()
    assert len(lines) == 1
    read = simplejson.loads(lines[0])
    assert set(read) == {"crc32", "result"}
    assert read["result"]["metrics"] == {"a": None}


def test_what_a_later_version_adds_is_kept_aside(results):
    line = pack(Result({"n": 1}, {}, more={"new": 3}))
    read = unpack(line.rstrip(b"\n"))
    assert (read.parameters, read.more) == ({"n": 1}, {"new": 3})


def test_a_result_can_be_pickled(results):
    results.append({"n": 1}, {"a": 1})
    read = results.read()[0]
    assert pickle.loads(pickle.dumps(read)) == read


# folders of combinations

def test_a_combination_has_a_folder_with_its_parameters(results):
    combination = {"n": 1, "mode": "fast"}
    folder = results.combination_dir(combination)
    assert folder == results.combination_dir(dict(reversed(combination.items())))
    assert folder.parent == results.directory / "combinations"
    assert simplejson.loads((folder / "parameters.json").read_text())["parameters"] == {"n": 1, "mode": "fast"}
    (folder / "log").write_text("kept")
    assert (results.combination_dir(combination) / "log").read_text() == "kept"
    results.append(combination, {})
    assert results.directory / results.read()[0].directory == folder


COMBINATIONS = [
    1, 1.0, True, "1", b"1", None, "None", (1,), [1], ((1,),), "", "a b", "a-b", "a/b", "A B", "..", ".", "é", "e", "日本",
    "x" * 1000, "x" * 1001, math.nan, 0.0, -0.0, {}, {"n": 1}, {"n": "1"}, {"n": {"m": 1}}, {"n-m": 1}, {1: 2}, {"1": 2}, frozenset({1}),
    1j, Color.RED, "\ud800", "a\x00b", "a\nb",
]


def test_names_of_combinations_are_safe_in_a_path_and_differ(results):
    names = [combination_name(combination) for combination in COMBINATIONS]
    assert len({name.lower() for name in names}) == len(COMBINATIONS)
    for name in names:
        assert len(name) <= 97
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")
        assert name[0] not in ".-"


def test_a_name_begins_with_what_can_be_read():
    assert combination_name({"rate": 0.1, "mode": "fast one"}).startswith("mode-fast-one-rate-0.1-")
    assert combination_name({"n": 1}) == combination_name(HashableDict(n=1))


def test_a_name_is_the_same_in_another_program():
    """It names folders that a restarted script must find again."""
    assert combination_name({"n": 1, "s": "x", "t": (1, 2.5, None)}) == "n-1-s-x-t-1-2.5-None-b541a6178dc9a22c"
    assert combination_name(frozenset({"a", "b", "c"})) == "a-b-c-71b921bf4d526f4d"


def test_a_combination_without_a_lasting_text_is_refused(results):
    with pytest.raises(TypeError, match="has no text that names it"):
        results.combination_dir({"n": object()})


def test_two_combinations_of_one_name_have_two_folders(results, monkeypatch):
    monkeypatch.setattr("execo_engine._results.store.combination_name", lambda combination, digits=16: f"same-{digits}" if digits == 16 else
                        combination_name(combination, digits))
    folders = [results.combination_dir({"n": n}) for n in range(3)]
    assert len(set(folders)) == 3
    assert folders[0].name == "same-16"
    assert folders == [results.combination_dir({"n": n}) for n in range(3)]


def test_a_spoilt_file_of_parameters_is_written_anew(results):
    folder = results.combination_dir({"n": 1})
    (folder / "parameters.json").write_text("{")
    assert results.combination_dir({"n": 1}) == folder
    assert simplejson.loads((folder / "parameters.json").read_text())["parameters"] == {"n": 1}


# tables

@pytest.fixture
def campaign(results):
    results.append({"n": 1, "time": "early"}, {"time": 1.5, "list": [1, 2]}, start_date=100, end_date=102, attempt=1, host=["a", "b"])
    results.append({"n": 2, "kind": "x,\"y\"\nz"}, {"run.host": "odd", "nothing": math.nan}, host="c")
    return results


FACTS = ["run.start_date", "run.end_date", "run.duration", "run.attempt", "run.host", "run.name", "run.date", "run.directory"]


def test_a_table_has_all_parameters_metrics_and_facts_and_loses_none_of_the_same_name(campaign):
    assert campaign.columns() == ["n", "time", "kind", "metric.time", "list", "metric.run.host", "nothing", *FACTS]
    first, second = campaign.rows()
    assert list(first) == list(second) == campaign.columns()
    assert (first["time"], first["metric.time"], first["run.duration"], first["run.host"]) == ("early", 1.5, 2.0, "a,b")
    assert (second["time"], second["metric.run.host"], second["run.host"], second["run.name"]) == (None, "odd", "c", "this run")


def test_the_table_as_csv(campaign, tmp_path):
    text = campaign.to_csv()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == campaign.columns()
    assert (rows[0]["list"], rows[1]["kind"], rows[1]["nothing"], rows[1]["time"]) == ("[1, 2]", "x,\"y\"\nz", "", "")
    assert campaign.to_csv(tmp_path / "table.csv") is None
    assert (tmp_path / "table.csv").read_text() == text
    target = io.StringIO()
    campaign.to_csv(target)
    assert target.getvalue() == text


def test_the_table_as_json(campaign, tmp_path):
    campaign.to_json(str(tmp_path / "table.json"))
    assert simplejson.loads((tmp_path / "table.json").read_text()) == campaign.rows() == simplejson.loads(campaign.to_json())


@pytest.mark.requires("pandas")
def test_the_table_as_a_dataframe(campaign):
    frame = campaign.to_dataframe()
    assert list(frame.columns) == campaign.columns()
    assert len(frame) == 2
    assert frame["run.duration"][0] == 2.0
    assert Results(campaign.directory / "none").to_dataframe().empty


def test_without_pandas_one_is_told_how_to_get_it(campaign, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'execo-engine\[pandas\]'"):
        campaign.to_dataframe()
