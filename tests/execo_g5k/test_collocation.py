"""The sample after section IV-A of the UNICO paper: its combinations, its model, and a small run on a Grid'5000 in a box."""

from __future__ import annotations

import csv
import functools
import importlib.util
import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from execo.action import Local
from execo_engine import Results
from execo_g5k.gridbox import GridBox
from execo_g5k.vmutils import define_vms

SAMPLE = Path(__file__).resolve().parents[2] / "doc" / "code_samples" / "collocation.py"


@pytest.fixture
def sample() -> Any:
    spec = importlib.util.spec_from_file_location("collocation", SAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CACHES = [["0", "1"], ["2", "3"]]


def test_any_placement_is_each_number_on_each_core(sample: Any) -> None:
    space = sample.any_placement(CACHES, 2)
    found = {tuple(sorted(sample.by_core(combination).items())) for combination in space}
    assert space.size == len(found) == 3 ** 4
    assert set(sample.by_core(space[0]).values()) == {0}            # this one is left out
    assert sample.any_placement([[str(core) for core in range(24)]], 8).sample(100, 1).size == 100


def test_of_placements_that_differ_by_the_order_of_cores_or_caches_there_is_one(sample: Any) -> None:
    def alike(numbers: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(sorted((tuple(sorted(numbers[:2])), tuple(sorted(numbers[2:])))))

    space = sample.placement_by_caches(CACHES, 2)
    found = [sample.by_core(combination) for combination in space]
    assert all(list(one) == ["0", "1", "2", "3"] for one in found)
    assert sorted(alike(tuple(one.values())) for one in found) == sorted({alike(one) for one in itertools.product(range(3), repeat=4)})
    assert set(found[0].values()) == {0}
    assert sample.placement_by_caches([["0"] * 6] * 2, 8).size == 3003 * 3004 // 2


@pytest.mark.parametrize(("n", "size"), [(5, 5), (8, 8), (20, 20)])
def test_there_are_as_many_combinations_as_wanted(sample: Any, n: int, size: int) -> None:
    campaign = sample.Collocation()
    campaign.args = campaign.args_parser.parse_args(["--n", str(n), "--most", "2", "--caches", "0,1"])
    plan = campaign.parameters()
    assert len({json.dumps(one, sort_keys=True) for one in plan}) == plan.size == size
    assert all(any(sample.by_core(one).values()) for one in plan)


@pytest.mark.parametrize(("words", "found"), [
    ("--most 0", "found 100, 0, "), ("--n 0", "found 0, 8, "), ("--generator caches --caches 0,1/2", "found 100, 8, 0,1/2")])
def test_what_leaves_no_combination_is_refused(sample: Any, words: str, found: str, capsys: pytest.CaptureFixture[str]) -> None:
    campaign = sample.Collocation()
    campaign.args = campaign.args_parser.parse_args(words.split())
    with pytest.raises(SystemExit):
        campaign.parameters()
    assert found in capsys.readouterr().err


def test_the_benchmark_says_how_far_it_is_once_for_each_date(sample: Any) -> None:
    """Of a fast processor, each 1000 operations would be far too many lines."""
    with subprocess.Popen(["sh", "-c", sample.BENCHMARK], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        lines = [program.stdout.readline().split() for _ in range(20)]
        program.kill()
    dates, done = [float(date) for date, _ in lines], [int(number) for _, number in lines]
    assert dates == sorted(set(dates))
    assert done == sorted(set(done))
    assert all(number % 1000 == 0 for number in done)


@pytest.mark.parametrize("said", ["", "3.14 1000"])
def test_a_vm_whose_benchmark_said_too_little_is_named(sample: Any, tmp_path: Path, said: str) -> None:
    class Told(sample.Collocation):  # type: ignore[misc, name-defined]      # what comes from a file is Any
        def in_vms(self, vms: list[Any], command: str) -> Local:
            return Local(f"echo '{said}'").run()

    with pytest.raises(ValueError, match=f"vm-1: .*found '{said}"):
        Told().collect({}, define_vms("vm-1"), tmp_path)


@pytest.mark.requires("matplotlib")
@pytest.mark.leaks("matplotlib keeps the fonts open that it has used")
def test_the_model_is_fitted_and_its_residuals_told(sample: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = Results(tmp_path)
    results.append({"0": 1, "1": 0}, {"flops": {"0": [1100.0]}})
    results.append({"0": 2, "1": 1}, {"flops": {"0": [460.0, 460.0], "1": [980.0]}})
    sample.summary(tmp_path)
    # least squares: (1100 + 460 / 2 + 460 / 2 + 980) / (1 + 1 / 4 + 1 / 4 + 1) = 1016
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "4 VMs: FLOPS = 1016 / VMs on the core, residual 57 (rms)"
    assert [line.split() for line in printed[1:]] == [
        "1 on the core, 0 on others: 1100 FLOPS, residual +84 (+7.6%)".split(),
        "1 on the core, 2 on others: 980 FLOPS, residual -36 (-3.7%)".split(),
        "2 on the core, 1 on others: 460 FLOPS, residual -48 (-10.4%)".split()]
    with open(tmp_path / "collocation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["same"], row["other"], float(row["residual"])) for row in rows] == [
        ("1", "0", 84.0), ("2", "1", -48.0), ("2", "1", -48.0), ("1", "2", -36.0)]
    assert "<svg" in (tmp_path / "collocation.svg").read_text()


@pytest.mark.requires("matplotlib")
def test_without_results_there_is_nothing_to_tell(sample: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"^no results yet in {tmp_path}$"):
        sample.summary(tmp_path)


def test_the_reservation_has_addresses_for_the_vms(sample: Any) -> None:
    campaign = sample.Collocation()
    campaign.args = campaign.args_parser.parse_args([])
    assert campaign.testbed()._subnets == {"slash_22": 1}


@pytest.mark.timeout(300)
@pytest.mark.requires("sshd", "nft", "qemu")
def test_a_small_campaign_runs_in_the_box(sample: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "G5kTestbed", functools.partial(sample.G5kTestbed, lead=2))
    words = "--n 2 --most 1 --caches 0,1 --seconds 1 --memory 80 --on lyon --walltime 0:10:00 -l WARNING".split()
    with GridBox(oar="own", sites=["lyon"], nodes_per_cluster=1, guests=True):
        campaign = sample.Collocation()
        campaign.start([*words, "-c", str(tmp_path)])
    rows = campaign.results.rows()
    assert len(rows) == 2
    for row in rows:
        vms = [f"vm-{core}-0" for core in "01" if row[core]]
        assert list(row["flops"]) == [core for core in "01" if row[core]]
        assert all(flops > 0 for (flops,) in row["flops"].values())
        folder = tmp_path / row["run.directory"]
        assert sorted(file.name for file in folder.glob("vm-*")) == vms
        assert all(len((folder / name).read_text().splitlines()) >= 2 for name in vms)
    steps = json.loads((tmp_path / "notebook.json").read_text())["steps"]
    assert steps["other"] < 0.5 * steps["wall"]         # this machine may be busy with others
