"""The box's own scheduler with its socket, its commands and the processes of its jobs."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from execo_g5k._gridbox.oar_real.oarsite import rows_of
from execo_g5k._gridbox.scheduler import OwnOar
from execo_g5k._gridbox.site import SiteSetup
from execo_g5k._oar.formats import oar_date_to_unixts

pytestmark = pytest.mark.requires("sshd")
ROOT = Path(__file__).resolve().parents[2]
HOSTS = [f"node-{i}.home.grid5000.fr" for i in range(1, 4)]
NIGHT = 50_000
"""Seconds: longer than any night before a working day, shorter than a week-end."""


class Clock:
    """A date that is ours."""

    def __init__(self, text: str) -> None:
        self.date = oar_date_to_unixts(text)

    def __call__(self) -> float:
        return self.date


Make = Callable[..., OwnOar]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """`make(clock=..., charter=...)` starts a site of three hosts with two cores each."""
    made: list[OwnOar] = []
    key = tmp_path / "key"
    key.with_suffix(".pub").write_text("none\n")

    def start(clock: Callable[[], float] = time.time, charter: bool = False) -> OwnOar:
        directory = tmp_path / f"site-{len(made)}"
        directory.mkdir()
        oar = OwnOar(SiteSetup("home", directory, rows_of("home", HOSTS), {}, key, tmp_path / "ssh_config", clock, charter))
        made.append(oar)
        oar.start()
        return oar

    yield start
    for oar in made:
        oar.stop()


@pytest.fixture
def oar(make: Make) -> OwnOar:
    return make()


def run(oar: OwnOar, *words: str, folder: Path | str = "/", **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(oar.commands / words[0]), *words[1:]], cwd=folder, env={**os.environ, **variables}, capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)


def submit(oar: OwnOar, *words: str, folder: Path | str = "/") -> int:
    done = run(oar, "oarsub", *words, folder=folder)
    assert done.returncode == 0, done
    return int(done.stdout.split("OAR_JOB_ID=")[1].split()[0])


def item(oar: OwnOar, number: int) -> dict[str, Any]:
    return next(job for job in oar.jobs() if job["uid"] == number)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(oar: OwnOar, number: int) -> dict[str, Any]:
    until(lambda: item(oar, number)["state"] in ("terminated", "error"))
    return item(oar, number)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_job_has_its_folder_its_files_and_its_environment(oar: OwnOar, tmp_path: Path) -> None:
    command = "pwd; sort -u $OAR_NODEFILE; echo $OAR_JOB_NAME $OAR_JOB_WALLTIME_SECONDS; oarprint host; echo wrong >&2; exit 3"
    number = submit(oar, "-t", "deploy", "-l", "nodes=2,walltime=0:1", "-n", "x", "-O", "out.%jobid%", command, folder=tmp_path)
    job = ended(oar, number)
    assert (job["state"], job["exit_code"], job["directory"]) == ("terminated", 3 << 8, str(tmp_path))
    assert (tmp_path / f"out.{number}").read_text().split("\n") == [str(tmp_path), *HOSTS[:2], "x 60", *HOSTS[:2], ""]
    assert (tmp_path / f"OAR.x.{number}.stderr").read_text() == "wrong\n"


def test_a_job_from_the_home_of_the_user_is_at_home_in_the_site(oar: OwnOar) -> None:
    number = submit(oar, "pwd", folder=os.path.expanduser("~"))
    home = oar.commands.parent / "home"
    assert ended(oar, number)["directory"] == str(home)
    assert (home / f"OAR.{number}.stdout").read_text() == f"{home}\n"


def test_a_job_that_is_deleted_leaves_no_process(oar: OwnOar, tmp_path: Path) -> None:
    number = submit(oar, "setsid sleep 1000 & echo $! >one; sleep 1001 & echo $! >other; mv other two; wait", folder=tmp_path)
    until((tmp_path / "two").exists)
    pids = [int((tmp_path / name).read_text()) for name in ("one", "two")]
    assert all(map(alive, pids))
    oar.delete(number, oar.user)
    assert ended(oar, number)["state"] == "error"
    until(lambda: not any(map(alive, pids)))


def test_what_a_job_leaves_behind_ends_with_it(oar: OwnOar, tmp_path: Path) -> None:
    number = submit(oar, "setsid sleep 1000 >/dev/null 2>&1 & echo $! >left", folder=tmp_path)
    assert ended(oar, number)["state"] == "terminated"
    pid = int((tmp_path / "left").read_text())
    until(lambda: not alive(pid))


def test_a_walltime_ends_a_job(oar: OwnOar) -> None:
    number = submit(oar, "-l", "nodes=1,walltime=0:0:1", "sleep 1000")
    job = ended(oar, number)
    assert job["state"] == "error"
    assert "WALLTIME" in [event["type"] for event in job["events"]]


def test_jobs_wait_for_each_other_and_for_their_dates_by_the_clock_of_the_box(make: Make) -> None:
    clock = Clock("2027-06-01 10:00:00")
    oar = make(clock)
    first = submit(oar, "-l", "nodes=3,walltime=10", "sleep 1000")
    second = submit(oar, "-l", "nodes=3,walltime=10", "sleep 1000")
    reserved = submit(oar, "-r", "2027-06-02 10:00:00", "-l", "nodes=3,walltime=1")
    assert item(oar, second)["scheduled_at"] == clock.date + 36000
    clock.date += 36000
    assert ended(oar, first)["state"] == "error"
    until(lambda: item(oar, second)["state"] == "running")
    clock.date = oar_date_to_unixts("2027-06-02 10:00:01")
    until(lambda: item(oar, reserved)["state"] == "running")
    assert item(oar, second)["state"] == "error"


def test_days_and_nights_are_waited_for(make: Make) -> None:
    clock = Clock("2027-06-01 12:00:00")        # a Tuesday
    oar = make(clock)
    night = submit(oar, "-t", "night", "-l", "nodes=1,walltime=13:55", "sleep 1000")
    day = submit(oar, "-t", "day", "-l", "nodes=1,walltime=9", "sleep 1000")
    weekend = submit(oar, "-t", "night", "-l", "nodes=1,walltime=61:55", "sleep 1000")
    assert item(oar, night)["scheduled_at"] == oar_date_to_unixts("2027-06-01 19:00:00")
    assert item(oar, day)["scheduled_at"] == oar_date_to_unixts("2027-06-02 09:00:00")
    assert item(oar, weekend)["scheduled_at"] == oar_date_to_unixts("2027-06-04 19:00:00")
    clock.date = oar_date_to_unixts("2027-06-01 19:00:00")
    until(lambda: item(oar, night)["state"] == "running")


def test_the_policy_objects_if_it_is_asked_for(make: Make) -> None:
    clock = Clock("2027-06-01 12:00:00")
    strict, lax = make(clock, charter=True), make(clock)
    long = ("oarsub", "-l", "nodes=3,walltime=20", "sleep 1000")
    refused = run(strict, *long)
    assert refused.returncode == 254
    assert refused.stderr.startswith("[ADMISSION RULE] ")
    assert strict.jobs() == []
    assert run(lax, *long).returncode == 0
    assert run(strict, "oarsub", "-l", "core=1,walltime=0:30", "sleep 1000").returncode == 0
    assert run(strict, "oarsub", "-t", "besteffort", "-l", "nodes=1,walltime=20", "sleep 1000").returncode == 0


def test_stop_ends_all_and_may_be_called_twice(make: Make, tmp_path: Path) -> None:
    oar = make()
    submit(oar, "echo $$ >pid; mv pid there; sleep 1000", folder=tmp_path)
    until((tmp_path / "there").exists)
    pid = int((tmp_path / "there").read_text())
    oar.stop()
    oar.stop()
    assert not alive(pid)
    done = run(oar, "oarstat")
    assert (done.returncode, "does not answer" in done.stderr) == (70, True)


def test_an_owner_that_is_killed_leaves_no_job(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import pathlib, sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from execo_g5k._gridbox.oar_real.oarsite import rows_of
        from execo_g5k._gridbox.scheduler import OwnOar
        from execo_g5k._gridbox.site import SiteSetup
        folder = pathlib.Path({str(tmp_path)!r})
        (folder / "key.pub").write_text("none")
        (folder / "site").mkdir()
        oar = OwnOar(SiteSetup("home", folder / "site", rows_of("home", ["node-1"]), {{}}, folder / "key", folder / "c", time.time))
        oar.start()
        oar.submit({{"command": "echo $$ >pid; mv pid there; exec sleep 1000", "directory": str(folder)}}, oar.user)
        time.sleep(600)
        """)
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}) as owner:
        until((tmp_path / "there").exists)
        pid = int((tmp_path / "there").read_text())
        assert alive(pid)
        owner.send_signal(signal.SIGKILL)
    until(lambda: not alive(pid))


def test_a_client_that_says_nothing_hinders_nobody(oar: OwnOar) -> None:
    import socket

    path = (oar.commands / "oarstat").read_text().split()[-3]
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as rude:
        silent.connect(path)
        rude.connect(path)
        rude.sendall(b"rubbish\0\0\0")
        rude.shutdown(socket.SHUT_WR)
        assert rude.recv(10) == b""
        assert run(oar, "oarstat", "-u").returncode == 0
        began = time.monotonic()
        oar.stop()
        assert time.monotonic() - began < 5


def test_any_bytes_of_a_command_arrive(oar: OwnOar, tmp_path: Path) -> None:
    odd = "x 'y' \"z\" \\ $HOME é \udce9 \n;"
    number = submit(oar, "-t", "deploy", "-n", odd, "printf '%s' \"$OAR_JOB_NAME\" >name", folder=tmp_path)
    assert ended(oar, number)["exit_code"] == 0
    assert (tmp_path / "name").read_bytes() == os.fsencode(odd)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs all of these tests as one")
def test_an_ordinary_user_may_have_one(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    folder = Path(f"/tmp/box-of-nobody-{os.getpid()}")
    code = textwrap.dedent(f"""
        import os, pathlib, sys, time
        os.setgroups([]); os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid})
        folder = pathlib.Path({str(folder)!r})
        (folder / "site").mkdir(parents=True)
        (folder / "key.pub").write_text("none")
        os.environ.update(HOME=str(folder), TMPDIR=str(folder), USER="other", LOGNAME="other")
        oar = OwnOar(SiteSetup("home", folder / "site", rows_of("home", ["node-1"]), {{}}, folder / "key", folder / "c", time.time))
        oar.start()
        try:
            number = oar.submit({{"command": "id -un >who", "directory": str(folder)}}, oar.user)
            while oar.jobs()[0]["state"] not in ("terminated", "error"):
                time.sleep(0.01)
            print(oar.user, (folder / "who").read_text().strip(), oar.jobs()[0]["exit_code"])
        finally:
            oar.stop()
            import shutil
            shutil.rmtree(folder)
        """)
    # imported as root: the user may not be allowed to read the source tree
    imports = (f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom execo_g5k._gridbox.oar_real.oarsite import rows_of\n"
               "from execo_g5k._gridbox.scheduler import OwnOar\nfrom execo_g5k._gridbox.site import SiteSetup\n"
               "import execo_g5k.charter, shutil, zoneinfo\n")
    done = subprocess.run([sys.executable, "-c", imports + code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "nobody nobody 0\n", done
