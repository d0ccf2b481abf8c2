"""Grid'5000 in a box: a campaign runs in it as on the real one, and nothing of it is left afterwards."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from ordinary_user import run_as_ordinary_user
from requirements import require

from execo import Get, Put, Remote, SshProcess, TaktukRemote
from execo.config import configuration, default_connection_params
from execo_g5k import _clock
from execo_g5k._gridbox import oar_real, scheduler
from execo_g5k._gridbox.cli import main
from execo_g5k.api_utils import APIException, get_g5k_hosts, get_hosts_metric, get_resource_attributes, set_nodes_vlan
from execo_g5k.config import default_frontend_connection_params, default_oarsh_oarcp_params, g5k_configuration
from execo_g5k.gridbox import BoxClock, GridBox
from execo_g5k.oar import (
    OarSubmission,
    get_current_oar_jobs,
    get_oar_job_info,
    get_oar_job_kavlan,
    get_oar_job_nodes,
    oardel,
    oarsub,
    wait_oar_job_start,
)
from execo_g5k.planning import compute_slots, get_planning
from execo_g5k.utils import G5kAutoPortForwarder

pytestmark = pytest.mark.requires("sshd", "ssh", "scp")
SMALL: dict[str, Any] = {"oar": "own", "nodes_per_cluster": 2}
ENDED = ("terminated", "error")
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def temporary_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this test makes temporary files, which nothing else does."""
    folder = Path(tempfile.mkdtemp(prefix="gb-", dir="/tmp"))
    folder.chmod(0o755)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=["own", "real"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "real":
        require("oar")
    return str(request.param)


def ask(grid: GridBox, path: str) -> Any:
    answer = requests.get(grid.api_uri + path, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.json()


def traces(folder: Path) -> list[str]:
    """Processes, mounts and files that are about a folder."""
    found = [os.path.join(place, name) for place, folders, files in os.walk(folder) for name in (*folders, *files)]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in command:
            found.append(f"{process.name}: {command}")
    return found


def everything_configured() -> str:
    """The whole configuration and environment, as text."""
    dicts = [configuration, default_connection_params, default_frontend_connection_params, default_oarsh_oarcp_params, g5k_configuration]
    return repr([*dicts, sorted(os.environ.items())])


def test_a_campaign_runs_on_two_sites(kind: str, temporary_files: Path, tmp_path: Path) -> None:
    before = everything_configured()
    with GridBox(oar=kind, nodes_per_cluster=2, sites=["lyon", "nancy"]) as grid:
        assert grid.oar_kind.startswith("OAR 2.5") if kind == "real" else "not OAR" in grid.oar_kind
        jobs = oarsub([(OarSubmission("nodes=2", "0:10:0", job_type="deploy", name="campaign"), site) for site in grid.sites])
        nodes = []
        for job, site in jobs:
            assert wait_oar_job_start(job, site, timeout=PATIENCE)
            mine = get_oar_job_nodes(job, site)
            assert all(node.address.endswith(f".{site}.grid5000.fr") for node in mine)
            told = ask(grid, f"sites/{site}/jobs/{job}")
            assert (told["state"], told["name"], told["types"][0]) == ("running", "campaign", "deploy")
            assert sorted(told["assigned_nodes"]) == sorted(node.address for node in mine)
            states = ask(grid, f"sites/{site}/status")["nodes"]
            assert {name for name, state in states.items() if state["soft"] == "busy"} == {node.address for node in mine}
            nodes += mine
        by_host = Remote("echo {{[host.address for host in nodes]}}; hostname", nodes)
        by_name = SshProcess("true", nodes[0].address, {"user": "root"})
        as_somebody = TaktukRemote("true", nodes, {"user": "somebody"}) if shutil.which("taktuk") else Remote("true", nodes)
        (tmp_path / "file").write_text("data\n")
        put = Put(nodes, [str(tmp_path / "file")], str(tmp_path / "at-{{{host}}}"))
        for action in (by_host, by_name, as_somebody, put):
            assert action.run().ok
        assert {process.stdout.split()[0] for process in by_host.processes} == {node.address for node in nodes}
        if grid.host_table is not None:
            assert [process.stdout.split()[1] for process in by_host.processes] == [node.address for node in nodes]
        assert (tmp_path / f"at-{nodes[3].address}").read_text() == "data\n"
        assert Get(nodes[:1], [str(tmp_path / "file")], str(tmp_path / "got")).run().ok
        oardel(jobs)
        deadline = time.monotonic() + PATIENCE
        while any(ask(grid, f"sites/{site}/jobs/{job}")["state"] not in ENDED for job, site in jobs):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert get_current_oar_jobs(grid.sites) == []
    assert (everything_configured(), traces(temporary_files)) == (before, [])


def test_a_job_by_the_api_is_one_for_the_commands_too(kind: str) -> None:
    with GridBox(oar=kind, nodes_per_cluster=1, sites=["rennes"]) as grid:
        address = f"{grid.api_uri}sites/rennes/jobs"
        made = requests.post(address, json={"resources": "nodes=1,walltime=0:5:0", "command": "sleep 300", "types": ["deploy"]}, timeout=60)
        assert made.status_code == 201, made.text
        job = made.json()["uid"]
        assert wait_oar_job_start(job, "rennes", timeout=PATIENCE)
        assert (get_oar_job_info(job, "rennes")["walltime"], get_oar_job_nodes(job)[0].address) == (300, "vilaine-1.rennes.grid5000.fr")
        assert [one[0] for one in get_current_oar_jobs()] == [job]
        refused = requests.post(address, json={"resources": "nodes=5", "command": "true"}, timeout=60)
        assert (refused.status_code, "failed with status 400" in refused.text) == (400, True), refused.text
        assert requests.delete(f"{address}/{job}", timeout=60).status_code == 202


def test_selection_planning_vlans_and_metrics_are_about_the_same_box() -> None:
    clock = BoxClock("2026-03-23 18:30", rate=0)
    with GridBox(oar="own", sites=["nancy"], clock=clock) as grid:
        chosen = get_g5k_hosts(where="memory >= 64GB", n=8, same="switch")
        assert set(chosen) <= {name.partition(".")[0] for name in grid.hosts}
        wanted = OarSubmission(["nodes=3", "{type='kavlan'}/vlan=1"], "1:0:0", job_type="deploy")
        ((job, site),) = oarsub([(wanted, "nancy")])
        assert wait_oar_job_start(job, site, timeout=PATIENCE)
        nodes = [node.address for node in get_oar_job_nodes(job, site)]
        (vlan,) = get_oar_job_kavlan(job, site)
        planning = get_planning(["nancy"])["nancy"]["meurthe"]
        busy = {host for host, elements in planning.items() if any(start <= clock() + 600 < end for start, end in elements["busy"])}
        assert busy == set(nodes)
        first, *_ = compute_slots(get_planning(["nancy"]), "0:30:0")
        assert first[2]["meurthe"] == 9
        set_nodes_vlan("nancy", nodes, "eth0", vlan)
        inside = {one["uid"] for one in ask(grid, f"sites/nancy/vlans/{vlan}/nodes")["items"]}
        assert inside == set(nodes)
        with pytest.raises(APIException, match="403"):
            set_nodes_vlan("nancy", nodes, "eth0", vlan + 1)
        values = get_hosts_metric(nodes[:1], "bmc_node_power_watt", from_ts=clock() - 60, to_ts=clock())
        assert len(values[nodes[0]]["values"]) == 13


def test_oarsh_reaches_the_nodes_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with GridBox(**SMALL, sites=["lyon"]):
        ((job, site),) = oarsub([(OarSubmission("nodes=2", "0:10:0"), "lyon")])
        assert wait_oar_job_start(job, site, timeout=PATIENCE)
        monkeypatch.setenv("OAR_JOB_ID", str(job))
        remote = Remote("echo here", get_oar_job_nodes(job, site), default_oarsh_oarcp_params).run()
        assert (remote.ok, [process.stdout.strip() for process in remote.processes]) == (True, ["here", "here"])


@pytest.mark.requires("taktuk")
def test_taktuk_reaches_all_forty_nodes_soon() -> None:
    began = time.monotonic()
    with GridBox(oar="own") as grid:
        assert time.monotonic() - began < 20            # about one second, on an idle machine
        assert len(grid.hosts) == 40
        remote = TaktukRemote("echo {{range(40)}}", grid.reference.hosts()).run()
        assert remote.ok
        assert sorted(int(process.stdout) for process in remote.processes) == list(range(40))


@pytest.mark.requires("namespaces")
def test_nodes_know_each_other_by_name_and_can_fail() -> None:
    with GridBox(**SMALL, sites=["nancy"], isolation="namespaces") as grid:
        first, second = grid.reference.hosts()[:2]
        for name in (second, second.partition(".")[0]):
            assert SshProcess(f"getent hosts {name}", first).run().stdout.split()[0] == grid.hosts[second].address
        grid.hosts[first].crash()
        assert not SshProcess("true", first, {"connect_timeout": 2}, nolog_exit_code=True).run().ok
        assert SshProcess("true", second).run().ok


def test_a_port_inside_is_reached() -> None:
    with GridBox(**SMALL, sites=["lyon"]) as grid:
        node = grid.reference.hosts()[0]
        told = subprocess.run(["ssh", "-G", "-F", str(grid.ssh_config), node], capture_output=True, text=True, check=True).stdout
        sshd = int(told.partition("\nport ")[2].split()[0])
        with G5kAutoPortForwarder("lyon", node, sshd) as (host, port), socket.create_connection((host, port), 20) as connection:
            assert connection.recv(8) == b"SSH-2.0-"


@pytest.mark.parametrize(("given", "expected"), [
    ({}, "127.0.0.1"), ({"NO_PROXY": "*"}, "*"),
    ({"no_proxy": "intern.example, 127.0.0.1", "NO_PROXY": "other.example"}, "intern.example,127.0.0.1,other.example"),
])
def test_no_proxy_is_asked_for_the_api(given: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        if name in given:
            monkeypatch.setenv(name, given[name])
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        before = everything_configured()
        with GridBox(oar="own", nodes_per_cluster=1, sites=["lyon"], isolation=None) as grid:
            assert get_resource_attributes("/sites")["total"] == 1
            assert [os.environ[name] for name in ("no_proxy", "NO_PROXY")] == [expected] * 2
        assert everything_configured() == before
        with GridBox(oar="own", nodes_per_cluster=1, sites=["lyon"], isolation=None, configure=False) as grid:
            assert everything_configured() == before
            program = f"import requests; print(requests.get({grid.api_uri + 'sites'!r}).json()['total'])"
            told = subprocess.run([sys.executable, "-c", program], env={**os.environ, **grid.environment(tmp_path)}, capture_output=True,
                                  text=True, timeout=60)
            assert told.stdout == "1\n", told.stderr
        with pytest.raises(BlockingIOError):            # nobody has called there
            proxy.accept()


def test_names_that_are_not_in_the_box_lead_nowhere() -> None:
    with GridBox(**SMALL, sites=["lyon"]):
        for name in ("access.grid5000.fr", "saone-77.lyon.grid5000.fr", "nancy.grid5000.fr"):
            process = SshProcess("true", name, nolog_exit_code=True).run()
            assert (process.ok, process.exit_code) == (False, 255)


# Beginning and end

@pytest.mark.parametrize("isolation", [pytest.param("namespaces", marks=pytest.mark.requires("namespaces")), None])
def test_nothing_is_left_after_an_exception(isolation: str | None, temporary_files: Path) -> None:
    before = everything_configured()
    name = f"test-{os.getpid()}"
    with pytest.raises(ZeroDivisionError), GridBox(**SMALL, isolation=isolation) as grid:
        jobs = oarsub([(OarSubmission("nodes=1", "0:10:0", name=name, command="echo output; sleep 1000"), site) for site in grid.sites])
        assert wait_oar_job_start(*jobs[0], timeout=PATIENCE)
        assert everything_configured() != before
        assert traces(temporary_files)
        raise ZeroDivisionError
    assert (everything_configured(), traces(temporary_files)) == (before, [])
    assert (grid.directory, grid.api, grid.hosts, grid.oars) == (None, None, {}, {})
    assert list(Path(pwd.getpwuid(os.getuid()).pw_dir).glob(f"OAR.{name}*")) == []
    grid.stop()


def test_a_box_that_cannot_start_leaves_nothing(temporary_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything_configured()
    start = scheduler.OwnOar.start

    def fail(self: scheduler.OwnOar) -> None:
        if "rennes" in str(self.commands):
            raise OSError("no scheduler today")
        start(self)

    monkeypatch.setattr(scheduler.OwnOar, "start", fail)
    box = GridBox(**SMALL)
    with pytest.raises(OSError, match="no scheduler today"):
        box.start()
    assert (everything_configured(), traces(temporary_files)) == (before, [])
    monkeypatch.undo()
    with GridBox(**SMALL, sites=["rennes"]) as grid:            # and is in nobody's way
        assert ask(grid, "sites")["total"] == 1


def test_a_stopped_box_can_be_started_again() -> None:
    box = GridBox(**SMALL, sites=["lyon"])
    for _ in range(2):
        with box:
            assert ask(box, "sites/lyon/jobs")["total"] == 0
            oarsub([(OarSubmission("nodes=1", 60), "lyon")])


def test_two_boxes_side_by_side_do_not_meet() -> None:
    with GridBox(**SMALL, sites=["lyon"]) as one:
        with pytest.raises(RuntimeError, match="uses another box"):
            GridBox(**SMALL).start()
        with pytest.raises(RuntimeError, match="runs already"):
            one.start()
        configured = everything_configured()
        with GridBox(**SMALL, sites=["lyon"], configure=False) as other:
            assert everything_configured() == configured
            oarsub([(OarSubmission("nodes=1", 600), "lyon")])
            assert (ask(one, "sites/lyon/jobs")["total"], ask(other, "sites/lyon/jobs")["total"]) == (1, 0)
        assert ask(one, "sites/lyon/jobs")["total"] == 1
        assert SshProcess("true", one.reference.hosts()[0]).run().ok


def test_a_real_oar_that_cannot_be_had_is_refused_or_replaced(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(oar_real, "why_not", lambda: "no oarsub (oar-user)")
    with pytest.raises(OSError, match=r"oar='real' cannot run here: no oarsub \(oar-user\)"):
        GridBox(oar="real", nodes_per_cluster=1).start()
    with GridBox(nodes_per_cluster=1, sites=["lyon"]) as grid:
        assert "not OAR" in grid.oar_kind
    assert "the box's own scheduler, not OAR (no real one here: no oarsub (oar-user))" in capsys.readouterr().out


def test_after_sigkill_nothing_is_left(temporary_files: Path) -> None:
    script = """\
        import time
        from execo_g5k.gridbox import GridBox
        from execo_g5k.oar import OarSubmission, oarsub, wait_oar_job_start
        with GridBox(oar="own", nodes_per_cluster=1):
            for kind in ("deploy", "allow_classic_ssh"):
                ((job, site),) = oarsub([(OarSubmission("nodes=1", 600, job_type=kind), "lyon" if kind == "deploy" else "nancy")])
                wait_oar_job_start(job, site)
            print("ready", flush=True)
            time.sleep(1000)
    """
    owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout as said:
        while (line := said.readline()) != "ready\n":
            assert line
        assert traces(temporary_files)
        owner.kill()
        owner.wait()
    deadline = time.monotonic() + PATIENCE
    while left := traces(temporary_files):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


# The clock and the charter

def test_all_parts_follow_one_clock() -> None:
    clock = BoxClock("2026-03-23 18:30", rate=0)
    with GridBox(**SMALL, sites=["lyon"], clock=clock) as grid:
        began = clock()
        assert _clock.now() == began == ask(grid, "")["timestamp"]
        ((job, site),) = oarsub([(OarSubmission("nodes=1", "1:0:0", job_type="deploy"), "lyon")])
        assert wait_oar_job_start(job, site, timeout=PATIENCE)
        assert get_oar_job_info(job, site)["start_date"] == ask(grid, f"sites/lyon/jobs/{job}")["started_at"] == began
        clock.advance(7200)
        deadline = time.monotonic() + PATIENCE
        while ask(grid, f"sites/lyon/jobs/{job}")["state"] not in ENDED:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert began + 3600 <= ask(grid, f"sites/lyon/jobs/{job}")["stopped_at"] <= began + 7200
    assert abs(_clock.now() - time.time()) < 60


def test_the_charter_refuses_what_the_policy_forbids(caplog: pytest.LogCaptureFixture) -> None:
    with GridBox(**SMALL, sites=["lyon"], clock=BoxClock("2026-03-23 10:00", rate=0), charter=True):
        straddling, short = (OarSubmission("nodes=1", walltime, job_type="deploy") for walltime in ("12:0:0", "0:30:0"))
        (refused, _), (accepted, _) = oarsub([(straddling, "lyon"), (short, "lyon")])
        assert refused is None
        assert isinstance(accepted, int)


# Other programs, and other users

CAMPAIGN = """\
import sys
from execo import *
from execo_g5k.oar import *
((job, site),) = oarsub([(OarSubmission("nodes=2", walltime="0:10:0", job_type="deploy"), None)])
wait_oar_job_start(job, site, timeout=60)
remote = Remote("echo {{[host.address for host in nodes]}}", nodes := get_oar_job_nodes(job, site)).run()
Remote("true", nodes, {"user": "root"}).run()
print("campaign:", remote.ok, sorted(process.stdout.split()[0] for process in remote.processes), *sys.argv[1:])
oardel([(job, site)])
sys.exit(7)
"""
SAID = "campaign: True ['saone-1.lyon.grid5000.fr', 'saone-2.lyon.grid5000.fr']"


def gridbox(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "execo_g5k.gridbox", "--oar", "own", "--nodes-per-cluster", "2", *arguments]


def test_the_command_runs_a_script_unchanged(temporary_files: Path, tmp_path: Path) -> None:
    script = tmp_path / "campaign.py"
    script.write_text(CAMPAIGN)
    done = subprocess.run(gridbox("run", str(script), "--verbose", "x y"), capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, f"{SAID} --verbose x y" in done.stdout, done.stderr) == (7, True, "")
    assert traces(temporary_files) == []


def test_a_signal_ends_the_script_and_the_box(temporary_files: Path, tmp_path: Path) -> None:
    script = tmp_path / "campaign.py"
    script.write_text("import time\nprint('ready', flush=True)\ntime.sleep(1000)\n")
    box = subprocess.Popen(gridbox("--sites", "lyon", "run", str(script)), stdout=subprocess.PIPE, text=True)
    assert box.stdout is not None
    with box.stdout as said:
        while (line := said.readline()) != "ready\n":
            assert line
        box.terminate()
        assert box.wait(PATIENCE) == 128 + signal.SIGTERM
    assert traces(temporary_files) == []


def test_the_command_keeps_a_box_up_for_others_until_sigterm(temporary_files: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    box = subprocess.Popen(gridbox("--json", "--start", "2026-03-23 18:30", "--rate", "0", "--directory", str(home)),
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert box.stdout is not None
    with box.stdout as said:
        told = json.loads(said.readline())
        try:
            assert (told["pid"], set(told["sites"])) == (box.pid, {"lyon", "nancy", "rennes"})
            environment = {**os.environ, **told["environment"]}
            done = subprocess.run([sys.executable, "-c", CAMPAIGN], env=environment, capture_output=True, text=True, timeout=PATIENCE)
            assert (SAID in done.stdout, done.stderr) == (True, "")
            local = subprocess.run(["oarstat"], env=environment, capture_output=True, text=True, timeout=PATIENCE)
            assert (local.returncode, local.stderr) == (0, "")
            dated = subprocess.run([sys.executable, "-c", "from execo_g5k import _clock; print(_clock.now())"], env=environment,
                                   capture_output=True, text=True, timeout=PATIENCE)
            assert float(dated.stdout) == BoxClock("2026-03-23 18:30", rate=0)()
        finally:
            box.send_signal(signal.SIGTERM)
            assert box.wait(PATIENCE) == 0
        assert said.read() == ""
    assert (traces(temporary_files), list(home.iterdir())) == ([], [])


@pytest.mark.parametrize(("arguments", "text"), [
    (["start"], "expected nothing or 'run SCRIPT'"), (["run"], "expected nothing or 'run SCRIPT'"), (["--sites", "paris"], "found paris"),
    (["--start", "tomorrow"], "expected 'YYYY-MM-DD hh:mm:ss'"), (["--directory", "/nowhere/at/all"], "/nowhere/at/all")])
def test_wrong_arguments_of_the_command_are_told(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--oar", "own", *arguments])
    assert ended.value.code in (1, 2)
    assert text in capsys.readouterr().err


def test_a_configuration_of_somebody_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".execo.conf.py").write_text("# mine\n")
    with GridBox(**SMALL, sites=["lyon"], configure=False) as grid, pytest.raises(FileExistsError):
        grid.write_configuration(tmp_path)
    assert (tmp_path / ".execo.conf.py").read_text() == "# mine\n"


@pytest.mark.requires("root", "namespaces")
def test_an_ordinary_user_has_a_box_too(temporary_files: Path) -> None:
    script = "sys.argv = ['x']\nfrom execo_g5k.gridbox import GridBox\nwith GridBox(nodes_per_cluster=2) as grid:\n"
    place = temporary_files / "user"
    place.mkdir(mode=0o755)
    done = run_as_ordinary_user(place, script + textwrap.indent(CAMPAIGN, "    "))
    assert (done.returncode, SAID in done.stdout, "scheduler, not OAR" in done.stdout, done.stderr) == (7, True, True, ""), done


@pytest.mark.parametrize("isolation", [None, pytest.param("namespaces", marks=pytest.mark.requires("root", "namespaces"))])
def test_a_node_is_switched_off_with_all_that_runs_on_it_and_on_again(isolation: str | None) -> None:
    with GridBox(oar="own", nodes_per_cluster=2, sites=["lyon"], isolation=isolation) as grid:
        off, other = "saone-1.lyon.grid5000.fr", "saone-2.lyon.grid5000.fr"
        quiet = {"nolog_exit_code": True, "nolog_error": True, "timeout": PATIENCE}
        busy = Remote("echo $$; exec sleep 1000", [off, other], process_args=quiet).start()
        for process in busy.processes:
            process.expect(r"^\d+", timeout=PATIENCE)
        grid.crash(off)
        lost, works = busy.processes
        assert lost.wait(PATIENCE).ended
        assert not works.ended
        answers = Remote("true", [off, other], process_args={**quiet, "timeout": 20}).run().processes
        assert [process.ok for process in answers] == [False, True]
        with pytest.raises(RuntimeError, match=r"off|down"):
            grid.crash(off)
        with pytest.raises(KeyError):
            grid.crash("saone-9.lyon.grid5000.fr")
        grid.boot(off)
        assert Remote("true", [off], process_args=quiet).run().ok
        with pytest.raises(RuntimeError, match=r"on already|not down"):
            grid.boot(off)
        busy.kill().wait()
