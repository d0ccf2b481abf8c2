"""`python -m execo_engine`: what it prints, what it changes, how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from execo_engine._cli.main import main
from execo_engine._cli.numbers import Progress, progress
from execo_engine._cli.status import bar
from execo_engine._words import combination_words
from execo_engine.notebook import Notebook
from execo_engine.plot import count_cells, plot_states
from execo_engine.results import Results
from execo_engine.sweep import HashableDict, ParamSweeper, sweep

PLAN = sweep({"method": ["gzip", "xz"], "level": [1, 5, 9]})


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Path]:
    """Six combinations: two done, one in progress, two failed, one to do."""
    with ParamSweeper(str(tmp_path / "sweep"), PLAN, name="compress") as sweeper:
        for number in range(5):
            combination = sweeper.get_next()
            if number < 2:
                Results(tmp_path).append(combination, {"bytes": 100 * number}, host="node-1")
                sweeper.done(combination)
            elif number < 4:
                sweeper.fail(combination, f"ValueError: no {number}")
        yield tmp_path


Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> SimpleNamespace:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, err=said.err)
    return run


# pure parts

@pytest.mark.parametrize(("counts", "width", "text"), [
    ({}, 5, "[.....]"),
    ({"done": 10}, 5, "[#####]"),
    ({"done": 1, "todo": 1}, 4, "[##..]"),
    ({"done": 1, "failed": 1, "todo": 998}, 10, "[#x........]"),
    ({"done": 998, "inprogress": 1, "failed": 1}, 10, "[########+x]"),
    ({"done": None, "todo": 3}, 6, "[......]"),
])
def test_a_bar_has_its_width_and_shows_each_state(counts: dict[str, int | None], width: int, text: str) -> None:
    assert bar(counts, width) == text


@pytest.mark.parametrize(("ends", "left", "active", "found"), [
    ([], 5, True, Progress(None, None, None, None)),
    ([100.0], 5, True, Progress(None, None, None, None)),
    ([0.0, 100.0, 200.0], 2, True, Progress(36.0, None, 200.0, 400.0)),
    ([0.0, 100.0], 2, True, Progress(18.0, None, 400.0, 600.0)),       # nothing since 100 s: slower than it was
    ([0.0, 100.0], 2, False, Progress(36.0, None, None, None)),         # nobody works: no end
    ([0.0, 100.0], 0, False, Progress(36.0, None, 0.0, None)),
    ([0.0, 100.0], None, True, Progress(18.0, None, None, None)),
])
def test_throughput_and_end(ends: list[float], left: int | None, active: bool, found: Progress) -> None:
    assert progress(ends, [], left, active, 200.0) == found


def test_the_mean_duration_is_that_of_the_combinations() -> None:
    assert progress([], [1.0, 3.0], 1, True, 0).mean_seconds == 2


@pytest.mark.parametrize(("combination", "words"), [
    (HashableDict(a=1, b="x y"), "a=1 b=x y"), (HashableDict(), "{}"), ((1, "a"), "(1, 'a')"),
])
def test_a_combination_in_words(combination: object, words: str) -> None:
    assert combination_words(combination) == words


# status and list

def test_status_says_how_far_it_is_and_what_failed(campaign: Path, run: Run) -> None:
    for directory in (campaign, campaign / "sweep"):
        found = run("status", directory)
        assert found.code == 0
        lines = found.out.splitlines()
        assert lines[0] == "compress: 6 combinations"
        assert lines[1].endswith("]  33 %")
        assert lines[2] == "2 done #, 1 in progress +, 2 failed x, 1 to do ."
        assert f"process {os.getpid()} of" in found.out
        assert "  xz   [" in found.out
        assert "  method=xz level=1: ValueError: no 3" in found.out.replace("level=1 method=xz", "method=xz level=1")


def test_status_for_programs(campaign: Path, run: Run) -> None:
    found = json.loads(run("status", campaign, "--json").out)
    assert found["counts"] == {"total": 6, "todo": 1, "inprogress": 1, "done": 2, "skipped": 0, "failed": 2}
    assert {row["value"]: row.get("failed", 0) for row in found["parameters"]["method"]} == {"gzip": 1, "xz": 1}
    assert {row["reason"] for row in found["failed"]} == {"ValueError: no 2", "ValueError: no 3"}
    assert found["owners"][0]["pid"] == os.getpid()


def test_status_of_a_plan_that_nobody_could_list(tmp_path: Path, run: Run) -> None:
    with ParamSweeper(str(tmp_path), [(number, other) for number in range(400) for other in range(400)]) as sweeper:
        sweeper.done((1, 2))
        found = run("status", tmp_path)
    assert found.code == 0
    assert "160000 combinations" in found.out
    assert "1 done" in found.out


def test_list_shows_those_in_a_state_and_with_a_value(campaign: Path, run: Run) -> None:
    assert len(run("list", campaign).out.splitlines()) == 6
    failed = run("list", campaign, "--state", "failed").out.splitlines()
    assert len(failed) == 2
    assert all("ValueError: no " in line for line in failed)
    [line] = run("list", campaign, "--where", "method=xz", "--where", "level=9", "--json").out.splitlines()
    assert json.loads(line) == {"combination": {"method": "xz", "level": 9}, "state": "todo"}
    wrong = run("list", campaign, "--where", "colour=red")
    assert (wrong.code, wrong.out) == (2, "")
    assert "there is no parameter 'colour', only level, method" in wrong.err


# changes

def test_retry_and_cancel_put_back(campaign: Path, run: Run) -> None:
    assert run("retry", campaign, "--where", "method=xz").out == "1 combinations will be tried again\n"
    assert run("cancel", campaign, "--host", "elsewhere").out == "0 combinations are remaining again\n"
    assert run("cancel", campaign).out == "1 combinations are remaining again\n"
    counts = json.loads(run("status", campaign, "--json").out)["counts"]
    assert (counts["todo"], counts["failed"], counts["inprogress"]) == (3, 1, 0)
    assert run("retry", campaign).out == "1 combinations will be tried again\n"


def test_verify_and_compact(campaign: Path, run: Run) -> None:
    found = run("verify", campaign)
    assert found.code == 0
    assert "results.jsonl: 2 results, sound" in found.out
    before, after = (int(word) for word in run("compact", campaign).out.replace(" after", "").replace(" bytes before", "").split(","))
    assert before > after > 0
    assert run("verify", campaign).code == 0
    with open(campaign / "sweep" / "journal", "ab") as journal:
        journal.write(b"rubbish\n")
    with open(campaign / "results.jsonl", "ab") as results:
        results.write(b"rubbish\n")
    found = run("verify", campaign)
    assert found.code == 1
    assert "NOT sound" in found.out
    assert "1 damaged lines" in found.out


# export, diff, plot

def test_export_of_the_results(campaign: Path, run: Run, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("export", campaign, "--csv").out)))
    assert sorted(row["bytes"] for row in rows) == ["0", "100"]
    assert run("export", campaign, "--json", tmp_path / "table.json").out == ""
    assert len(json.loads((tmp_path / "table.json").read_text())) == 2
    missing = run("export", campaign / "sweep", "--csv")
    assert missing.code == 2
    assert "no results.jsonl is there" in missing.err


def test_export_for_execo_2_8(campaign: Path, run: Run, tmp_path: Path) -> None:
    assert "done: 2 combinations" in run("export", campaign, "--execo2", tmp_path / "old").out
    assert {path.name for path in (tmp_path / "old").iterdir()} == {"done", "inprogress", "sweeps"}
    assert run("export", campaign, "--execo2", tmp_path / "old").code == 2
    with ParamSweeper(str(tmp_path / "old")) as sweeper:
        assert len(sweeper.get_done()) == 2
        assert sweeper.get_sweeps() == set(PLAN)


def test_diff_says_what_differed(tmp_path: Path, run: Run) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        Notebook.begin(tmp_path / name, "run", seed=seed).end()
    found = run("diff", tmp_path / "one", tmp_path / "two")
    assert found.code == 1
    assert "seed" in found.out
    assert run("diff", tmp_path / "one", tmp_path / "nothing").code == 2


def test_cells_are_counted_for_two_parameters() -> None:
    states: list[tuple[Any, str]] = [
        ({"x": 2, "y": "b", "z": 1}, "done"), ({"x": 2, "y": "b", "z": 2}, "todo"), ({"x": 10, "y": "a"}, "failed"), ({"x": 1}, "done"),
        ("no mapping", "done")]
    cells = count_cells(states, "x", "y")
    assert (cells.x_values, cells.y_values) == ([2, 10], ["a", "b"])
    assert cells.counts == {(2, "b"): {"done": 1, "todo": 1}, (10, "a"): {"failed": 1}}
    with pytest.raises(LookupError, match="no combination has the parameters 'x' and 'colour'; there are x, y, z"):
        count_cells(states, "x", "colour")


@pytest.mark.requires("matplotlib")
@pytest.mark.leaks("matplotlib keeps the fonts open that it has used")
def test_a_plot_is_drawn_with_a_cell_for_each_pair(campaign: Path, run: Run, tmp_path: Path) -> None:
    assert run("plot", campaign, "level", "method", tmp_path / "state.png").code == 0
    assert (tmp_path / "state.png").read_bytes().startswith(b"\x89PNG")
    figure = plot_states([(combination, "done") for combination in PLAN], "level", "method")
    [axes] = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "9"]
    assert [text.get_text() for text in axes.texts] == ["1/1"] * 6
    assert run("plot", campaign, "level", "colour", tmp_path / "other.png").code == 2
    with ParamSweeper(str(campaign / "sweep"), PLAN) as sweeper:
        assert [text.get_text() for text in sweeper.plot("level", "method").axes[0].texts].count("1/1") == 2


def test_without_matplotlib_a_plot_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'execo-engine\[plot\]'"):
        plot_states([({"x": 1, "y": 1}, "done")], "x", "y")


# the program

def program(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([sys.executable, "-m", "execo_engine", *map(str, arguments)], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("command", ["status", "list", "verify", "retry", "compact"])
def test_a_directory_without_a_sweep_is_told(command: str, tmp_path: Path, run: Run) -> None:
    found = run(command, tmp_path)
    assert (found.code, found.out) == (2, "")
    assert found.err == f"execo_engine {command}: {tmp_path}: no campaign and no sweep is there\n"


def test_a_wrong_command_is_explained() -> None:
    with program("statsu") as done:
        _, said = done.communicate(timeout=60)
    assert done.returncode == 2
    assert "invalid choice: 'statsu'" in said


def test_a_reader_that_has_seen_enough_ends_it_quietly(campaign: Path) -> None:
    with program("list", campaign) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        done.stdout.close()
        assert done.stderr.read() == ""
        done.wait(60)


def test_watch_shows_each_change_until_all_is_done(tmp_path: Path) -> None:
    with ParamSweeper(str(tmp_path), [1, 2]) as sweeper, program("status", tmp_path, "--watch", "--json") as watching:
        assert watching.stdout is not None
        seen = [json.loads(watching.stdout.readline())["counts"]["done"]]
        sweeper.done(1)
        seen.append(json.loads(watching.stdout.readline())["counts"]["done"])
        sweeper.done(2)
        seen.append(json.loads(watching.stdout.readline())["counts"]["done"])
        assert watching.wait(60) == 0
        assert watching.stdout.read() == ""
    assert seen == [0, 1, 2]


def test_an_interrupt_ends_a_watch(campaign: Path) -> None:
    with program("status", campaign, "--watch") as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("compress")
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=60)
    assert watching.returncode == 130
