"""Jobs on a real OAR, through real ssh to its frontend, and without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from execo import Host, Put, Remote
from execo_g5k import (
    OarError,
    OarSubmission,
    default_frontend_connection_params,
    default_oarsh_oarcp_params,
    g5k_configuration,
    get_current_oar_jobs,
    get_oar_grid_info,
    get_oar_grid_jobs,
    get_oar_grid_nodes,
    get_oar_grids,
    get_oar_job_info,
    get_oar_job_nodes,
    get_oargrid_job_oar_jobs,
    oardel,
    oardelgrid,
    oargriddel,
    oargridsub,
    oarsub,
    oarsubgrid,
    wait_oar_grid_start,
    wait_oar_job_start,
)
from execo_g5k._gridbox.oar_real.oarsite import OarSite, connection_params

pytestmark = pytest.mark.requires("oar")
ROOT = Path(__file__).resolve().parents[2]
ONE = OarSubmission("nodes=1", "0:10:0")


@pytest.fixture(autouse=True)
def _no_job_is_left(home: OarSite) -> Iterator[None]:
    yield
    home.clear()


@pytest.fixture
def frontend(home: OarSite, monkeypatch: pytest.MonkeyPatch) -> str:
    """The frontend, as if we were on it: its commands are in the PATH.  By ssh: test_gridbox_oar.py, and those that only ask for `home`."""
    monkeypatch.setenv("PATH", f"{home.bin}:{os.environ['PATH']}")
    g5k_configuration["no_ssh_for_local_frontend"] = True
    return "home"


def state_of(job: int, state: str) -> None:
    deadline = time.monotonic() + 60
    while get_oar_job_info(job).get("state") != state:
        assert time.monotonic() < deadline, get_oar_job_info(job)
        time.sleep(0.2)


def test_a_job_from_its_submission_to_its_end(frontend: str, home: OarSite) -> None:
    began = time.time()
    spec = OarSubmission("nodes=2", "0:10:0", job_type=["deploy", "allow_classic_ssh"], name='a "name"', project="$HOME",
                         sql_properties="cluster = 'node'")
    ((job, where), *_) = oarsub([(spec, frontend)])
    assert (isinstance(job, int), where) == (True, frontend)
    assert wait_oar_job_start(job, frontend, timeout=60)
    info = get_oar_job_info(job, frontend)
    assert (info["state"], info["name"], info["walltime"]) == ("Running", 'a "name"', 600)
    assert began - 2 <= info["start_date"] <= time.time() + 2
    assert get_oar_job_nodes(job, frontend) == [Host(name) for name in home.hosts[:2]]
    assert get_current_oar_jobs([frontend]) == [(job, frontend)]
    assert get_current_oar_jobs(frontend, start_between=(began - 2, None)) == [(job, frontend)]
    assert get_current_oar_jobs(frontend, end_between=(None, began)) == []
    assert oardel([(job, frontend)]) is None
    state_of(job, "Error")
    assert not wait_oar_job_start(job, frontend)
    with pytest.raises(OarError, match="Error"):
        get_oar_job_nodes(job, frontend)


def test_what_oar_refuses_is_said_in_its_words(frontend: str, caplog: pytest.LogCaptureFixture) -> None:
    jobs = [(OarSubmission("nodes=50"), frontend), (ONE, frontend), (OarSubmission("nodes=1", job_type="nosuch"), frontend),
            (OarSubmission("nodes=1", queue="nosuch"), frontend)]
    accepted = oarsub(jobs)
    assert [where for _, where in accepted] == [frontend] * 4
    assert [job is None for job, _ in accepted] == [True, False, True, True]
    for words in ("There are not enough resources for your request", "unknown job type: nosuch", "The queue nosuch does not exist"):
        assert words in caplog.text
    with pytest.raises(OarError, match="There are not enough resources") as failed:
        oarsub(jobs[:1], abort_on_error=True)
    assert len(list(failed.value.processes)) == 1
    assert len(failed.value.reasons) == 1


def test_a_reservation_is_accepted_or_understood_to_be_refused(frontend: str, caplog: pytest.LogCaptureFixture) -> None:
    start = time.time() // 1 + 3600
    spec = OarSubmission("nodes=3", "1:00:00", reservation_date=start)
    ((job, _),) = oarsub([(spec, frontend)])
    assert job is not None
    assert get_oar_job_info(job, frontend)["start_date"] == start
    predictions: list[float] = []
    assert not wait_oar_job_start(job, frontend, timeout=4, prediction_callback=predictions.append)
    assert predictions == [start]
    assert oarsub([(spec, frontend)]) == [(None, frontend)]
    assert "Reservation not valid --> KO (This reservation could run at" in caplog.text


def test_a_job_in_the_environment_is_the_default(home: OarSite, monkeypatch: pytest.MonkeyPatch) -> None:
    ((job, _),) = oarsub([(ONE, None)])
    monkeypatch.setenv("OAR_JOB_ID", str(job))
    assert wait_oar_job_start(timeout=60)
    assert get_oar_job_info()["state"] == "Running"
    assert len(get_oar_job_nodes()) == 1


def test_a_local_zone_does_not_reach_oar(home: OarSite, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        start = time.time() // 1 + 7200
        ((job, _),) = oarsub([(OarSubmission("nodes=1", reservation_date=start), None)])
        assert job is not None
        assert get_oar_job_info(job)["start_date"] == start
    time.tzset()


def test_oarsh_and_oarcp_reach_the_nodes_of_a_job(home: OarSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{home.bin}:{os.environ['PATH']}")
    ((job, _),) = oarsub([(OarSubmission("nodes=2"), None)])
    nodes = get_oar_job_nodes(job)
    monkeypatch.setenv("OAR_JOB_ID", str(job))
    who = Remote("echo $OAR_JOB_USER at {{{host}}}", nodes, default_oarsh_oarcp_params).run(timeout=30)
    assert [process.stdout.split() for process in who.processes] == [["experimenter", "at", node.address] for node in nodes]
    file = home.directory / "a file"
    file.write_text("hello")
    file.chmod(0o644)
    put = Put(nodes[:1], [str(file)], "/tmp/copied", default_oarsh_oarcp_params).run(timeout=30)
    assert put.ok
    assert home.run("cat", "/tmp/copied").stdout == "hello"
    monkeypatch.delenv("OAR_JOB_ID")
    assert not Remote("true", nodes, default_oarsh_oarcp_params, process_args={"nolog_exit_code": True}).run(timeout=30).ok


def test_a_job_key_opens_the_nodes(home: OarSite) -> None:
    assert home.run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", "job-key").returncode == 0
    g5k_configuration["oar_job_key_file"] = "~/job-key"
    ((job, _),) = oarsub([(ONE, None)])
    (node,) = get_oar_job_nodes(job)
    done = home.run("env", "OAR_JOB_KEY_FILE=/home/experimenter/job-key", "oarsh", node.address, "echo $OAR_JOB_USER")
    assert (done.stdout, done.returncode) == ("experimenter\n", 0), done


def test_the_examples_of_the_guide_run(home: OarSite, away: OarSite, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "doc" / "guide" / "oar.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"^\.\. code-block:: python\n   :class: grid5000\n\n((?:   .*\n|\n)+)", page, re.MULTILINE)
    assert len(blocks) == 4
    code = "".join(textwrap.dedent(block) for block in blocks).replace('"nancy"', '"home"').replace('"lyon"', '"away"')
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(code, "oar.rst", "exec"), names)
    assert names["nodes"] == [Host(name) for name in home.hosts[:2]]
    assert [frontend for _, frontend in names["jobs"]] == ["home", "away"]  # type: ignore[attr-defined]   # GridJobs
    assert "'state': 'Running'" in capsys.readouterr().out


# Several sites

def only(site: OarSite, *expected: int) -> list[int]:
    """Ids of the jobs that have not ended, after waiting until these are left: OAR takes its time to delete others."""
    deadline = time.monotonic() + 60
    while True:
        found = [int(line.split()[0]) for line in site.run("oarstat", "-u").stdout.splitlines() if line[:1].isdecimal()]
        if found == list(expected) or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def test_a_grid_reservation_outlives_the_script(home: OarSite, away: OarSite, tmp_path: Path) -> None:
    specs = [(OarSubmission("nodes=2"), "home"), (OarSubmission("nodes=1"), "away")]
    jobs = oarsubgrid(specs, walltime="0:10:0")
    assert [frontend for _, frontend in jobs] == ["home", "away"]
    assert jobs.grid_id is not None
    assert specs[0][0].walltime is None                     # they are left as they are
    # another program
    params = connection_params(home, away)
    code = (
        "from execo_g5k import *\n"
        f"g5k_configuration.update(grid_dir={g5k_configuration['grid_dir']!r}, polling_interval=1)\n"
        f"default_frontend_connection_params.update({params!r})\n"
        "(grid,) = get_oar_grids()\n"
        "print(get_oar_grid_jobs(grid), wait_oar_grid_start(grid, timeout=60), len(get_oar_grid_nodes(grid)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=90)
    assert done.stdout == f"{list(jobs)!r} True 3\n", done
    info = get_oar_grid_info(jobs.grid_id)
    assert (info["states"], info["walltime"], info["jobs"]) == (["Running", "Running"], 600, list(jobs))
    assert [host.address for host in get_oar_grid_nodes(jobs.grid_id)] == [*home.hosts[:2], *away.hosts]
    oardelgrid(jobs.grid_id)
    assert get_oar_grids() == []
    with pytest.raises(ValueError, match="no grid reservation"):
        get_oar_grid_jobs(jobs.grid_id)
    assert only(home) == only(away) == []


def test_when_one_site_refuses_no_job_is_left_on_the_others(home: OarSite, away: OarSite, caplog: pytest.LogCaptureFixture) -> None:
    start = time.time() + 3600
    assert oarsubgrid([(ONE, "home"), (OarSubmission("nodes=2"), "away")], start, "1:00:00") == []
    assert "There are not enough resources" in caplog.text
    assert (only(home), only(away), get_oar_grids()) == ([], [], [])


def test_a_site_whose_frontend_is_down_refuses_too(home: OarSite, caplog: pytest.LogCaptureFixture) -> None:
    assert oarsubgrid([(ONE, "home"), (ONE, "nowhere")], timeout=20) == []
    assert "oarsub on nowhere" in caplog.text
    assert "a job may be left over on nowhere" in caplog.text
    assert only(home) == []


def test_a_job_whose_submission_was_cut_off_is_found_and_deleted(home: OarSite, away: OarSite, tmp_path: Path) -> None:
    # The ssh of this site dies before it hands on what oarsub said.
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/bash\ncase "$*" in *oarsub*away-only*) ssh "$@" >/dev/null; kill -9 $$ ;; *) exec ssh "$@" ;; esac\n')
    ssh.chmod(0o755)
    default_frontend_connection_params["ssh"] = str(ssh)
    lost = OarSubmission("nodes=1", "0:10:0", command="sleep 600 # away-only")
    kept = oarsub([(ONE, "away")])
    assert oarsubgrid([(ONE, "home"), (lost, "away")]) == []
    ((job, _),) = kept
    assert job is not None
    assert (only(home), only(away, job)) == ([], [job])
    oardel(kept)


def test_the_old_names_work_and_warn(home: OarSite, away: OarSite) -> None:
    with pytest.warns(DeprecationWarning, match="oarsubgrid"):
        grid, key = oargridsub([(ONE, "home"), (ONE, "away")], walltime="0:10:0")
    assert (grid, key) == (1, None)
    with pytest.warns(DeprecationWarning, match="get_oar_grid_jobs"):
        assert [frontend for _, frontend in get_oargrid_job_oar_jobs(grid)] == ["home", "away"]
    assert wait_oar_grid_start(1, timeout=60)
    with pytest.warns(DeprecationWarning, match="oardelgrid"):
        oargriddel([1])
    assert get_oar_grids() == []
