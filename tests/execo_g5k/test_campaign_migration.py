"""The campaign of live migrations, as in doc/code_samples, on the hypervisors of a box."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deployments import wait_until

from execo_engine.sweep import SweepDirectory
from execo_g5k.gridbox import GridBox
from execo_g5k.oar import oardel
from execo_g5k.testbed import G5kTestbed

SAMPLE = Path(__file__).resolve().parents[2] / "doc" / "code_samples" / "migration.py"
OPTIONS = ["--on", "saone", "--walltime", "1:0:0", "--memory", "96", "--bandwidth", "1", "200", "--vms", "1", "--rate", "50",
           "--migrations", "2", "--vlan", "", "-l", "ERROR"]


def sample() -> Any:
    spec = importlib.util.spec_from_file_location("migration_sample", SAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def qemus(directory: Path) -> list[str]:
    """Command lines of the VMs that boot the kernel of this box."""
    lines = []
    for process in Path("/proc").iterdir():
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:         # no process, or one that has ended
            continue
        if "qemu" in line.partition(" ")[0] and str(directory) in line:
            lines.append(line)
    return lines


@pytest.mark.requires("qemu", "sshd", "ssh", "matplotlib")
@pytest.mark.timeout(300)
def test_a_vm_campaign_outlives_its_reservation_and_records_what_does_not_converge(tmp_path: Path) -> None:
    module = sample()
    reservations: list[Any] = []
    cut: list[str] = []

    class Campaign(module.Migration):  # type: ignore[misc, name-defined]      # what comes from a file is Any
        def testbed(self) -> G5kTestbed:
            testbed: G5kTestbed = super().testbed()
            testbed.wanted = replace(testbed.wanted, lead=2.0, charter=False)
            return testbed

        def prepare(self, hosts: list[Any]) -> None:
            reservations.append(list(self._testbed.jobs))
            super().prepare(hosts)

        def migrate(self, vm: Any, target: Any, bandwidth: int) -> Any:
            self.args.timeout = 3 if bandwidth == 1 else 100
            if not cut:                 # it would take a minute and more, but its reservation ends
                assert qemus(directory)
                cut.append("begun")
                self.args.timeout = 300
                oardel(self._testbed.jobs)
                try:
                    return super().migrate(vm, target, bandwidth)
                except module.VMsFailed as error:
                    cut.append(str(error))
                    raise
            return super().migrate(vm, target, bandwidth)

    with GridBox(oar="own", nodes_per_cluster=2, sites=["lyon"], guests=True) as box:
        assert box.directory is not None
        directory = box.directory.parent
        box.deployments.step_seconds = 0.002
        campaign = Campaign()
        campaign.start(["-c", str(tmp_path), *OPTIONS])
        wait_until(lambda: not qemus(directory))
    assert len(cut) == 2
    assert len(reservations) == len(set(map(str, reservations))) == 2
    with SweepDirectory(tmp_path / "sweep") as sweep:
        assert sweep.counts()["done"] == 2
    slow, fast = sorted(campaign.results.rows(), key=lambda row: row["bandwidth"])
    assert slow["converged"] == [False, False]
    assert len(set(slow["source"])) == 1            # it stays, and lives
    # It may be at its very begin, of which libvirt tells nothing.
    assert all(1 < seconds < 60 and (sent or 0) < 60 << 20 for seconds, sent in zip(slow["seconds"], slow["memory_bytes"], strict=True))
    assert fast["converged"] == [True, True]
    assert len(set(fast["source"])) == 2            # there, and back
    assert all(sent > 20 << 20 and rounds > 1 and 0 <= down < seconds for sent, rounds, down, seconds in zip(
        fast["bytes"], fast["rounds"], fast["downtime"], fast["seconds"], strict=True))
    assert all(0 < written < 110 for written in fast["written"])
    # In a program of its own, for matplotlib keeps its fonts open.
    told = subprocess.run([sys.executable, SAMPLE, "summary", tmp_path], capture_output=True, text=True, timeout=100)
    assert told.returncode == 0, told.stderr
    assert "2 of 2" in told.stdout
    assert len((tmp_path / "migrations.csv").read_text().splitlines()) == 5
    assert (tmp_path / "migrations.svg").stat().st_size > 5000


@pytest.mark.parametrize(("values", "interval"), [
    ([3.0], (3.0, 3.0)), ([2.0, 1.0, 3.0], (1.0, 3.0)), (range(1, 9), (1, 8)), (range(1, 10), (2, 8)), (range(1, 11), (2, 9)),
    (range(1, 101), (40, 61))])
def test_the_interval_of_a_median_is_that_of_the_tables(values: Any, interval: tuple[float, float]) -> None:
    assert sample().interval(values) == interval


def test_the_figure_shows_all_migrations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    drawn: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_: drawn.append(figure))     # which would keep its fonts open
    module = sample()
    settings = {(memory, bandwidth, vms, rate): [{"seconds": memory / bandwidth * (1 + rate / 50) + vms, "converged": vms < 4}] * 10
                for memory in (96, 192) for bandwidth in (32, 64) for vms in (1, 4) for rate in (0, 75)}
    module.draw(settings, tmp_path / "migrations.svg")
    (figure,) = drawn
    assert len(figure.axes) == 4
    for axes in figure.axes:
        low, high = axes.get_ylim()
        shown = [second for line in axes.lines for second in line.get_ydata()]
        assert (low, len(shown) >= 22) == (0, True)
        assert max(shown) < high
