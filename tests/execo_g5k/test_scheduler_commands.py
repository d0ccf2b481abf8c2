"""The commands of the box's own scheduler print what those of OAR do: compared with recordings of a real one, line by line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from execo_g5k._gridbox.oar_real.oarsite import rows_of
from execo_g5k._gridbox.scheduler.commands import Answer, Call, Commands
from execo_g5k._gridbox.scheduler.model import Job, Schedule
from execo_g5k._oar.formats import format_oar_date
from execo_g5k._oar.parse import parse_host_names, parse_job_ids, parse_jobs, parse_oarsub

RECORDINGS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("recordings.json").read_text(encoding="utf-8"))
TWO = ("-l", "nodes=2,walltime=0:10:0")


class Site:
    """Commands over a schedule whose jobs start at once, at a date that is ours."""

    def __init__(self) -> None:
        self.now = 1_795_312_856.0
        self.killing: list[Job] = []
        rows = rows_of("home", [f"node-{i}.home.grid5000.fr" for i in range(1, 4)])
        self.schedule = Schedule(rows, self._start, self.killing.append)
        self.commands = Commands("home", rows, self.schedule, lambda: self.now, "experimenter", lambda tool: [f"/bin/{tool}"],
                                 lambda: "a key")

    def _start(self, job: Job) -> None:
        job.state = "Running"

    def run(self, *words: str, text: str = "", **variables: str) -> Answer:
        self.now += 1
        self.schedule.step(self.now)
        return self.commands.run(Call(words, "/home/experimenter", variables, text))

    def settle(self) -> None:
        """What is to be killed is gone."""
        while self.killing:
            self.schedule.ended(self.killing.pop(), self.now, None)


def played() -> dict[str, Answer]:
    """As record.py does on a real OAR; under the same names."""
    site = Site()
    said: dict[str, Answer] = {}

    def run(name: str, *words: str, text: str = "") -> None:
        said[name] = site.run(*words, text=text)

    run("sub", "oarsub", *TWO, "-t", "origin=execo", "-n", "my job", "sleep 300")
    run("sub-waiting", "oarsub", "-l", "nodes=3,walltime=1:30:0", "sleep 300")
    run("stat-user", "oarstat", "-u")
    run("stat-user-json", "oarstat", "-u", "-f", "-J")
    run("stat-running", "oarstat", "-fj", "1")
    run("stat-running-json", "oarstat", "-fj", "1", "-J")
    run("stat-waiting", "oarstat", "-fj", "2")
    run("stat-waiting-json", "oarstat", "-fj", "2", "-J")
    run("stat-state", "oarstat", "-sj", "1")
    run("stat-unknown", "oarstat", "-fj", "999")
    run("stat-unknown-json", "oarstat", "-fj", "999", "-J")
    run("nodes", "oarprint", "network_address", "-f", "-", text=site.run("oarstat", "-pj", "1").stdout)
    run("del", "oardel", "1", "2")
    run("del-again", "oardel", "1")
    run("del-unknown", "oardel", "999")
    site.settle()
    run("stat-error", "oarstat", "-fj", "1")
    run("sub-reservation", "oarsub", "-r", format_oar_date(site.now + 3600), *TWO)
    run("sub-reservation-refused", "oarsub", "-r", format_oar_date(site.now + 3960), *TWO)
    run("sub-reservation-old", "oarsub", "-r", "2020-01-01 00:00:00", *TWO)
    run("sub-reservation-junk", "oarsub", "-r", "junk", *TWO)
    run("stat-reservation", "oarstat", "-fj", "3")
    run("stat-reservation-json", "oarstat", "-fj", "3", "-J")
    run("sub-too-much", "oarsub", "-l", "nodes=50", "true")
    run("sub-bad-type", "oarsub", "-t", "nosuch", "true")
    run("sub-bad-queue", "oarsub", "-q", "nosuch", "true")
    run("sub-bad-walltime", "oarsub", "-l", "nodes=1,walltime=a:b", "true")
    run("sub-bad-option", "oarsub", "--nosuch", "true")
    run("sub-bad-properties", "oarsub", "-p", "nosuch='x'", "true")
    run("sub-nothing", "oarsub")
    run("sub-array", "oarsub", "-l", "core=1,walltime=0:1:0", "--array", "3", "true")
    run("stat-array-json", "oarstat", "--array", "6", "-J")
    return said


PLAYED = played()


def plain(text: str) -> list[str]:
    """Lines, with dates and what depends on them as D, and without the scheduler's remark on priorities."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "D", text.replace(" (Karma=0.000,quota_ok)", ""))
    return [re.sub(r"\b\d:\d\d:\d\d\b", "D", line).rstrip() for line in text.strip().splitlines()]


def plain_json(text: str) -> Any:
    def without_dates(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: "D" if isinstance(given, int) and given > 10**9 else without_dates(given) for name, given in value.items()}
        return " ".join(plain(value)) if isinstance(value, str) else value

    return without_dates(json.loads(text))


SAME = [name for name in PLAYED if "json" not in name and name not in ("nodes", "sub-nothing", "sub-bad-properties")]


@pytest.mark.parametrize("name", SAME)
def test_texts_are_those_of_a_real_oar(name: str) -> None:
    recorded = RECORDINGS[name]
    ours = PLAYED[name]
    assert plain(ours.stdout) == plain(recorded["stdout"])
    assert plain(ours.stderr) == plain(recorded["stderr"])
    assert ours.code == recorded["exit_code"]


@pytest.mark.parametrize("name", ["stat-running-json", "stat-waiting-json", "stat-reservation-json", "stat-user-json"])
def test_json_is_that_of_a_real_oar(name: str) -> None:
    assert plain_json(PLAYED[name].stdout) == plain_json(RECORDINGS[name]["stdout"])


def test_an_array_has_the_fields_of_a_real_one() -> None:
    ours, recorded = (json.loads(text) for text in (PLAYED["stat-array-json"].stdout, RECORDINGS["stat-array-json"]["stdout"]))
    assert sorted(ours) == sorted(recorded)
    assert {tuple(sorted(job)) for job in ours.values()} == {tuple(sorted(job)) for job in recorded.values()}


def test_what_is_not_the_same_is_understood_as_the_same() -> None:
    assert parse_host_names(PLAYED["nodes"].stdout) == parse_host_names(RECORDINGS["nodes"]["stdout"])
    assert (PLAYED["sub-nothing"].code, PLAYED["sub-bad-properties"].code) == (5, 8)
    assert "\nOptions are:" in PLAYED["sub-nothing"].stdout
    assert 'Bad resource request (ERROR:  column "nosuch" does not exist' in PLAYED["sub-bad-properties"].stderr
    assert parse_oarsub(PLAYED["sub-bad-properties"].stdout) == parse_oarsub(RECORDINGS["sub-bad-properties"]["stdout"])


def test_both_forms_say_the_same_of_a_job() -> None:
    site = Site()
    site.run("oarsub", *TWO, "-n", "x", "true")
    site.run("oarsub", "-l", "nodes=3,walltime=1", "true")
    for number in (1, 2):
        text, as_json = (parse_jobs(site.run("oarstat", "-fj", str(number), *more).stdout) for more in ((), ("-J",)))
        assert text == as_json
        assert len(text) == 1


def test_ids_in_tables() -> None:
    assert parse_job_ids(PLAYED["stat-user"].stdout) == [1, 2]


def test_oarnodes_and_its_conditions() -> None:
    site = Site()
    site.run("oarsub", "-l", "core=3,walltime=1", "sleep 9")
    assert site.run("oarnodes", "-l").stdout.split() == [f"node-{i}.home.grid5000.fr" for i in range(1, 4)]
    assert site.run("oarnodes", "--sql", "core > 4 and state='Alive'", "-l").stdout == "node-3.home.grid5000.fr\n"
    assert site.run("oarnodes", "-s", "node-2.home.grid5000.fr").stdout == "node-2.home.grid5000.fr\n    3 : Alive\n    4 : Alive\n"
    shown = json.loads(site.run("oarnodes", "-J").stdout)
    assert [number for number, row in shown.items() if row.get("jobs") == "1"] == ["1", "2", "3"]
    assert site.run("oarnodes").stdout.count("jobs: 1\n") == 3


@pytest.mark.parametrize("words", [(), ("nosuch",), ("",)])
def test_what_is_no_command_is_said(words: tuple[str, ...]) -> None:
    assert Site().run(*words).code == 127


def test_oarprint_prints_each_value_once() -> None:
    site = Site()
    site.run("oarsub", *TWO, "true")
    lines = site.run("oarstat", "-pj", "1").stdout
    assert site.run("oarprint", "cpu", "-f", "-", text=lines).stdout == "1\n2\n"
    assert site.run("oarprint", "host", "-f", "-", text=lines).stdout.split() == [f"node-{i}.home.grid5000.fr" for i in (1, 2)]
    assert site.run("oarprint", "host").code == 255


def test_jobs_of_others_are_shown_but_not_deleted() -> None:
    site = Site()
    site.commands.run(Call(["oarsub", *TWO, "true"]), user="other")
    assert parse_job_ids(site.run("oarstat").stdout) == [1]
    assert site.run("oarstat", "-u").stdout == ""
    assert parse_job_ids(site.run("oarstat", "-u", "other", "-J").stdout) == [1]
    assert site.run("oardel", "1").code == 1


def test_oarsh_becomes_an_ssh_only_with_a_job() -> None:
    site = Site()
    assert site.run("oarsh", "node-1", "true").code == 6
    assert site.run("oarsh").code == 7
    site.run("oarsub", *TWO, "sleep 9")
    assert site.run("oarsh", "-p", "22", "node-1", "true", OAR_JOB_ID="1").become == ["/bin/ssh", "-p", "22", "node-1", "true"]
    assert site.run("oarsh", "-F", "/dev/null", "node-1", "true", OAR_JOB_ID="1").become == ["/bin/ssh", "node-1", "true"]
    assert site.run("oarcp", "a", "node-1:b", OAR_JOB_ID="1").become == ["/bin/scp", "a", "node-1:b"]
    assert site.run("oarsh", "node-1", "true", OAR_JOB_ID="7").code == 255


def test_a_job_key_is_made_exported_imported_and_asked_for(tmp_path: Path) -> None:
    site = Site()
    key = tmp_path / "key-%jobid%"
    made = site.run("oarsub", *TWO, "-k", "-e", str(key), "sleep 9")
    assert "Generate a job key...\n" in made.stdout
    exported = tmp_path / "key-1"
    assert (exported.read_text(), exported.stat().st_mode & 0o777) == ("a key", 0o600)
    assert site.run("oarsh", "-i", str(exported), "node-1", "true").become == ["/bin/ssh", "node-1", "true"]
    (tmp_path / "other").write_text("another key")
    assert site.run("oarsh", "node-1", OAR_JOB_KEY_FILE=str(tmp_path / "other")).code == 255
    site.run("oarsub", "-l", "core=1,walltime=1", "-k", "-i", str(tmp_path / "other"), "sleep 9")
    assert site.run("oarsh", "node-1", OAR_JOB_KEY_FILE=str(tmp_path / "other")).become is not None
    assert site.run("oarsub", "-k", "-i", str(tmp_path / "none"), "true").code == 14


@pytest.mark.parametrize(("date", "code"), [
    ("now", 0), ("2030-01-01 10:00:00", 0), ("2030-01-01 10:00:00, 2030-01-01 11:00:00", 0), ("2030-01-01 10:00", 0), ("soon", 7),
    ("2030-01-01", 7), ("2030-02-30 10:00:00", 7), ("2020-01-01 10:00:00", 10)])
def test_dates_of_reservations(date: str, code: int) -> None:
    assert Site().run("oarsub", "-r", date, *TWO).code == code


def test_a_date_is_of_paris_also_when_the_clocks_change() -> None:
    site = Site()
    # 2027-03-28: from 02:00 to 03:00; 2027-10-31: back, and 02:30 is its first pass
    dates = (("2027-03-28 03:00:00", 1_806_195_600), ("2027-10-31 02:30:00", 1_824_942_600), ("2027-10-31 03:00:00", 1_824_948_000))
    for text, utc in dates:
        assert site.run("oarsub", "-r", text, "-l", "core=1,walltime=0:1").code == 0
        job = max(site.schedule.jobs.values(), key=lambda job: job.job_id)
        assert (job.start_date, text in site.run("oarstat", "-fj", str(job.job_id)).stdout) == (utc, True)
