"""Writes recordings.json, what a real OAR prints: ``python tests/execo_g5k/record.py``, as root, where its packages are.

The tests of the parsers read it; so that they run anywhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from execo_g5k._gridbox.oar_real.oarsite import OarSite

Recordings = dict[str, dict[str, "str | int"]]


def wait_for(site: OarSite, job: int, state: str) -> None:
    deadline = time.monotonic() + 60
    while state not in site.run("oarstat", "-sj", str(job)).stdout:
        if time.monotonic() > deadline:
            raise TimeoutError(f"job {job} does not become {state}")
        time.sleep(0.2)


def record(site: OarSite) -> Recordings:
    recordings: Recordings = {}

    def run(name: str, *command: str) -> None:
        done: subprocess.CompletedProcess[str] = site.run(*command)
        recordings[name] = {"command": " ".join(command), "stdout": done.stdout, "stderr": done.stderr, "exit_code": done.returncode}

    def sub(name: str, *options: str) -> None:
        run(name, "oarsub", *options)

    def date(hours: float) -> str:
        return (datetime.now(ZoneInfo("Europe/Paris")) + timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S")

    two = ("-l", "nodes=2,walltime=0:10:0")
    sub("sub", *two, "-t", "origin=execo", "-n", "my job", "sleep 300")                                 # job 1
    wait_for(site, 1, "Running")
    sub("sub-waiting", "-l", "nodes=3,walltime=1:30:0", "sleep 300")                                    # job 2
    time.sleep(3)
    run("stat-user", "oarstat", "-u")
    run("stat-user-1", "env", "OAR_OARSTAT_OUTPUT_FORMAT=1", "oarstat", "-u")
    run("stat-user-json", "oarstat", "-u", "-f", "-J")
    run("stat-running", "oarstat", "-fj", "1")
    run("stat-running-json", "oarstat", "-fj", "1", "-J")
    run("stat-waiting", "oarstat", "-fj", "2")
    run("stat-waiting-json", "oarstat", "-fj", "2", "-J")
    run("stat-state", "oarstat", "-sj", "1")
    run("stat-unknown", "oarstat", "-fj", "999")
    run("stat-unknown-json", "oarstat", "-fj", "999", "-J")
    run("nodes", "bash", "-c", "oarstat -pj 1 | oarprint network_address -f -")
    run("nodes-unknown", "bash", "-c", "oarstat -pj 999 | oarprint network_address -f -")
    run("del", "oardel", "1", "2")
    run("del-again", "oardel", "1")
    run("del-unknown", "oardel", "999")
    wait_for(site, 1, "Error")
    run("stat-error", "oarstat", "-fj", "1")
    sub("sub-reservation", "-r", date(1), *two)                                                         # job 3
    sub("sub-reservation-refused", "-r", date(1.1), *two)
    sub("sub-reservation-old", "-r", "2020-01-01 00:00:00", *two)
    sub("sub-reservation-junk", "-r", "junk", *two)
    run("stat-reservation", "oarstat", "-fj", "3")
    run("stat-reservation-json", "oarstat", "-fj", "3", "-J")
    sub("sub-too-much", "-l", "nodes=50", "true")
    sub("sub-bad-properties", "-p", "nosuch='x'", "true")
    sub("sub-bad-type", "-t", "nosuch", "true")
    sub("sub-bad-queue", "-q", "nosuch", "true")
    sub("sub-bad-walltime", "-l", "nodes=1,walltime=a:b", "true")
    sub("sub-bad-option", "--nosuch", "true")
    sub("sub-nothing")
    sub("sub-array", "-l", "core=1,walltime=0:1:0", "--array", "3", "true")
    run("stat-array-json", "oarstat", "--array", str(recordings["sub-array"]["stdout"]).split("OAR_ARRAY_ID=")[1].split()[0], "-J")
    recordings["sub-no-directory"] = broken(site)
    return recordings


def broken(site: OarSite) -> dict[str, str | int]:
    """Without PWD oarsub fails on its own, and prints an id without number."""
    done = site.run("env", "-u", "PWD", "oarsub", "true")
    return {"command": "env -u PWD oarsub true", "stdout": done.stdout, "stderr": done.stderr, "exit_code": done.returncode}


if __name__ == "__main__":
    with OarSite("home") as oar_site:
        text = json.dumps(record(oar_site), indent=1, ensure_ascii=False) + "\n"
    Path(__file__).with_name("recordings.json").write_text(text, encoding="utf-8")
