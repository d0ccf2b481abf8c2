"""What goes wrong between us and a frontend.

Small scripts stand for the commands of OAR, where a real one cannot be made to fail like that.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from requirements import require

from execo.localcluster import LocalCluster
from execo_g5k import (
    OarError,
    OarSubmission,
    default_frontend_connection_params,
    g5k_configuration,
    get_current_oar_jobs,
    get_oar_grids,
    get_oar_job_info,
    get_oar_job_kavlan,
    get_oar_job_nodes,
    get_oar_job_subnets,
    oardel,
    oardelgrid,
    oarsub,
    oarsubgrid,
    wait_oar_job_start,
)
from execo_g5k._oar import registry
from execo_g5k._oar.jobs import _pause
from execo_g5k._oar.parse import JobFacts

ROOT = Path(__file__).resolve().parents[2]
ONE = OarSubmission("nodes=1")
Commands = Callable[..., None]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """`commands(oarsub="...")` makes scripts, which run here; each line that they are called with goes to the file `calls`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("T", str(tmp_path))
    g5k_configuration.update(default_frontend="here", default_timeout=30)
    g5k_configuration.update(no_ssh_for_local_frontend=True, polling_interval=0.05, tiny_polling_interval=0.05)

    def make(**bodies: str) -> None:
        for name, body in bodies.items():
            script = folder / name.replace("_", "-")
            script.write_text(f'#!/bin/bash\necho "$(basename $0) $*" >>"$T/calls"\n{body}\n')
            script.chmod(0o755)

    # none of a real OAR, where that is installed
    make(**dict.fromkeys(("oarsub", "oardel", "oarstat", "oarprint", "kavlan", "g5k_subnets"), "exit 99"))
    return make


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


# A frontend

def test_a_frontend_that_is_down_is_named(caplog: pytest.LogCaptureFixture) -> None:
    g5k_configuration["default_frontend"] = "down"
    default_frontend_connection_params.update(
        host_rewrite_func=lambda host: "127.0.0.1", ssh_options=("-tt", "-F", "/dev/null", "-o", "BatchMode=yes", "-p", "1"))
    assert oarsub([(ONE, "down")]) == [(None, "down")]
    assert "oarsub on down: the frontend cannot be reached" in caplog.text
    caplog.clear()
    assert get_oar_job_info(1, "down") == {}
    assert "cannot be reached" in caplog.text
    caplog.clear()
    assert get_oar_job_info(1, "down", nolog_exit_code=True) == {}
    assert caplog.text == ""
    with pytest.raises(OarError, match="cannot be reached"):
        get_current_oar_jobs(["down"], abort_on_error=True)
    assert not wait_oar_job_start(1, "down", timeout=0.2)


def test_a_slow_frontend_is_left_after_the_timeout(commands: Commands, caplog: pytest.LogCaptureFixture) -> None:
    commands(oarsub="exec sleep 60", oarstat="exec sleep 60", oardel="exec sleep 60")
    began = time.monotonic()
    assert oarsub([(ONE, None), (ONE, "here")], timeout=0.3) == [(None, None), (None, "here")]
    assert "no answer within 0s" in caplog.text
    assert get_oar_job_info(1, timeout="0:0:0.3") == {}
    assert get_current_oar_jobs(timeout=0.3) == []
    oardel([(1, None)], timeout=0.3)
    g5k_configuration["default_timeout"] = 0.3
    with pytest.raises(OarError, match="no answer"):
        oarsub([(ONE, None)], abort_on_error=True)
    assert time.monotonic() - began < 30


def test_a_frontend_that_answers_slowly_but_in_time_is_waited_for(commands: Commands) -> None:
    commands(oarsub="sleep 0.5; echo OAR_JOB_ID=7")
    assert oarsub([(ONE, None)], timeout=30) == [(7, None)]


def test_a_conversation_that_breaks_after_the_id_has_a_job(commands: Commands) -> None:
    commands(oarsub="echo OAR_JOB_ID=7; kill -9 $$")
    assert oarsub([(ONE, None)]) == [(7, None)]
    commands(oarsub="echo OAR_JOB_ID=7; exec sleep 60")
    assert oarsub([(ONE, None)], timeout=1) == [(7, None)]


def test_a_reservation_without_a_verdict_is_none_but_its_id_is_told(commands: Commands, caplog: pytest.LogCaptureFixture) -> None:
    commands(oarsub="echo OAR_JOB_ID=7; echo 'Reservation mode: waiting validation...'; kill -9 $$")
    assert oarsub([(OarSubmission(reservation_date=2000000000), None)]) == [(None, None)]
    assert "job 7 may have been reserved" in caplog.text


def test_a_reservation_in_doubt_is_deleted_with_its_grid(commands: Commands, tmp_path: Path) -> None:
    commands(oarsub="case $* in *nodes=2*) echo OAR_JOB_ID=8; kill -9 $$ ;; esac; echo OAR_JOB_ID=7; echo 'Reservation valid --> OK'")
    assert oarsubgrid([(ONE, "here"), (OarSubmission("nodes=2"), None)], reservation_date=2000000000) == []
    assert sorted(call for call in calls(tmp_path) if call.startswith("oardel")) == ["oardel 7", "oardel 8"]


def test_a_lost_job_is_found_behind_noise_and_by_the_clock_that_oar_has(commands: Commands, tmp_path: Path) -> None:
    behind = 1_000_000
    g5k_configuration["clock"] = lambda: time.time() - behind
    commands(oarsub='echo "oarsub $*" >$T/request; kill -9 $$', oardel="true", oarstat=f"""echo 'perl: warning: Setting locale failed.'
printf '{{"9": {{"initial_request": "%s", "submissionTime": %s}}}}' "$(cat $T/request)" $(($(date +%s) - {behind}))""")
    assert oarsubgrid([(ONE, "here")]) == []
    assert "oardel 9" in calls(tmp_path)


@pytest.mark.parametrize(("oarstat", "left"), [("echo 'perl: warning: Setting locale failed.'", []), ("exit 1", [1]),
                                               (r"printf 'Job_Id: 5\n    state = Running\n'", [1])])
def test_a_job_of_which_oar_knows_no_more_keeps_no_grid(commands: Commands, oarstat: str, left: list[int]) -> None:
    commands(oardel="echo 'Cannot frag 5 ; You are not the right user.' >&2; exit 1", oarstat=oarstat)
    registry.add(registry.Grid(((5, "here"),), 0.0, None, None))
    oardelgrid(1)
    assert get_oar_grids() == left


def test_a_frontend_without_oar_says_so(commands: Commands, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    commands(oarsub="exit 127")
    assert oarsub([(ONE, None)]) == [(None, None)]
    assert "exit code 127, no such command" in caplog.text


@pytest.fixture
def by_ssh(commands: Commands, tmp_path: Path) -> Iterator[LocalCluster]:
    """A frontend behind a real sshd, with these commands."""
    require("sshd")
    environment = f'"PATH={os.environ["PATH"]}" "T={tmp_path}" SHLVL=1'
    with LocalCluster(1, sshd_options={"SetEnv": environment}) as cluster:
        g5k_configuration.update(default_frontend=cluster.hosts[0].address, no_ssh_for_local_frontend=False)
        default_frontend_connection_params.update({**cluster.connection_params, "host_rewrite_func": None})
        yield cluster


DIE = "sleep 0.2; kill -9 $PPID; exec sleep 60"
"""Ends the sshd of this connection, after what was printed before has left."""


def test_a_frontend_that_dies_in_the_middle_is_told_from_one_that_refuses(by_ssh: LocalCluster, commands: Commands,
                                                                          caplog: pytest.LogCaptureFixture) -> None:
    commands(oarsub="echo OAR_JOB_ID=7; exit 0")
    assert oarsub([(ONE, None)]) == [(7, None)]
    commands(oarsub=f"echo OAR_JOB_ID=8; {DIE}")
    assert oarsub([(ONE, None)]) == [(8, None)]             # the job is there
    assert caplog.text == ""
    commands(oarsub=f"echo '[ADMISSION RULE] Set default walltime to 7200.'; {DIE}")
    assert oarsub([(ONE, None)]) == [(None, None)]
    assert "exit code 255" in caplog.text


def test_a_job_of_a_grid_is_found_again_when_its_frontend_died_before_its_id(by_ssh: LocalCluster, commands: Commands,
                                                                             tmp_path: Path) -> None:
    # only the words that OAR was given tell the job
    commands(oarsub=f"echo \"oarsub $*\" >$T/request; {DIE}", oardel="true",
             oarstat="printf '{\"9\": {\"initial_request\": \"%s\", \"submissionTime\": %s}}' \"$(cat $T/request)\" $(date +%s)")
    assert oarsubgrid([(ONE, by_ssh.hosts[0].address)]) == []
    assert "oardel 9" in calls(tmp_path)


def test_a_wait_survives_a_frontend_that_dies_now_and_then(by_ssh: LocalCluster, commands: Commands) -> None:
    commands(oarstat=f"""n=$(cat $T/n 2>/dev/null || echo 0); echo $((n + 1)) >$T/n
printf 'Job_Id: 5\\n'; [ $n -lt 2 ] && {{ {DIE}; }}; printf '    state = Running\\n'""")
    assert wait_oar_job_start(5, timeout=60)


def test_vlans_of_a_job_are_not_none_because_nobody_could_be_asked(by_ssh: LocalCluster, commands: Commands, tmp_path: Path) -> None:
    commands(oarstat=RUNNING)
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/bash\ncase $* in *kavlan*) exec ssh -F /dev/null -o BatchMode=yes -p 1 127.0.0.1 ;; *) exec ssh "$@" ;; esac\n')
    ssh.chmod(0o755)
    default_frontend_connection_params["ssh"] = str(ssh)
    with pytest.raises(OarError, match=r"VLANs of job 5 on .*: the frontend cannot be reached"):
        get_oar_job_kavlan(5)


def test_a_wait_for_a_frontend_that_lets_nobody_in_ends_at_once(by_ssh: LocalCluster, commands: Commands,
                                                               caplog: pytest.LogCaptureFixture) -> None:
    commands(oarstat=RUNNING)
    default_frontend_connection_params["user"] = "nobody-of-this-name"
    assert not wait_oar_job_start(5, timeout=60)
    assert "the frontend cannot be reached: " in caplog.text
    assert "not running within the timeout" not in caplog.text


# OAR

@pytest.mark.parametrize(("body", "words"), [
    ("echo nothing of the kind", "printed no job id: nothing of the kind"),
    ("head -c 100000 /dev/urandom", "oarsub on here"),
    ("echo OAR_JOB_ID=; exit 8", "exit code 8, refused"),
    ("echo OAR_JOB_ID=-5; exit 0", "refused"),
    ("echo OAR_JOB_ID=99999999999999999999999", "printed no job id"),
    ("echo 'mapping: OAR_JOB_ID=3'", "printed no job id"),
    ("echo OAR_JOB_ID=7; echo 'Reservation not valid --> KO (too late)'; exit 10", "Reservation not valid --> KO (too late)"),
    ("echo OAR_JOB_ID=7; echo 'some failure' >&2; exit 3", "some failure (exit code 3)"),
])
def test_what_is_no_acceptance_gives_no_job(commands: Commands, caplog: pytest.LogCaptureFixture, body: str, words: str) -> None:
    commands(oarsub=body)
    assert oarsub([(ONE, "here")]) == [(None, "here")]
    assert words in caplog.text
    assert len(caplog.records) == 1
    caplog.text.encode("utf-8")


def test_rubbish_of_oarstat_is_no_job(commands: Commands) -> None:
    commands(oarstat="head -c 5000 /dev/urandom")
    assert get_oar_job_info(1) == {}
    commands(oarstat='echo "{ \\"1\\" : [ broken"')
    assert get_oar_job_info(1) == {}
    assert get_current_oar_jobs() == []
    commands(oarstat="printf 'Job_Id: 2\\n    state = Running\\n'")         # of another job
    assert get_oar_job_info(1) == {}


def test_frontends_that_fail_do_not_hide_the_others(commands: Commands, caplog: pytest.LogCaptureFixture) -> None:
    default_frontend_connection_params["ssh"] = "false"
    commands(oarstat="printf '12   n   me   2020-01-02 03:04:05 R default\\n'")
    assert get_current_oar_jobs(["here", "elsewhere"]) == [(12, "here")]
    assert "oarstat on elsewhere" in caplog.text


# Waiting

def stat(states: str, more: str = "") -> str:
    """An oarstat whose job has one state after the other; the last one stays."""
    return f"""n=$(cat $T/n 2>/dev/null || echo 1); echo $((n + 1)) >$T/n
set -- {states}; [ $n -le $# ] || n=$#
printf 'Job_Id: 5\\n    state = %s\\n{more}' "${{!n}}" """


def test_a_start_is_waited_for(commands: Commands, tmp_path: Path) -> None:
    commands(oarstat=stat("Waiting toLaunch Launching Running"))
    assert wait_oar_job_start(5, timeout=30)
    assert len(calls(tmp_path)) == 4


@pytest.mark.parametrize("end", ["Terminated", "Error", "toError", "Finishing"])
def test_a_job_that_ends_instead_ends_the_wait(commands: Commands, end: str, caplog: pytest.LogCaptureFixture) -> None:
    commands(oarstat=stat(f"Waiting {end}"))
    assert not wait_oar_job_start(5, timeout=30)
    assert f"job 5 on here is {end}" in caplog.text


def test_the_predictions_are_told_when_they_change(commands: Commands) -> None:
    commands(oarstat="""n=$(cat $T/n 2>/dev/null || echo 0); echo $((n + 1)) >$T/n
[ $n -lt 6 ] && printf 'Job_Id: 5\\n    state = Waiting\\n    scheduledStart = 2030-01-01 00:00:%02d\\n' $((n / 2)) && exit
printf 'Job_Id: 5\\n    state = Running\\n'""")
    told: list[float] = []
    assert wait_oar_job_start(5, timeout=60, prediction_callback=told.append)
    assert [date - told[0] for date in told] == [0, 1, 2]


def test_a_wait_survives_a_frontend_that_fails_for_a_while(commands: Commands) -> None:
    commands(oarstat="""n=$(cat $T/n 2>/dev/null || echo 0); echo $((n + 1)) >$T/n
[ $n -lt 5 ] && exit 1; printf 'Job_Id: 5\\n  state = Running\\n'""")
    assert wait_oar_job_start(5, timeout=60)


def test_a_wait_says_why_nobody_answers_when_that_changes(commands: Commands, caplog: pytest.LogCaptureFixture) -> None:
    commands(oarstat="""n=$(cat $T/n 2>/dev/null || echo 0); echo $((n + 1)) >$T/n
case $n in 0 | 1 | 5) echo down >&2; exit 3 ;; 2) echo lost >&2; exit 3 ;; 6) s=Running ;; *) s=Waiting ;; esac
printf 'Job_Id: 5\\n    state = %s\\n' $s""")
    assert wait_oar_job_start(5, timeout=60)
    assert [record.message for record in caplog.records] == [
        f"waiting for job 5 on here: {why} (exit code 3)" for why in ("down", "lost", "down")]


def test_a_prediction_is_compared_with_the_clock_that_oar_has() -> None:
    g5k_configuration.update(clock=lambda: 1000.0, polling_interval=30, tiny_polling_interval=1)
    assert [_pause(20, [JobFacts(scheduled_start=date)]) for date in (990.0, 1010.0, 2000.0)] == [1, 10, 30]


def test_a_wait_ends_at_its_timeout(commands: Commands, caplog: pytest.LogCaptureFixture) -> None:
    commands(oarstat=stat("Waiting"))
    began = time.monotonic()
    assert not wait_oar_job_start(5, timeout=0.5)
    assert 0.4 < time.monotonic() - began < 20
    assert "not running within the timeout: job 5 on here" in caplog.text
    with pytest.raises(OarError, match="not running within the timeout"):
        get_oar_job_nodes(5, timeout=0.3)


def test_a_date_filter_is_not_disturbed_by_a_job_without_prediction(commands: Commands) -> None:
    commands(oarstat="""case $* in -u) printf '1  a me x R q\\n2  b me x W q\\n' ;;
*1) printf 'Job_Id: 1\\n    state = Running\\n    startTime = 2020-01-02 03:04:05\\n    walltime = 1:0:0\\n' ;;
*2) printf 'Job_Id: 2\\n    state = Waiting\\n    walltime = 1:0:0\\n    scheduledStart = no prediction\\n' ;; esac""")
    assert get_current_oar_jobs() == [(1, None), (2, None)]
    assert get_current_oar_jobs(start_between=("2020-01-01 00:00:00", None)) == [(1, None)]
    assert get_current_oar_jobs(end_between=(None, "2020-01-01 00:00:00")) == []


# What a job has

RUNNING = "printf 'Job_Id: 5\\n    state = Running\\n'"


def test_a_job_without_nodes_is_an_error(commands: Commands) -> None:
    commands(oarstat=RUNNING, oarprint="cat >/dev/null")
    with pytest.raises(OarError, match="nodes of job 5 on here: OAR names none"):
        get_oar_job_nodes(5)


def test_vlans_of_a_job(commands: Commands, caplog: pytest.LogCaptureFixture) -> None:
    commands(oarstat=RUNNING, kavlan="echo 4; echo 14")
    assert get_oar_job_kavlan(5) == [4, 14]
    commands(kavlan="echo 'no vlan'; exit 1")
    assert get_oar_job_kavlan(5) == []
    commands(kavlan="exit 127")
    with pytest.raises(OarError, match="VLANs of job 5"):
        get_oar_job_kavlan(5)


def test_subnets_of_a_job(commands: Commands, tmp_path: Path) -> None:
    commands(oarstat=RUNNING, g5k_subnets="""case $1 in
-im) printf '10.158.0.1\\t00:16:3E:9E:00:01\\n10.158.0.2\\t00:16:3E:9E:00:02\\n' ;;
-a) printf '10.158.0.0/22\\t10.159.255.255\\t255.252.0.0\\t10.159.255.254\\t10.156.0.0\\tdns\\t10.0.0.53\\n' ;; esac""")
    addresses, params = get_oar_job_subnets(5)
    assert addresses == [("10.158.0.1", "00:16:3E:9E:00:01"), ("10.158.0.2", "00:16:3E:9E:00:02")]
    assert (params["ip_prefix"], params["gateway"], params["dns_ip"]) == ("10.158.0.0/22", "10.159.255.254", "10.0.0.53")
    commands(g5k_subnets="exit 1")
    with pytest.raises(OarError, match="subnets of job 5"):
        get_oar_job_subnets(5)


# The caller

@pytest.mark.parametrize("function", [get_oar_job_info, get_oar_job_nodes, get_oar_job_subnets, get_oar_job_kavlan, wait_oar_job_start])
def test_no_job_id_or_a_bad_one_is_said_at_once(function: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="OAR_JOB_ID"):
        function()
    with pytest.raises(ValueError, match="'12; oardel 13'"):
        function("12; oardel 13")
    with pytest.raises(ValueError, match="-5"):
        function(-5)


@pytest.mark.parametrize("specs", [(ONE, "here"), [ONE], ["nodes=1"], [("nodes=1", "here")], [(ONE, "here", 1)]])
@pytest.mark.parametrize("function", [oarsub, oarsubgrid])
def test_what_is_no_pair_is_named(commands: Commands, tmp_path: Path, function: Callable[..., object], specs: object) -> None:
    with pytest.raises(TypeError, match=r"expected pairs \(OarSubmission, frontend\), found"):
        function(specs)
    assert not (tmp_path / "calls").exists()


def test_ctrl_c_deletes_what_a_grid_was_granted_until_then(commands: Commands, tmp_path: Path) -> None:
    # the id of the second job has not come yet
    commands(oarsub="""case $* in *nodes=2*) echo "oarsub $*" >$T/request; touch $T/hangs; exec sleep 60 ;; esac
echo OAR_JOB_ID=7; touch $T/granted""", oardel="true", oarstat="""
printf '{"9": {"initial_request": "%s", "submissionTime": %s}}' "$(cat $T/request)" $(date +%s)""")
    code = ("from execo_g5k import *\n"
            f"g5k_configuration.update(default_frontend='here', no_ssh_for_local_frontend=True, grid_dir={str(tmp_path)!r})\n"
            "oarsubgrid([(OarSubmission('nodes=1'), None), (OarSubmission('nodes=2'), None)])\n")
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as program:
        deadline = time.monotonic() + 60
        while not ((tmp_path / "granted").exists() and (tmp_path / "hangs").exists()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        program.send_signal(signal.SIGINT)
        said, complained = program.communicate(timeout=60)
    assert "KeyboardInterrupt" in complained
    assert "deleting the jobs that were accepted: [(7, None)]" in said
    assert {"oardel 7", "oardel 9"} <= set(calls(tmp_path))


def test_nothing_to_do_asks_nobody(commands: Commands, tmp_path: Path) -> None:
    commands(oarsub="true", oardel="true")
    assert oarsub([]) == []
    oardel([])
    oardel([(None, "here")])        # what oarsub returns for one that was refused
    assert oarsubgrid([]) == []
    assert not (tmp_path / "calls").exists()
    assert get_oar_grids() == []


def test_a_refused_job_is_logged_once_and_says_what_was_asked(commands: Commands, caplog: pytest.LogCaptureFixture) -> None:
    commands(oarsub="echo no such thing >&2; exit 1")
    with caplog.at_level(logging.INFO, "execo"):
        oarsub([(OarSubmission("nodes=3", name="x"), "here")])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert 'oarsub on here: no such thing (exit code 1): oarsub -l "nodes=3"' in caplog.text
