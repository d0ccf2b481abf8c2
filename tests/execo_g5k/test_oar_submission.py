"""The command line of a submission: its parts, and that no value can break out of its quotes."""

from __future__ import annotations

import logging
import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_g5k import OarSubmission, g5k_configuration
from execo_g5k.oar import get_oarsub_commandline


def words(spec: OarSubmission) -> list[str]:
    """As a real shell hands them to `oarsub`."""
    line = "oarsub() { printf '%s\\0' \"$@\"; }; " + get_oarsub_commandline(spec)
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


@pytest.mark.parametrize(("spec", "line"), [
    (OarSubmission(), 'oarsub -t "origin=execo" "sleep 31536000"'),
    (OarSubmission("nodes=2", "2:00:00"), 'oarsub -l "nodes=2,walltime=2:0:0" -t "origin=execo" "sleep 31536000"'),
    (OarSubmission(walltime=3600), 'oarsub -l "walltime=1:0:0" -t "origin=execo" "sleep 31536000"'),
    (OarSubmission(["cluster=1/nodes=2", "nodes=1"], 60),
     'oarsub -l "cluster=1/nodes=2+nodes=1,walltime=0:1:0" -t "origin=execo" "sleep 31536000"'),
    (OarSubmission("nodes=1", job_type=["deploy", "exotic", "deploy"]),
     'oarsub -l "nodes=1" -t "deploy" -t "exotic" -t "origin=execo" "sleep 31536000"'),
    (OarSubmission("nodes=1", job_type="origin=execo"), 'oarsub -l "nodes=1" -t "origin=execo" "sleep 31536000"'),
    (OarSubmission("nodes=1", reservation_date=1600000000),
     'oarsub -l "nodes=1" -t "origin=execo" -r "2020-09-13 14:26:40" "sleep 31536000"'),
    (OarSubmission("nodes=1", sql_properties="cluster='x'", queue="q", directory="/d", project="p", name="n",
                   additional_options="-O /dev/null", command="true"),
     'oarsub -O /dev/null -l "nodes=1" -t "origin=execo" -p "cluster=\'x\'" -q "q" -d "/d" --project "p" -n "n" "true"'),
    (OarSubmission(["", "nodes=1", ""]), 'oarsub -l "nodes=1" -t "origin=execo" "sleep 31536000"'),
])
def test_a_submission_as_a_line_of_shell(spec: OarSubmission, line: str) -> None:
    assert get_oarsub_commandline(spec) == line


def test_a_submission_does_not_depend_on_the_order_of_a_set() -> None:
    assert get_oarsub_commandline(OarSubmission("nodes=1", job_type=["b", "a"])).index('"b"') \
        < get_oarsub_commandline(OarSubmission("nodes=1", job_type=["b", "a"])).index('"a"')


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_every_text_reaches_oarsub_as_it_is(text: str) -> None:
    given_words = words(OarSubmission(sql_properties=text, name=text, command="x" + text))
    assert given_words == ["-t", "origin=execo", "-p", text, "-n", text, "x" + text]


@pytest.mark.parametrize("evil", [
    '"; touch broken; "', "$(touch broken)", "`touch broken`", "\\", '\\"; touch broken #', "a\nb", "!!", "*"])
@pytest.mark.parametrize("field", ["resources", "job_type", "sql_properties", "queue", "directory", "project", "name", "command"])
def test_no_value_breaks_out_of_its_quotes(field: str, evil: str) -> None:
    assert evil in words(OarSubmission(**{field: evil}))


def test_a_job_key_comes_from_the_configuration_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAR_JOB_KEY_FILE", "/env/key")
    assert ' -k -i /env/key -t' in get_oarsub_commandline(OarSubmission("nodes=1"))
    g5k_configuration["oar_job_key_file"] = "/a key; with $(more)"
    assert words(OarSubmission())[:3] == ["-k", "-i", "/a key; with $(more)"]
    g5k_configuration["oar_job_key_file"] = "~/keys/my key"
    monkeypatch.setenv("HOME", "/home/of/user")
    assert words(OarSubmission())[2] == "/home/of/user/keys/my key"


@pytest.mark.parametrize(("spec", "error", "message"), [
    (OarSubmission(walltime="two hours"), ValueError, "two hours"),
    (OarSubmission(walltime=-1), ValueError, "-1"),
    (OarSubmission(reservation_date="tomorrow"), ValueError, "tomorrow"),
    (OarSubmission(command="-I"), ValueError, "-I"),
    (OarSubmission(command="a\0b"), ValueError, "NUL"),
    (OarSubmission(resources=2), TypeError, "resources"),          # type: ignore[arg-type]   # the mistake
    (OarSubmission(name=3), TypeError, "name"),                    # type: ignore[arg-type]   # the mistake
])
def test_a_mistake_is_named_at_once(spec: OarSubmission, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        get_oarsub_commandline(spec)


def test_a_reservation_in_the_second_pass_of_the_repeated_hour_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "execo"):
        assert '-r "2024-10-27 02:30:00"' in get_oarsub_commandline(OarSubmission(reservation_date="2024-10-27 01:30:00Z"))
        assert "an hour earlier" in caplog.text
        caplog.clear()
        get_oarsub_commandline(OarSubmission(reservation_date="2024-10-27 00:30:00Z"))
        assert caplog.text == ""


def test_repr_shows_what_is_given() -> None:
    assert repr(OarSubmission("nodes=2", 3600, name="n")) == "OarSubmission(resources='nodes=2', walltime='1h0m0s', name='n')"


def test_options_of_oarsub_are_words_of_a_shell() -> None:
    spec = OarSubmission(additional_options="--array 3 -O " + shlex.quote("a b"))
    assert words(spec)[:4] == ["--array", "3", "-O", "a b"]
