"""What OAR prints, as data: recordings of a real one (record.py), the form of Grid'5000's frontends, and noise."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_g5k._oar.parse import (
    JobFacts,
    Submitted,
    natural,
    oar_message,
    parse_host_names,
    parse_job_ids,
    parse_jobs,
    parse_kavlan,
    parse_oarsub,
    parse_subnet_addresses,
    parse_subnet_params,
)
from execo_g5k.oar import oar_date_to_unixts

RECORDINGS = json.loads(Path(__file__).with_name("recordings.json").read_text(encoding="utf-8"))


def stdout(name: str) -> str:
    return str(RECORDINGS[name]["stdout"])


def message(name: str) -> str:
    recording = RECORDINGS[name]
    return oar_message(recording["stdout"], recording["stderr"], recording["exit_code"])


@pytest.mark.parametrize(("name", "said"), [
    ("sub", Submitted((1,))),
    ("sub-array", Submitted((6, 7, 8))),
    ("sub-reservation", Submitted((3,), True)),
    ("sub-reservation-refused", Submitted((4,), False)),
    ("sub-reservation-old", Submitted((5,), False)),
    ("sub-reservation-junk", Submitted()),
    ("sub-too-much", Submitted((), None, True)),
    ("sub-bad-type", Submitted()),
    ("sub-no-directory", Submitted()),
    ("sub-nothing", Submitted()),
])
def test_what_oarsub_said(name: str, said: Submitted) -> None:
    assert parse_oarsub(stdout(name)) == said
    assert parse_oarsub(stdout(name).replace("\n", "\r\n")) == said          # through a terminal


def test_newer_releases_of_oarsub_mark_their_information() -> None:
    text = ("# Filtering out exotic resources (pyxis).\n# Set walltime to default (3600 s).\nOAR_JOB_ID=1894417\n"
            "# Advance reservation request: waiting for validation...\n# Reservation not valid --> KO (no luck)\n")
    assert parse_oarsub(text) == Submitted((1894417,), False)
    assert oar_message(text, "", 10) == "# Reservation not valid --> KO (no luck) (exit code 10)"


@pytest.mark.parametrize(("name", "said"), [
    ("sub-too-much", "There are not enough resources for your request (exit code 8)"),
    ("sub-bad-type", "[ADMISSION RULE] Error: unknown job type: nosuch (exit code 254)"),
    ("sub-bad-queue", "ERROR : The queue nosuch does not exist (exit code 248)"),
    ("sub-bad-walltime", "/!\\ Cannot recognize -- ,walltime=a:b -- resource (exit code 255)"),
    ("sub-bad-option", "Unknown option: nosuch (exit code 1)"),
    ("sub-nothing", "exit code 5, no command"),
    ("sub-reservation-old", "Reservation not valid --> KO (Reservation too old) (exit code 10)"),
    ("del-again", "Cannot frag 1 ; This job was already killed. (exit code 6)"),
    ("del-unknown", "Cannot frag 999 ; You are not the right user. (exit code 1)"),
    ("sub", ""),
    ("sub-array", ""),
])
def test_the_reason_is_in_the_words_of_oar(name: str, said: str) -> None:
    assert message(name) == said


def test_the_noise_of_the_database_is_not_the_reason() -> None:
    assert message("sub-bad-properties").startswith('Bad resource request (ERROR:  column "nosuch" does not exist')
    assert "DBD" not in message("sub-bad-properties")
    assert len(message("sub-no-directory")) < 500


def dates_of(name: str) -> dict[str, float | None]:
    (job,) = parse_jobs(stdout(name))
    return {field: getattr(job, field) for field in ("start_date", "scheduled_start", "walltime")}


def test_a_running_job_in_each_format() -> None:
    (as_text,), (as_json,) = parse_jobs(stdout("stat-running")), parse_jobs(stdout("stat-running-json"))
    raw = json.loads(stdout("stat-running-json"))["1"]
    request = "oarsub -l nodes=2,walltime=0:10:0 -t origin=execo -n my job sleep 300"
    assert as_json == JobFacts(1, "Running", "my job", 600, raw["startTime"], raw["startTime"], raw["submissionTime"], 1, request)
    assert as_text == as_json
    assert parse_jobs(stdout("stat-running").replace("\n", "\r\n")) == [as_text]


@pytest.mark.parametrize("name", ["stat-waiting", "stat-reservation"])
def test_a_job_that_waits_in_both_formats(name: str) -> None:
    assert dates_of(name) == dates_of(name + "-json")
    assert dates_of(name)["scheduled_start"] is not None
    assert (dates_of(name)["start_date"] is None) == (name == "stat-waiting")
    (job,) = parse_jobs(stdout(name))
    assert (job.state, job.name) == ("Waiting", None)


def test_a_job_that_was_deleted_has_no_prediction() -> None:
    (job,) = parse_jobs(stdout("stat-error"))
    assert (job.state, job.scheduled_start) == ("Error", None)


@pytest.mark.parametrize("name", ["stat-unknown", "stat-unknown-json"])
def test_an_unknown_job_is_no_job(name: str) -> None:
    assert parse_jobs(stdout(name)) == []


GRID5000 = """\
id: 1894417
    array_id = 1894417
    array_index = 1
    name =
    project = staff
    state = Running
    wanted_resources = -l "{(type = 'default') AND exotic = 'NO'}/host=1,walltime=0:59:49"
    command = first line
state = Error
name = not a name
    walltime = 0:59:49
    submission_time = 2025-06-08 12:19:52
    start_time = 2025-06-08 12:20:11
    initial_request = oarsub -r now
    scheduled_start = no prediction
    events =
"""


def test_the_form_of_grid5000s_frontends() -> None:
    (job,) = parse_jobs(GRID5000)
    assert (job.job_id, job.state, job.name, job.walltime, job.array_id) == (1894417, "Running", None, 3589, 1894417)
    assert job.start_date == oar_date_to_unixts("2025-06-08 12:20:11")
    assert job.scheduled_start is None


def test_several_jobs_in_one_answer() -> None:
    assert [job.job_id for job in parse_jobs(stdout("stat-running") + stdout("stat-waiting"))] == [1, 2]
    assert {job.job_id for job in parse_jobs(stdout("stat-user-json"))} == {1, 2}
    assert sorted(parse_job_ids(stdout("stat-array-json"))) == [6, 7, 8]


LOCALE = ('perl: warning: Setting locale failed.\nperl: warning: Please check that your locale settings:\n\tLC_ALL = (unset),\n'
          '\tLANG = "fr_FR.UTF-8"\n    are supported and installed on your system.\n')


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["stat-running", "stat-running-json", "stat-user-json"])
def test_what_a_login_shell_says_first_hides_no_job_and_is_none(name: str, end: str) -> None:
    clean = parse_jobs(stdout(name))
    assert clean
    assert parse_jobs((LOCALE + stdout(name)).replace("\n", end)) == clean
    assert sorted(parse_job_ids((LOCALE + stdout("stat-array-json")).replace("\n", end))) == [6, 7, 8]
    assert parse_jobs(LOCALE.replace("\n", end)) == []


def test_json_in_a_command_is_no_job() -> None:
    (job,) = parse_jobs('Job_Id: 5\n    command = cat <<E\n{"a": {"state": "Error"}}\nE\n    state = Running\n')
    assert (job.job_id, job.state) == (5, "Running")


@pytest.mark.parametrize("name", ["stat-user", "stat-user-1"])
def test_ids_in_both_tables(name: str) -> None:
    assert parse_job_ids(stdout(name)) == [1, 2]
    assert parse_job_ids(stdout(name).replace("\n", "\r\n")) == [1, 2]
    assert parse_job_ids("") == []


def test_names_of_hosts_are_sorted_by_number_and_noise_is_no_name() -> None:
    assert parse_host_names(stdout("nodes")) == ["node-1.home.grid5000.fr", "node-2.home.grid5000.fr"]
    assert parse_host_names("h-10.s\r\nh-9.s\r\nh-10.s\r\n\r\nperl: warning: Setting locale failed.\r\n") == ["h-9.s", "h-10.s"]
    assert parse_host_names(stdout("nodes-unknown")) == []


def test_vlans_and_subnets() -> None:
    assert parse_kavlan("4\r\n") == [4]
    assert parse_kavlan("4\n14\n") == [4, 14]
    assert parse_kavlan("no vlan\n") == []
    assert parse_subnet_addresses("10.158.0.1\t00:16:3E:9E:00:01\r\nnoise\r\n10.158.0.2\t00:16:3E:9E:00:02\r\n") == [
        ("10.158.0.1", "00:16:3E:9E:00:01"), ("10.158.0.2", "00:16:3E:9E:00:02")]
    line = "10.158.0.0/22\t10.159.255.255\t255.252.0.0\t10.159.255.254\t10.156.0.0\tdns.example.org\t10.0.0.53\n"
    assert parse_subnet_params("noise\n" + line) == {
        "ip_prefix": "10.158.0.0/22", "broadcast": "10.159.255.255", "netmask": "255.252.0.0", "gateway": "10.159.255.254",
        "network": "10.156.0.0", "dns_hostname": "dns.example.org", "dns_ip": "10.0.0.53"}
    assert parse_subnet_params("") == {}


def check_types(text: str) -> None:
    """All parsers, on any text: they return what they promise, and raise nothing."""
    said = parse_oarsub(text)
    assert all(number > 0 for number in said.job_ids)
    assert isinstance(oar_message(text, text, 8), str)
    assert oar_message(text, "", None).isprintable()
    for job in parse_jobs(text):
        assert job.job_id is None or job.job_id >= 0
        assert all(value is None or value >= 0 for value in (job.walltime, job.start_date, job.scheduled_start, job.submission_date))
        assert job.state is None or isinstance(job.state, str)
    assert all(isinstance(number, int) for number in (*parse_job_ids(text), *parse_kavlan(text)))
    assert sorted(parse_host_names(text), key=natural) == parse_host_names(text)
    parse_subnet_addresses(text)
    parse_subnet_params(text)


@given(st.text())
def test_noise_is_survived(text: str) -> None:
    check_types(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["1", "startTime", "walltime", "state", "x"]), inner)))
def test_any_json_is_survived(value: object) -> None:
    check_types(json.dumps({"1": value}))
    check_types(json.dumps({"1": {"startTime": value, "walltime": value, "state": value, "name": value, "Job_Id": value}}))


@given(st.randoms(use_true_random=False), st.sampled_from(sorted(RECORDINGS)))
def test_damaged_recordings_are_survived(rng: random.Random, name: str) -> None:
    text = stdout(name) + RECORDINGS[name]["stderr"]
    for _ in range(rng.randint(1, 4)):
        begin = rng.randint(0, len(text))
        end = rng.randint(begin, min(len(text), begin + 50))
        text = text[:begin] + rng.choice(["", "\n", "=", "-", "\0", "99999999999999999999", text[begin:end] * 2, "{"]) + text[end:]
    check_types(text)


def test_a_deep_json_is_survived() -> None:
    check_types('{"1":' * 100000)
