"""The pure parts of how the box asks OAR's own REST API, and of the stand-in for it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_g5k import OarSubmission
from execo_g5k._api.jobs import request_of
from execo_g5k._gridbox.http import Problem, Request
from execo_g5k._gridbox.oar_real import cgi
from execo_g5k._gridbox.oarapi import submission
from execo_g5k._gridbox.oarapi_standin import StandIn, oarsub_words
from execo_g5k._gridbox.reference import make_reference
from execo_g5k._gridbox.site import Refused
from execo_g5k._gridbox.static import StaticOar, make_job

NOW = 1_790_000_000
ANSWER = b'Status: 404\r\nAllow: GET, POST\r\nContent-Type: application/json; charset=ISO-8859-1\r\n\r\n{"a": "\xc3\xa9\r\n\r\n"}'


@pytest.mark.parametrize("output", [ANSWER, ANSWER.replace(b"\r\n", b"\n", 4)])
def test_what_a_program_of_cgi_prints_is_an_answer(output: bytes) -> None:
    status, headers, body = cgi.parse(output)
    assert (status, headers) == (404, {"allow": "GET, POST", "content-type": "application/json; charset=ISO-8859-1"})
    assert body == '{"a": "é\r\n\r\n"}'.encode()
    assert cgi.parse(b"X: y\n\n") == (200, {"x": "y"}, b"")


@pytest.mark.parametrize("output", [
    b"", b"\n", b"rubbish", b"Status: 200", b"Can't locate OAR/API.pm in @INC\n\nbody", b"Status: none\n\n", b"Status: \n\n",
    b"A B: c\n\n"])
def test_what_is_no_answer_of_cgi(output: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        cgi.parse(output)


@given(st.binary(), st.integers(0, len(ANSWER)), st.booleans())
def test_any_bytes_are_an_answer_or_none(noise: bytes, place: int, whole: bool) -> None:
    output = noise if whole else ANSWER[:place] + noise[:3] + ANSWER[place:]
    try:
        status, headers, body = cgi.parse(output)
    except ValueError:
        return
    assert 100 <= status < 600
    assert output.endswith(body)
    assert all(re.fullmatch(r"\S+", name) and name == name.lower() for name in headers)


def test_a_request_in_the_environment_of_a_program() -> None:
    asked = Request("HEAD", ("jobs", "7 b"), {"limit": "9", "state": "a b&c"}, user="jdoe", content_type="application/json", body=b"{}")
    found = cgi.variables(asked, "jdoe")
    wanted = {"REQUEST_METHOD": "GET", "PATH_INFO": "/jobs/7 b.json", "REQUEST_URI": "/oarapi/jobs/7%20b.json",
              "QUERY_STRING": "limit=9&state=a+b%26c", "CONTENT_LENGTH": "2", "HTTP_X_REMOTE_IDENT": "jdoe"}
    assert {name: found[name] for name in wanted} == wanted
    assert "HTTP_X_REMOTE_IDENT" not in cgi.variables(asked, None)


def test_a_submission_as_oars_own_api_takes_it() -> None:
    sent = {"command": "date", "resources": "nodes=2", "walltime": "1:00", "properties": "a='b'", "types": "deploy", "directory": "/x",
            "name": "", "reservation": "now", "unknown": 1}
    assert submission(sent, NOW) == {"script": "date", "resource": "nodes=2,walltime=1:00", "property": "a='b'", "type": ["deploy"],
                                     "directory": "/x", "workdir": "/x", "reservation": "2026-09-21 16:13:20"}
    with pytest.raises(Refused, match="must give a :command"):
        submission({}, NOW)


@given(st.text(st.sampled_from("\\$`'\"a \n;{}é")).filter(bool))
def test_no_value_of_a_submission_is_read_by_a_shell(text: str) -> None:
    posted = request_of(OarSubmission("nodes=1", name=text, job_type=[text], command="echo $HOME"))
    words = oarsub_words(submission(posted, NOW))
    assert words[-1] == "echo $HOME"
    assert f"--name={text}" in words
    assert f"--type={text}" in words


@pytest.mark.parametrize("name", ["$(date)", "a\\\\`date`", "a\\"])
def test_a_value_that_a_shell_would_read_is_refused_by_the_stand_in(name: str) -> None:
    with pytest.raises(Problem, match="a shell would not take"):
        oarsub_words({"script": "date", "name": name})


@pytest.mark.parametrize("directory", ["$(date)", "/tmp; date", "/tmp/`date`", "/a b", "/a\n", '/a"', "/a\\"])
def test_a_directory_that_a_shell_would_read_is_refused(directory: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"found {directory!r}")):
        request_of(OarSubmission("nodes=1", directory=directory))


def test_a_directory_is_posted_as_it_is() -> None:
    assert request_of(OarSubmission("nodes=1", directory="~/é/n=3,a_b@c:1+2%-.x"))["directory"] == "~/é/n=3,a_b@c:1+2%-.x"


@pytest.fixture
def static() -> StaticOar:
    rows = make_reference(2).oar_rows("lyon")
    jobs = [make_job(7, rows[:8], started_at=NOW - 60), make_job(8, state="waiting", user="other"), make_job(9, state="terminated")]
    return StaticOar(rows, jobs, clock=lambda: NOW)


def get(oar: StaticOar, path: str, who: str | None = "jdoe", method: str = "GET", **query: str) -> tuple[int, Any]:
    answer = oar.oarapi(Request(method, tuple(path.split("/")), query, user=who))
    return answer.status, answer.body


def test_jobs_and_resources_are_chosen_and_cut(static: StaticOar) -> None:
    def ids(path: str, **query: str) -> list[int]:
        return [item["id"] for item in get(static, path, **query)[1]["items"]]

    assert ids("jobs") == [7, 8]
    assert ids("jobs/details", state="terminated,Waiting") == [8, 9]
    assert (ids("jobs", user="other"), ids("jobs", ids="7:9"), ids("jobs", state="hold")) == ([8], [7, 9], [])
    assert ids("resources", limit="3", offset="2") == [3, 4, 5]
    page = get(static, "resources/details", limit="3", offset="2")[1]
    assert [link["href"] for link in page["links"]] == [f"/oarapi/resources/details.json?limit=3&offset={offset}" for offset in (2, 5)]
    assert get(static, "jobs/8")[1]["walltime-change"]["possible"] == "0:0:0"


@pytest.mark.parametrize(("method", "path", "user", "status"), [
    ("GET", "jobs/99", "jdoe", 404), ("GET", "jobs/7", None, 401), ("GET", "jobs/7", "anonymous", 401), ("GET", "nosuch", "jdoe", 404),
    ("GET", "resources/4711", "jdoe", 404), ("POST", "jobs", "jdoe", 404), ("PUT", "jobs/7", "jdoe", 404)])
def test_what_the_stand_in_refuses_is_json(static: StaticOar, method: str, path: str, user: str | None, status: int) -> None:
    found, body = get(static, path, user, method)
    assert (found, body["code"], set(body)) == (status, status, {"code", "title", "message"})


@pytest.mark.parametrize(("path", "body", "status", "said"), [
    ("jobs", b"{", 400, "JSON data not understood"), ("jobs", b"[]", 400, "JSON data not understood"),
    ("jobs", b"{}", 400, "Missing Required Field"), ("jobs/7", b'{"method": "dance"}', 400, "Bad query"),
    ("jobs/7", b'{"method": "walltime-change"}', 400, "Missing Required Field"),
    ("jobs", b'{"script": "date", "name": ["a", "b"], "hold": 1}', 400, "Bad query"),
    ("jobs", b'{"script": "date", "project": "p"}', 500, "Oar server error"),
])
def test_what_is_posted_is_judged(path: str, body: bytes, status: int, said: str) -> None:
    ran: list[list[str]] = []

    def run(words: list[str], user: str) -> tuple[str, str, int]:
        ran.append(words)
        return "", "no\n", 8 if "--hold" in words else 254

    stand_in = StandIn(list, list, lambda: NOW, run)
    answer = stand_in.answer(Request("POST", tuple(path.split("/")), user="jdoe", content_type="application/json", body=body))
    assert isinstance(answer.body, dict)
    assert (answer.status, answer.body["title"]) == (status, said)
    words = [["--project=p", "date"]] if b"project" in body else [["--name=a", "--name=b", "--hold", "date"]] if b"script" in body else []
    assert [command[1:] for command in ran] == words
