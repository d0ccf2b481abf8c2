"""`python -m execo_g5k`, on a Grid'5000 in a box."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from execo_g5k._api.properties import PROPERTIES
from execo_g5k._cli.look import COLUMNS
from execo_g5k._cli.main import main
from execo_g5k._cli.show import table
from execo_g5k._cli.words import job_of, oar_date, resources_of
from execo_g5k._gridbox.settings import Overlay
from execo_g5k._oar import registry
from execo_g5k.config import default_frontend_connection_params, g5k_configuration
from execo_g5k.gridbox import BoxClock, GridBox
from execo_g5k.oar import get_oar_grids, get_oar_job_info, oardelgrid
from execo_g5k.testbed import G5kTestbed

HOUR = 3600


@pytest.fixture(scope="module")
def _shared_box() -> Iterator[GridBox]:
    with GridBox(oar="own", nodes_per_cluster=3, clock=BoxClock("2026-11-23 10:00:00", rate=5), charter=True, configure=False) as box:
        yield box


@pytest.fixture
def box(_shared_box: GridBox) -> Iterator[GridBox]:
    overlay = Overlay()
    overlay.apply(_shared_box.settings, _shared_box.clock, {})
    try:
        yield _shared_box
        oardelgrid(get_oar_grids())
    finally:
        overlay.undo()


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        self._capsys.readouterr()
        found = main(arguments)
        out, self.err = self._capsys.readouterr()
        assert found == code, out + self.err
        return out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def run(box: GridBox, capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


def test_hosts_by_their_hardware(run: Said) -> None:
    everything = run("hosts", "--names").split()
    assert {"saone-1", "meurthe-1", "vilaine-1"} <= set(everything)
    assert "moselle-1" not in everything                # production
    assert "moselle-1" in run("hosts", "--queue", "all", "--names").split()
    assert run("hosts", "--where", "cluster = saone", "--names").split() == ["saone-1", "saone-2", "saone-3"]
    assert len(run("hosts", "-n", "2", "--same", "cluster", "--site", "nancy", "--names").split()) == 2
    assert [line.split()[:2] for line in run("hosts", "--where", "cluster = saone").splitlines()] == [
        ["host", "cluster"], ["saone-1", "saone"], ["saone-2", "saone"], ["saone-3", "saone"]]
    found = run.json("hosts", "--site", "lyon")
    assert {(one["host"], one["cluster"]) for one in found} >= {("saone-1", "saone")}
    assert all(one["cores"] > 0 for one in found)
    assert run("hosts", "--where", "cores >= 10000", "--names", code=1).strip() == ""


def test_the_columns_of_hosts_are_properties(run: Said) -> None:
    assert set(COLUMNS) <= set(PROPERTIES)
    heads, *rows = (line.split() for line in run("hosts", "-q", "all", "--where", "cluster = moselle").splitlines())
    assert {"gpus", "gpu", "ethernet_rate"} <= set(heads)
    assert all("25Gbit/s" in row for row in rows)
    assert "gpu" not in run("hosts", "--where", "cluster = saone").splitlines()[0]


def test_free_hosts_and_slots(run: Said) -> None:
    assert {(one["cluster"], one["free"], one["hosts"]) for one in run.json("free", "saone", "meurthe")} == {
        ("saone", 3, 3), ("meurthe", 3, 3)}
    assert "3 hosts are free for 1h0m0s" in run("free", "saone")
    assert run.json("free", "saone", "--where", "cores >= 10000", code=1) == [
        {"site": "lyon", "cluster": "saone", "free": 0, "hosts": 0}]
    [first] = run.json("slots", "lyon=2", "saone=1", "-n", "1")
    assert first["hosts"]["saone"] == 3
    assert first["end_date"] - first["start_date"] == HOUR
    [night] = run.json("slots", "lyon", "-w", "10:00:00", "--nights", "-n", "1")
    assert night["start_date"] == oar_date("2026-11-23 19:00:00")
    assert run("slots", "lyon", "--nights", "-n", "1").splitlines()[1].startswith("2026-11-23 19:00:00  2026-11-23 20:00:00")
    run("slots", "lyon=1000", code=1)
    for name in ("saone-1", "saone-1.lyon.grid5000.fr"):
        [first] = run.json("slots", name, "lyon=2", "-n", "1")
        assert (first["hosts"][name], first["hosts"]["lyon"]) == (1, 5)


@pytest.mark.leaks("matplotlib keeps the fonts open that it has used")
def test_gantt_is_a_figure_or_json(run: Said, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert set(run.json("gantt", "saone")["lyon"]["saone"]["saone-1.lyon.grid5000.fr"]) == {"busy", "free"}
    run("gantt", "saone", "-o", str(tmp_path / "gantt.png"))
    assert (tmp_path / "gantt.png").read_bytes().startswith(b"\x89PNG")
    run("gantt", "saone", code=2)
    assert "--output" in run.err


def test_reserve_look_at_and_delete(run: Said) -> None:
    planned = run.json("reserve", "saone=2", "-w", "0:30:00", "--dry-run")
    assert len(planned["hosts"]) == 2
    assert run.json("jobs") == []
    made = run.json("reserve", "saone=2", "nancy=1", "-w", "0:30:00", "--name", "mine", "--nights")
    assert made["start_date"] == oar_date("2026-11-23 19:00:00")
    assert made["grid"] in get_oar_grids()
    found = run.json("jobs")
    assert {(job["id"], job["site"]) for job in found} == {(job["id"], job["site"]) for job in made["jobs"]}
    assert {(job["name"], job["walltime"], job["grid"], job["start_date"]) for job in found} == {
        ("mine", 1800, made["grid"], made["start_date"])}
    assert "2026-11-23 19:00:00" in run("jobs", "lyon")
    assert run("jobs", "rennes") == ""
    one, other = (f"{job['id']}@{job['site']}" for job in made["jobs"])
    assert run("del", one) == f"deleted: {one}\n"
    assert run.json("del", "--grid", str(made["grid"])) == {"deleted": [one, other], "left": []}
    assert run.json("jobs") == []
    run("del", "--grid", str(made["grid"]), code=2)
    assert "no grid reservation" in run.err


def test_reserve_and_wait_prints_the_hosts_and_leaves_them(run: Said) -> None:
    made = run.json("reserve", "saone=1", "-w", "0:10:00", "--wait")
    assert len(made["hosts"]) == 1
    [job] = made["jobs"]
    assert get_oar_job_info(job["id"], job["site"])["state"] == "Running"
    assert run.json("del", "--all-grids")["left"] == []


def test_what_is_left_is_not_called_deleted(run: Said, box: GridBox) -> None:
    made = run.json("reserve", "saone=1", "-w", "0:10:00", "--nights")
    default_frontend_connection_params["ssh_options"] = ("-F", "/dev/null", "-o", "ProxyCommand=false")
    try:
        assert run.json("del", "--grid", str(made["grid"]), code=1) == {"deleted": [], "left": [f"grid {made['grid']}"]}
    finally:
        default_frontend_connection_params.update(box.settings["default_frontend_connection_params"])


def test_a_damaged_note_stops_no_other(run: Said) -> None:
    made = run.json("reserve", "saone=1", "-w", "0:10:00", "--nights")
    damaged = registry.add(registry.Grid(((1, "lyon"),), 0.0, None, None))
    (registry.folder() / f"{damaged}.json").write_text("{")
    try:
        assert [job["grid"] for job in run.json("jobs")] == [made["grid"]]
        assert f"{damaged}.json is damaged" in run.err
        [job] = made["jobs"]
        assert run.json("del", "--all-grids", code=1) == {"deleted": [f"{job['id']}@lyon"], "left": [f"grid {damaged}"]}
        assert f"{damaged}.json is damaged" in run.err
    finally:
        registry.forget(damaged)


def test_a_reservation_that_was_deleted_from_a_shell_can_be_released(run: Said) -> None:
    testbed = G5kTestbed({"saone": 1}, 600, only="nights")
    testbed.reserve()
    run("del", "--grid", str(testbed.jobs.grid_id))
    testbed.release()
    assert testbed.jobs == []


@pytest.mark.parametrize(("arguments", "words"), [
    (["free", "lyon"], "lyon"), (["free", "saone"], "lyon"), (["slots", "nancy=1", "saone-1"], "lyon"),
    (["reserve", "lyon=1", "-w", "1:00:00"], "free on lyon"), (["reserve", "grid5000=1000", "-w", "1:00:00"], "no such slot .* lyon"),
])
def test_a_site_that_does_not_answer_is_not_full(run: Said, box: GridBox, arguments: list[str], words: str) -> None:
    box.api.fail_next(404, 1, "sites/lyon/jobs")
    assert run(*arguments, code=2) == ""
    assert re.search(f"execo_g5k {arguments[0]}: .*{words}", run.err.splitlines()[-1])


def test_the_sites_that_answer_are_shown_without_the_others(run: Said, box: GridBox) -> None:
    box.api.fail_next(404, 1, "sites/lyon/jobs")
    assert {one["site"] for one in run.json("free")} == {"nancy", "rennes"}
    assert "site lyon is left out" in run.err


def test_a_job_that_is_not_there_is_not_deleted(run: Said) -> None:
    assert run.json("del", "12345@lyon", code=1) == {"deleted": [], "left": ["12345@lyon"]}
    assert "12345@lyon is not deleted" in run.err


def test_the_charter(run: Said) -> None:
    found = run.json("charter", "lyon")
    assert found["day"] == "2026-11-23"
    assert found["day_time"] is True
    assert found["next_period"][1] == oar_date("2026-11-23 19:00:00")
    assert found["remaining"] == found["quotas"]
    quota = found["quotas"]["lyon"]["saone"]
    assert f"{quota / HOUR:g}" in run("charter", "lyon", "--day", "2026-11-24")
    assert run.json("charter", "--cores", "saone=1") == []
    assert "this is allowed" in run("charter", "--cores", "saone=1", "-w", "10:00:00", "--at", "2026-11-24 19:00:00")
    [reason] = run.json("charter", "--cores", f"saone={int(quota / HOUR / 2) + 1}", "-w", "2:00:00", "lyon", code=1)
    assert "are left of" in reason
    assert "runs across 09:00" in run("charter", "--cores", "saone=1", "-w", "2:00:00", "--at", "2026-11-24 08:00", code=1)
    assert {rule["name"] for rule in run.json("charter", "--rules")} >= {"quota", "boundaries"}


@pytest.mark.parametrize(("arguments", "words"), [
    (["hosts", "--where", "cores >="], "hosts"), (["slots", "lyon=two"], "NAME=NUMBER"), (["slots", "nowhere"], "nowhere"),
    (["free", "nowhere"], "nowhere"), (["charter", "nowhere"], "nowhere"), (["charter", "--cores", "nothing=1"], "nothing"),
    (["charter", "--day", "tomorrow"], "tomorrow"), (["del", "12"], "ID@SITE"), (["del"], "nothing to delete"),
    (["del", "12@nowhere"], "nowhere"), (["reserve", "lyon=1", "-w", "soon"], "soon"), (["jobs", "nowhere"], "nowhere"),
    (["reserve", "lyon=1000", "-w", "1:00:00"], "no such slot"), (["reserve", "lyon=1", "-w", "1:00:00", "-q", "all"], "'all'"),
])
def test_what_cannot_be_done_is_one_line(run: Said, arguments: list[str], words: str) -> None:
    assert run(*arguments, code=2) == ""
    last = run.err.splitlines()[-1]
    assert last.startswith(f"execo_g5k {arguments[0]}: ")
    assert words in last


def test_an_api_that_is_down_is_one_line(run: Said, box: GridBox, tmp_path: Path) -> None:
    g5k_configuration.update(api_uri="http://127.0.0.1:9/", api_cache_dir=str(tmp_path))
    try:
        assert run("hosts", code=2) == ""
    finally:
        g5k_configuration.update(box.settings["g5k_configuration"])
    assert run.err.splitlines()[-1].startswith("execo_g5k hosts: ")
    assert "127.0.0.1:9" in run.err


def test_a_frontend_that_is_down_is_one_line(run: Said, box: GridBox) -> None:
    default_frontend_connection_params["ssh_options"] = ("-F", "/dev/null", "-o", "ProxyCommand=false")
    try:
        assert run.json("jobs", code=1) == []
        assert [line.split(":")[1] for line in run.err.splitlines()] == [f" {site}" for site in box.sites]
    finally:
        default_frontend_connection_params.update(box.settings["default_frontend_connection_params"])


def test_bad_arguments_are_refused_by_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["fly"], ["reserve", "lyon=1"], ["hosts", "-n", "0"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_words() -> None:
    assert resources_of(["a=1", "b-1=20"]) == {"a": 1, "b-1": 20}
    assert resources_of(["a"], default=1) == {"a": 1}
    for wrong in (["a"], ["=1"], ["a=0"], ["a=-1"], ["a=1", "a=2"]):
        with pytest.raises(ValueError, match="resources"):
            resources_of(wrong)
    assert job_of("12@lyon") == (12, "lyon")
    assert table(["name", "n"], [["x", 1], ["long", None], ["y", 12]]) == "name   n\nx      1\nlong   -\ny     12"
    assert table(["name", "n"], []) == "name  n"


def test_as_a_program(box: GridBox, tmp_path: Path) -> None:
    box.write_configuration(tmp_path)
    command = [sys.executable, "-m", "execo_g5k", "hosts", "--where", "cluster = saone", "--names"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **box.environment(tmp_path)})
    assert done.stdout.split() == ["saone-1", "saone-2", "saone-3"], done.stderr
