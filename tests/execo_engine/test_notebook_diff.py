"""What differed between two runs."""

from __future__ import annotations

import pytest

from execo_engine import Notebook, diff_runs
from execo_engine._notebook.differ import differences
from execo_engine.notebook import Difference, format_differences


@pytest.mark.parametrize(("first", "second", "found"), [
    ({}, {}, []),
    ({"seed": 1}, {"seed": 1}, []),
    ({"seed": 1}, {"seed": 2}, [("seed", 1, 2)]),
    ({"packages": {"a": "1", "b": "1"}}, {"packages": {"b": "2", "c": "3"}},
     [("packages.a", "1", None), ("packages.b", "1", "2"), ("packages.c", None, "3")]),
    ({"git": None}, {"git": {"commit": "c"}}, [("git", None, {"commit": "c"})]),
    ({"command_line": ["a"]}, {"command_line": ["b"]}, [("command_line", ["a"], ["b"])]),
    ({"run_id": 1, "start_date": 1, "pid": 1, "result_dir": "a"}, {"run_id": 2, "start_date": 2, "pid": 2, "result_dir": "b"}, []),
    ({"processes": {"number": 5, "failed": 0}}, {"processes": {"number": 5, "failed": 2}}, [("processes.failed", 0, 2)]),
    ({"processes": {"number": 5, "failed": 0}}, {}, [("processes.number", 5, None), ("processes.failed", 0, None)]),
])
def test_two_notebooks_differ_by(first, second, found):
    assert differences(first, second) == [Difference(*one) for one in found]


def test_differences_are_told_line_by_line():
    text = format_differences([
        Difference("seed", 1, None), Difference("packages.a", "1.0", "2.0"), Difference("git.diff", "", "+one\n+two\n"),
        Difference("git.diff", "same\nold\n", "same\nnew\n"), Difference("long", "x" * 1000, []),
    ])
    assert text.splitlines() == [
        "seed: 1 -> none", "packages.a: 1.0 -> 2.0", "git.diff:", "  --- first", "  +++ second", "  @@ -0,0 +1,2 @@", "  ++one", "  ++two",
        "git.diff:", "  --- first", "  +++ second", "  @@ -1,2 +1,2 @@", "   same", "  -old", "  +new", f"long: {'x' * 60}... -> []"]
    assert format_differences([]) == ""


def test_two_runs_are_compared_by_their_directories_or_files(tmp_path):
    Notebook.begin(tmp_path / "one", "run", seed=1).end()
    Notebook.begin(tmp_path / "two", "run", seed=1).end()
    assert diff_runs(tmp_path / "one", tmp_path / "two") == []
    Notebook.begin(tmp_path / "two", "run", seed=2).end(ValueError("x"))
    found = {difference.what: (difference.first, difference.second) for difference in diff_runs(str(tmp_path / "one"), tmp_path / "two")}
    assert found == {"seed": (1, 2), "outcome.kind": ("ok", "error"), "outcome.exception": (None, "ValueError: x")}
    assert diff_runs(tmp_path / "two" / "notebook.json", tmp_path / "one") == []
    with pytest.raises(FileNotFoundError):
        diff_runs(tmp_path / "one", tmp_path / "three")
