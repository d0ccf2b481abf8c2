"""Reports of deployments: phases, tables, charts."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import pytest

from execo_g5k._kadeploy.chart import counts_over_time
from execo_g5k._kadeploy.progress import PHASES, Progress, Step
from execo_g5k._kadeploy.report import node_report
from execo_g5k._kadeploy.result import DeploymentResult
from execo_g5k.kadeploy import DeploymentReport

FAST, SLOW, BAD = "fast-1.lyon.grid5000.fr", "slow-1.nancy.grid5000.fr", "bad-1.nancy.grid5000.fr"


def deployed(start: float, *durations: float) -> Progress:
    """One node that spends these seconds in the four phases."""
    progress = Progress([FAST])
    progress.start = start
    date = start
    steps = (("SetDeploymentEnvUntrusted", "reboot"), ("SetDeploymentEnvUntrusted", "format_deploy_part"),
             ("BroadcastEnvChain", "send_environment"), ("BootNewEnvClassical", "wait_reboot"))
    for (macro, micro), seconds in zip(steps, durations, strict=True):
        progress.enter([FAST], macro, micro, date)
        date += seconds
    progress.judge(FAST, "deployed", "", date)
    return progress


def report_of(*progresses: tuple[str, str, Progress]) -> DeploymentReport:
    nodes = []
    for host, site, progress in progresses:
        node = node_report(FAST, site, progress)
        nodes.append(type(node)(host, *(getattr(node, name) for name in (
            "site", "state", "tries", "start", "seconds", "phases", "step", "reason", "trace"))))
    return DeploymentReport(nodes)


@pytest.fixture
def report() -> DeploymentReport:
    bad = Progress([FAST])
    bad.start = 1000.0
    bad.enter([FAST], "SetDeploymentEnvUntrusted", "wait_reboot", 1005.0)
    bad.judge(FAST, "failed", "SetDeploymentEnvUntrusted-wait_reboot: Unreachable after the reboot", 1300.0)
    return report_of((FAST, "lyon", deployed(1000.0, 100, 20, 60, 50)),
                     (SLOW, "nancy", deployed(1000.0, 110, 15, 30, 120)), (BAD, "nancy", bad))


@pytest.mark.parametrize(
    ("macro", "micro", "phase"),
    [
        ("", "", "first check"), ("SetDeploymentEnvUntrusted", "", "first check"), ("SetDeploymentEnvKexec", "kexec", "first check"),
        ("SetDeploymentEnvUntrusted", "wait_reboot", "first check"),
        ("SetDeploymentEnvUntrusted", "create_partition_table", "pre-installation"),
        ("SetDeploymentEnvNfsroot", "mount_deploy_part", "pre-installation"), ("BroadcastEnvKascade", "", "transfer"),
        ("BroadcastEnvChain", "install_bootloader", "transfer"), ("BootNewEnvHardReboot", "switch_pxe", "last check"),
        ("BootNewEnvKexec", "wait_reboot", "last check"),
    ],
)
def test_each_step_belongs_to_a_phase_of_the_paper(macro: str, micro: str, phase: str) -> None:
    assert Step(0.0, macro, micro).phase == phase


def test_the_phases_of_all_are_those_of_the_slowest(report: DeploymentReport) -> None:
    # Through a phase after: fast 100 120 180 230, slow 110 125 155 275.
    assert report.phases() == {"first check": 110, "pre-installation": 15, "transfer": 55, "last check": 95}
    assert report.boot_to_boot() == 275 == sum(report.phases().values())
    assert report.phases("lyon") == {"first check": 100, "pre-installation": 20, "transfer": 60, "last check": 50}
    assert report.boot_to_boot("lyon") == 230
    assert report.deployed == {FAST, SLOW}
    assert report.failures == {BAD: "SetDeploymentEnvUntrusted-wait_reboot: Unreachable after the reboot"}


def test_what_is_done_again_counts_again_in_its_phase() -> None:
    progress = Progress([FAST])
    progress.start = 0.0
    for date, macro, micro in ((1, "SetDeploymentEnvUntrusted", "reboot"), (11, "SetDeploymentEnvUntrusted", "format_deploy_part"),
                               (16, "SetDeploymentEnvUntrusted", "reboot"), (36, "SetDeploymentEnvUntrusted", "format_deploy_part")):
        progress.enter([FAST], macro, micro, date)
        progress.leave([FAST], date + 2)
    progress.judge(FAST, "deployed", "", 40.0)
    assert progress.phases(FAST) == {"first check": 31, "pre-installation": 7, "transfer": 0, "last check": 0}


def test_a_table(report: DeploymentReport) -> None:
    lines = str(report).splitlines()
    assert " ".join(lines[0].split()) == "state tries first check pre-installation transfer last check boot-to-boot reason"
    assert lines[1].split() == [FAST, "deployed", "1", "100.0", "20.0", "60.0", "50.0", "230.0"]
    assert lines[3].endswith("300.0  SetDeploymentEnvUntrusted-wait_reboot: Unreachable after the reboot")
    assert lines[5].split() == ["nancy", "1/2", "1", "110.0", "15.0", "30.0", "120.0", "275.0"]
    assert lines[6].split() == ["all", "2/3", "1", "110.0", "15.0", "55.0", "95.0", "275.0"]
    assert len({len(line[:line.index("  ", 70)]) for line in lines[1:4]}) == 1
    assert repr(report).startswith("<DeploymentReport(2 of 3 nodes deployed, boot-to-boot 4m35s, started ")


def test_a_dict_for_json(report: DeploymentReport) -> None:
    found = json.loads(json.dumps(report.to_dict()))
    assert found["overall"] == {"nodes": 3, "deployed": 2, "boot_to_boot": 275, "phases": report.phases()}
    assert found["sites"]["lyon"]["boot_to_boot"] == 230
    assert found["nodes"][2] == {
        "host": BAD, "site": "nancy", "state": "failed", "tries": 1, "start": 1000, "boot_to_boot": 300,
        "phases": {"first check": 300, "pre-installation": 0, "transfer": 0, "last check": 0},
        "step": "SetDeploymentEnvUntrusted-wait_reboot",
        "reason": "SetDeploymentEnvUntrusted-wait_reboot: Unreachable after the reboot"}


def test_an_empty_report_can_be_shown() -> None:
    empty = DeploymentReport([])
    assert empty.boot_to_boot() is None
    assert str(empty).splitlines()[-1].split() == ["all", "0/0", "0"]
    assert repr(empty) == "<DeploymentReport(0 of 0 nodes deployed)>"
    assert set(empty.phases().values()) == {0.0}


def test_the_diagram_counts_each_node_once_at_any_time(report: DeploymentReport) -> None:
    moments, counts = counts_over_time(report)
    assert moments == [0, 5, 100, 110, 120, 125, 155, 180, 230, 275, 300]
    assert [sum(counts[name][number] for name in counts) for number in range(len(moments))] == [2] + [3] * 10
    assert counts["first check"] == [2, 3, 2, 1, 1, 1, 1, 1, 1, 1, 0]
    assert {name: counts[name][-1] for name in ("deployed", "failed")} == {"deployed": 2, "failed": 1}
    assert set(PHASES) < set(counts)


@pytest.mark.requires("matplotlib")
@pytest.mark.leaks("matplotlib keeps the fonts open that it has used")
def test_a_chart(report: DeploymentReport, tmp_path: Path) -> None:
    figure = report.plot(tmp_path / "chart.png", title="two sites")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    bars, areas = figure.axes
    assert [label.get_text() for label in bars.get_xticklabels()] == ["all", "lyon", "nancy"]
    assert max(patch.get_y() + patch.get_height() for patch in bars.patches) == 275
    assert len(areas.collections) == 6
    DeploymentReport([]).plot()


def test_without_matplotlib_the_extra_is_named(report: DeploymentReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'execo_g5k\[plot\]'"):
        report.plot()


def test_a_result_is_a_pair_that_carries_more(report: DeploymentReport) -> None:
    result = DeploymentResult([FAST], [BAD], {BAD: "why"}, report)
    good, bad = result
    assert (good, bad) == ({FAST}, {BAD}) == result
    copy = pickle.loads(pickle.dumps(result))
    assert (copy, copy.failures, copy.report.to_dict()) == (result, {BAD: "why"}, report.to_dict())
