"""The benchmarks' pure parts, and each workload once, tiny, against this execo: what it takes is not asserted."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))
try:
    from execobench import environments, registry, rows, runner, store, tables

    WORKLOADS = registry.load_workloads()
finally:
    sys.path.remove(str(BENCH))

TINY = {"output-memory": 1, "output-lines": 1, "output-file": 1, "output-many": 1, "imports": 1, "hold-most": 60}


def nothing(size: int) -> dict[str, float]:
    return {"wall": size}


WORKLOAD = registry.Workload(
    name="spawn-test", title="A test", size="things, of a kind", sizes=(1, 2), quick_sizes=(1,), base="limit",
    metrics=(registry.Metric("wall", "ms", 1000), registry.Metric("cpu", ratio=True), registry.Metric("held", "")),
    implementations=(
        registry.Implementation("limit", nothing),
        registry.Implementation("execo", nothing, registry.OURS),
        registry.Implementation("other", nothing, "other", max_reps=1),
    ),
)


def result(name: str, wall: float, **others: float) -> rows.Result:
    return rows.Result("spawn-test", name, 2, 0, {"wall": wall, **others})


RESULTS = [
    result("limit", 0.002, cpu=1), result("limit", 0.004, cpu=1), result("limit", 0.003, cpu=1),
    result("execo", 0.006, cpu=2, held=7), rows.Result("spawn-test", "other", 2, 0, {}, "no such thing"),
]


class TestNumbers:
    def test_summary_is_median_and_range(self) -> None:
        assert rows.summarise([3, 1, 10, 2]) == rows.Summary(2.5, 1, 10, 4)
        assert rows.summarise([]) is None

    @pytest.mark.parametrize("percent, expected", [(0, 1), (50, 5), (51, 6), (99, 10), (100, 10)])
    def test_percentile_is_one_of_the_values(self, percent: float, expected: int) -> None:
        assert rows.percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == expected

    @pytest.mark.parametrize("values, percent", [([], 50), ([1.0], 101), ([1.0], -1)])
    def test_percentile_refuses_what_has_none(self, values: list[float], percent: float) -> None:
        with pytest.raises(ValueError, match="percentile"):
            rows.percentile(values, percent)

    def test_ratios_are_of_medians_and_of_best(self) -> None:
        value, base = rows.summarise([2, 4, 9]), rows.summarise([1, 2, 3])
        assert (rows.ratio(value, base), rows.best_ratio(value, base)) == (2, 2)
        assert rows.ratio(None, base) is rows.ratio(value, None) is rows.ratio(value, rows.summarise([0])) is None

    def test_select_leaves_out_failures_and_other_sizes(self) -> None:
        assert rows.select(RESULTS, "limit", 2, "wall") == rows.Summary(0.003, 0.002, 0.004, 3)
        assert rows.select(RESULTS, "other", 2, "wall") is rows.select(RESULTS, "limit", 1, "wall") is None

    def test_a_row_that_is_no_row_is_refused(self) -> None:
        row = {"workload": "w", "implementation": "i", "size": 1, "repetition": 0}
        assert rows.Result.from_json({**row, "values": {"wall": 1}}).values == {"wall": 1}
        for wrong in ({"values": {"wall": "1"}}, {"values": {"wall": True}}, {"unknown": 1}):
            with pytest.raises(TypeError):
                rows.Result.from_json({**row, **wrong})


class TestTables:
    @pytest.mark.parametrize(
        "value, expected", [(None, "-"), (0, "0"), (2.0, "2"), (0.12345, "0.123"), (12.345, "12.3"), (1234.5, "1234")]
    )
    def test_numbers_have_three_digits(self, value: float | None, expected: str) -> None:
        assert tables.number(value) == expected

    @pytest.mark.parametrize(
        "value, expected", [(None, "-"), (1.2345, "1.23×"), (0.5, "0.50×"), (0.0123, "0.012×"), (26.04, "26.0×"), (300.4, "300×")]
    )
    def test_ratios(self, value: float | None, expected: str) -> None:
        assert tables.times(value) == expected

    def test_table_of_a_size_is_sorted_and_says_failures(self) -> None:
        assert tables.size_table(WORKLOAD, RESULTS, 2).splitlines() == [
            "| things: 2 | wall, ms | min..max | × | × of best | cpu, s | × | held | runs |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            "| limit | 3 | 2..4 | 1.00× | 1.00× | 1 | 1.00× | - | 3 |",
            "| **execo** | 6 | 6..6 | 2.00× | 3.00× | 2 | 2.00× | 7 | 1 |",
            "| other | failed: no such thing | - | - | - | - | - | - | 1 |",
        ]

    def test_the_overview_never_compares_a_base_with_itself(self) -> None:
        bases = (registry.Implementation("limit", nothing, registry.OURS), *WORKLOAD.implementations[1:])
        among_ours = dataclasses.replace(WORKLOAD, implementations=bases)
        alone = dataclasses.replace(WORKLOAD, name="alone", implementations=bases[:1])
        campaigns = {name: tables.Campaign(name, "2030-01-02 03:04", "2 processors", "3.0", RESULTS) for name in ("spawn-test", "alone")}
        assert tables.overview([among_ours, alone], campaigns).splitlines()[2:] == [
            "| spawn-test, 2 | wall | limit | 2.00× | - |", "| spawn-test, 2 | cpu | limit | 2.00× | - |"]

    def test_a_short_row_is_refused(self) -> None:
        with pytest.raises(ValueError, match="row of 1 cells under a header of 2"):
            tables.markdown(["a", "b"], [["1"]])

    def test_report_has_table_chart_date_and_what_is_missing(self, tmp_path: Path) -> None:
        campaign = tables.Campaign("spawn-test", "2030-01-02 03:04", "2 processors", "3.0", RESULTS, {"another": "no pdsh"})
        store.save(tmp_path, campaign)
        loaded = store.load(tmp_path)
        assert loaded == {"spawn-test": campaign}
        text = tables.report([WORKLOAD], loaded, ["spawn-test.png"])
        for part in ("## A test", "| **execo** | 6 |", "![spawn-test](spawn-test.png)", "another: no pdsh", "2030-01-02 03:04"):
            assert part in text
        assert "overview.png" not in text


class TestPlan:
    def test_each_repetition_has_each_implementation_once_up_to_its_maximum(self) -> None:
        turns = runner.plan(list(WORKLOAD.implementations), 3, random.Random(1))
        assert sorted((repetition, i.name) for repetition, i in turns) == [
            (0, "execo"), (0, "limit"), (0, "other"), (1, "execo"), (1, "limit"), (2, "execo"), (2, "limit"),
        ]
        assert [repetition for repetition, _ in turns] == [0, 0, 0, 1, 1, 2, 2]

    def test_workloads_are_chosen_by_name_or_family(self) -> None:
        assert [w.name for w in registry.choose(WORKLOADS, ["spawn"])] == ["spawn", "spawn-heap"]
        assert [w.name for w in registry.choose(WORKLOADS, ["ssh-connector", "hold-most"])] == ["hold-most", "ssh-connector"]
        hours = [w.name for w in WORKLOADS if w not in registry.choose(WORKLOADS, [])]
        assert hours == ["figure1", "figure1-connector", "figure1-sessions", "vms-most"]
        with pytest.raises(KeyError, match="no workload 'spa', only spawn"):
            registry.choose(WORKLOADS, ["spa"])

    def test_a_workload_without_its_base_is_refused(self) -> None:
        with pytest.raises(ValueError, match="base 'limit'"):
            registry.Workload("w", "t", "s", (1,), (1,), "limit", WORKLOAD.metrics, WORKLOAD.implementations[1:])

    def test_what_is_not_there_is_named(self) -> None:
        here = environments.Environments(missing={"other": "other==1 cannot be installed"})
        assert here.lacks(WORKLOAD.implementations[0]) is None
        assert here.lacks(WORKLOAD.implementations[2]) == "other==1 cannot be installed"
        program = registry.Implementation("p", nothing, needs=("no-such-program",))
        assert here.lacks(program) == "no no-such-program on this machine"
        assert here.lacks(registry.Implementation("c", nothing, needs=("limits/spawn",))) == "the C limits are not compiled"

    def test_published_errors_name_no_folder(self) -> None:
        assert environments.last_line("a\nError: /home/me/x.py: no file '/tmp/y'\n\n") == "Error: x.py: no file y'"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> environments.Environments:
    """This interpreter, and the limits if there is a compiler."""
    folder = tmp_path_factory.mktemp("limits")
    here = environments.Environments(limits=folder)
    if shutil.which("cc"):
        environments.compile_limits(folder)
    return here


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_each_workload_measures_ours_and_its_base(
    workload: registry.Workload, made: environments.Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECOBENCH_HEAP_MB", "16")
    size = TINY.get(workload.name, 3)
    chosen = [i for i in workload.implementations if i.python in (registry.OURS, registry.PLAIN)]
    if reasons := [reason for i in chosen if i.python == registry.OURS and (reason := made.lacks(i))]:
        pytest.skip(f"{reasons[0]}: make system-deps")
    with runner.hosts_for(workload, size) as cluster:
        for implementation in chosen:
            if implementation.python == registry.OURS or implementation.name == workload.base:
                found = runner.measure(made, workload, implementation, size, 0, cluster)
                assert not found.error
                assert found.values[workload.metrics[0].name] > 0
                assert set(found.values) <= {metric.name for metric in workload.metrics}


def test_a_measurement_that_fails_says_why(made: environments.Environments) -> None:
    found = runner.measure(made, WORKLOAD, WORKLOAD.implementations[0], 1)
    assert not found.values
    assert "no workload 'spawn-test'" in found.error


def test_the_command_lists_and_refuses() -> None:
    command = [str(BENCH / "run.sh")]
    environment = {"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}
    listed = subprocess.run([*command, "--list"], env=environment, capture_output=True, text=True)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [workload.name for workload in WORKLOADS]
    refused = subprocess.run([*command, "--only", "nothing"], env=environment, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "no workload 'nothing', only spawn" in refused.stderr


def test_results_that_are_kept_can_be_read() -> None:
    for file in (BENCH / "results").glob("*.json"):
        assert json.loads(file.read_text())["workload"] == file.stem
    for name, campaign in store.load(BENCH / "results").items():
        assert registry.choose(WORKLOADS, [name])
        assert campaign.results
