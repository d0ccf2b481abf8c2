"""The samples after section 6 of the Grid'5000 paper, and the demo, run on a Grid'5000 in a box, and tell of what fails there."""

from __future__ import annotations

import os
import runpy
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from requirements import available

from execo.localcluster import LocalHost
from execo_engine.results import Results
from execo_engine.sweep import SweepDirectory
from execo_g5k.gridbox import GridBox

SAMPLES = Path(__file__).resolve().parents[2] / "doc" / "code_samples"
PATIENCE = 100


@pytest.fixture(scope="module")
def grid() -> Iterator[GridBox]:
    with GridBox(oar="own", nodes_per_cluster=3, sites=["lyon", "nancy"], configure=False) as box:
        yield box


@pytest.fixture
def environment(grid: GridBox, tmp_path: Path) -> dict[str, str]:
    """Of a program that uses the box."""
    home = tmp_path / "home"
    home.mkdir()
    grid.write_configuration(home)
    return {**os.environ, **grid.environment(home)}


def succeeds(host: LocalHost, command: str) -> bool:
    try:
        return host.run_inside(command).returncode == 0
    except RuntimeError:        # it is down, for it is being deployed
        return False


@pytest.mark.timeout(240)         # a node that fails is tried four times by Kadeploy
@pytest.mark.requires("sshd", "namespaces", "nft", "tc")
def test_a_broadcast_tells_of_a_client_that_dies_a_node_that_is_left_out_and_clocks_that_differ(
        grid: GridBox, environment: dict[str, str], tmp_path: Path) -> None:
    broken, dying = "saone-3.lyon.grid5000.fr", "meurthe-3.nancy.grid5000.fr"
    grid.deployments.fail(broken, "wait_reboot")
    words = ["--lead", "2", "--megabytes", "8", "--tcp", "reno", "--tolerance", "0", "-c", "results"]
    host = grid.hosts[dying]
    with open(tmp_path / "said", "w") as said:
        script = subprocess.Popen([sys.executable, SAMPLES / "broadcast.py", *words], env=environment, cwd=tmp_path, stdout=said,
                                  stderr=subprocess.STDOUT)

        def wait_until_it(command: str) -> None:
            deadline = time.monotonic() + PATIENCE
            while not succeeds(host, command):
                assert script.poll() is None, (tmp_path / "said").read_text()
                assert time.monotonic() < deadline

        try:
            wait_until_it("ls -d /tmp/broadcast-*")         # it is deployed: its boot undoes what was done to its link
            with host.slow("1mbit"):                        # it will take a minute
                wait_until_it("pgrep -f '^python3 broadcast_peer.py client'")
                host.crash()
            assert script.wait(PATIENCE) == 0, (tmp_path / "said").read_text()
        finally:
            script.kill()
            script.wait()
    grid.hosts[dying].mend()
    grid.deployments.mend()
    text = (tmp_path / "said").read_text()
    rows = {row["client"]: row for row in Results(tmp_path / "results").rows()}
    complete = {"saone-2.lyon.grid5000.fr", "meurthe-1.nancy.grid5000.fr", "meurthe-2.nancy.grid5000.fr"}
    assert {client for client, row in rows.items() if row["outcome"] == "complete"} == complete
    assert rows.keys() - complete == {dying}
    assert (rows[dying]["seconds"], rows[dying]["outcome"]) == (None, "not complete: exit code 255")
    for client in complete:
        assert sum(rows[client][place] for place in ("seeder", "own site", "other sites")) == 8 * 4, text
        assert 0 < rows[client]["seconds"] < 60
    assert sum(rows[client]["own site"] + rows[client]["other sites"] for client in complete) > 0       # clients served each other
    assert f"{broken:34}  left out: SetDeploymentEnv" in text
    assert f"{dying:34}  left out: lost with reno" in text
    assert text.count("WARNING: the clock of") == 5
    assert (tmp_path / "results" / "broadcast.png").exists() == available("matplotlib")


@pytest.mark.requires("sshd")
def test_a_broadcast_where_nodes_share_their_files_keeps_what_it_has_measured_when_the_next_variant_cannot_start(tmp_path: Path) -> None:
    box = ["-m", "execo_g5k.gridbox", "--oar", "own", "--isolation", "none", "--sites", "lyon,nancy", "--nodes-per-cluster", "2", "run"]
    script = [str(SAMPLES / "broadcast.py"), "lyon=1", "nancy=2", "--lead", "2", "--megabytes", "1", "--tcp", "reno,nosuch"]
    done = subprocess.run([sys.executable, *box, *script, "-c", "results"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1, done.stderr
    assert "seeder" in done.stderr
    assert "No such file or directory" in done.stderr       # so says the kernel of a congestion control that it does not have
    rows = Results(tmp_path / "results").rows()
    assert [(row["tcp"], row["outcome"]) for row in rows] == [("reno", "complete")] * 2, done.stdout
    assert [sum(row[place] for place in ("seeder", "own site", "other sites")) for row in rows] == [4, 4]
    assert done.stdout.count("  complete\n") == 2


def test_a_broadcast_takes_names_of_congestion_controls_and_nothing_else(tmp_path: Path) -> None:
    words = [sys.executable, SAMPLES / "broadcast.py", "--tcp", "reno;touch here"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "argument --tcp: invalid variants value: 'reno;touch here'" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.requires("sshd")
def test_a_hundred_executions_are_done_once_each_although_the_script_is_killed(
        grid: GridBox, environment: dict[str, str], tmp_path: Path) -> None:
    words = [sys.executable, str(SAMPLES / "independent.py"), "lyon=3", "nancy=3", "--lead", "2", "--steps", "10", "-c", "results"]

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)

    with open(tmp_path / "said", "w") as said:
        killed = subprocess.Popen(words, env=environment, cwd=tmp_path, stdout=said, stderr=subprocess.STDOUT)
        done: set[int] = set()
        deadline = time.monotonic() + PATIENCE
        try:
            while len(done) < 20:
                assert killed.poll() is None, (tmp_path / "said").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)        # nobody tells when one is done
                if (tmp_path / "results" / "sweep" / "journal").exists():
                    with SweepDirectory(tmp_path / "results" / "sweep") as sweep:
                        done = {record.combination["execution"] for record in sweep.records("done")}
        finally:
            killed.kill()
            killed.wait()
    rows = Results(tmp_path / "results").rows()
    assert 20 <= len(rows) < 100
    before = {row["execution"]: row for row in rows}
    left = run(sys.executable, "-m", "execo_g5k", "del", "--all-grids")     # its jobs have nobody any more
    assert left.returncode == 0, left.stderr
    again = run(*words)
    assert again.returncode == 0, again.stdout + again.stderr
    verified = run(sys.executable, "-m", "execo_engine", "verify", "results")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    rows = Results(tmp_path / "results").rows()
    assert Counter(row["execution"] for row in rows) == dict.fromkeys(range(1, 101), 1)
    assert all(row == before[row["execution"]] for row in rows if row["execution"] in done)
    assert {row["site"] for row in rows} == {"lyon", "nancy"}
    told = [line.split() for line in again.stdout.splitlines() if ".grid5000.fr " in line and not line.startswith("20")]
    assert {host: set(map(int, executions)) for host, *executions in told} == {
        host: {row["execution"] for row in rows if row["host"] == host} for host in {row["host"] for row in rows}}


def child_with(word: Path, parent: int) -> int | None:
    """One that has it in its command line."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with suppress(OSError):         # it has ended
            if os.fsencode(word) in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return int(child)
    return None


@pytest.mark.requires("sshd")
def test_the_demo_ends_its_campaign_when_it_is_interrupted(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    (folder / "guest").mkdir(parents=True)      # so it takes processes, not virtual machines
    # SIGINT may be ignored here
    program = ("import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); del sys.argv[0]; "
               "runpy.run_path(sys.argv[0], run_name='__main__')")
    with open(tmp_path / "said", "w") as said:
        demo = subprocess.Popen([sys.executable, "-c", program, str(SAMPLES / "demo.py"), folder], stdout=said, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (folder / "pi").exists() or (campaign := child_with(folder / "pi", demo.pid)) is None:
            assert demo.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)        # nobody tells of it
        ended = os.pidfd_open(campaign)
        try:
            demo.send_signal(signal.SIGINT)
            demo.wait(PATIENCE)
            assert select.select([ended], [], [], 0)[0], (tmp_path / "said").read_text()
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(ended, signal.SIGKILL)
            os.close(ended)
    finally:
        demo.kill()
        demo.wait()


def test_the_demo_does_not_wait_for_ever(tmp_path: Path) -> None:
    wait_for = runpy.run_path(str(SAMPLES / "demo.py"))["wait_for"]
    wait_for.__globals__["PATIENCE"] = 0
    with subprocess.Popen(["sleep", "60"]) as campaign:
        try:
            with pytest.raises(SystemExit, match="0 combinations are done after 0 s, not 1"):
                wait_for(campaign, tmp_path, done=1)
        finally:
            campaign.kill()
