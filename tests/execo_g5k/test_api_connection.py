"""Requests to the API: what is repeated, what is not, who asks, and what is said when it fails."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from execo import logger
from execo_g5k import config
from execo_g5k._api import connection, secrets
from execo_g5k._gridbox.rest import RestServer, serve_reference
from execo_g5k._gridbox.static import make_job
from execo_g5k.api_utils import APIConnection, APIException, get_resource_attributes

PASSWORD = "Zq7-keep-me-out"


@pytest.fixture
def api() -> Iterator[RestServer]:
    with serve_reference() as server:
        config.g5k_configuration["api_uri"] = server.uri
        yield server


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSES", (0.01, 0.02, 0.03))
    monkeypatch.setattr(secrets, "_given", {})


@pytest.fixture
def connected(api: RestServer) -> Iterator[APIConnection]:
    with APIConnection() as made:
        yield made


def test_a_connection_shows_what_it_was_made_of(api: RestServer) -> None:
    with APIConnection(username="jdoe", password=PASSWORD, additional_args={"branch": "testing"}, timeout="0:00:20") as made:
        assert repr(made) == f"APIConnection('{api.uri[:-1]}', username='jdoe', timeout='0:00:20')"
        assert (made.base_uri, made.username, made.password) == (api.uri[:-1], "jdoe", PASSWORD)
        assert made.headers == {"ACCEPT": "application/json"}
        assert made.get("/sites").json()["total"] == 3
        assert made.get("sites/lyon?deep=1").status_code == 200
    assert [line[1] for line in api.log] == ["/3.0/sites?branch=testing", "/3.0/sites/lyon?deep=1&branch=testing"]
    assert config.g5k_configuration["api_additional_args"] == {}


def test_a_get_is_repeated_when_the_server_fails(api: RestServer, connected: APIConnection) -> None:
    api.fail_next(502)
    api.fail_next(503)
    api.drop_next()
    assert connected.get("/sites").json()["total"] == 3
    assert [line[2] for line in api.log] == [502, 503, 0, 200]


def test_a_get_is_repeated_when_the_answer_is_cut_off_or_no_json(api: RestServer, connected: APIConnection) -> None:
    api.truncate_next()
    api.garble_next()
    assert connected.get_json("/sites/lyon")["uid"] == "lyon"
    assert len(api.log) == 3


def test_after_four_attempts_it_is_an_error(api: RestServer, connected: APIConnection) -> None:
    api.fail_next(500, n=9)
    with pytest.raises(APIException, match='status=500/"Internal Server Error" content="Internal Server Error, as ordered"') as failure:
        connected.get("/sites")
    assert failure.value.status == 500
    assert len(api.log) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_asked_for_again(api: RestServer, connected: APIConnection, status: int) -> None:
    api.fail_next(status)
    with pytest.raises(APIException) as failure:
        connected.get("/sites")
    assert failure.value.response is not None
    assert failure.value.response.status_code == status
    assert len(api.log) == 1


@pytest.mark.parametrize("method", ["post", "put", "delete"])
@pytest.mark.parametrize("fault", ["fail", "drop", "truncate"])
def test_what_changes_something_is_sent_once(api: RestServer, connected: APIConnection, method: str, fault: str) -> None:
    if fault == "fail":
        api.fail_next(502)
    else:
        getattr(api, f"{fault}_next")()
    with contextlib.suppress(APIException):
        getattr(connected, method)("/sites/lyon/jobs", *([{"command": "date"}] if method != "delete" else []))
    assert [line[0] for line in api.log] == [method.upper()]


def test_what_the_server_says_is_in_the_exception(connected: APIConnection) -> None:
    with pytest.raises(APIException) as failure:
        connected.get("/sites/nowhere")
    error = failure.value
    assert (error.method, error.exception) == ("GET", None)
    assert repr(error) == f"APIException('{connected.base_uri}/sites/nowhere', 'GET')"
    assert str(error) == (f"<APIException uri='{connected.base_uri}/sites/nowhere' method=GET status=404/\"Not Found\""
                          ' content="Cannot find resource /sites/nowhere">')
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_nobody_listens() -> None:
    with socket.socket() as unused:         # bound, so that nobody else listens there, but not listening
        unused.bind(("127.0.0.1", 0))
        with APIConnection(f"http://127.0.0.1:{unused.getsockname()[1]}/3.0") as made:
            with pytest.raises(APIException, match="refused") as failure:
                made.get("/sites")
    assert failure.value.response is None


def test_a_server_that_hangs_is_given_up_after_the_timeout() -> None:
    with socket.socket() as silent:         # connections are accepted by the kernel, and nothing is ever said
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with APIConnection(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3) as made:
            with pytest.raises(APIException, match="timed out"):
                made.get("/")
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):        # it was asked once: what was waited for in vain is not waited for again
            silent.accept()


@pytest.mark.parametrize("uri", ["api.grid5000.fr/3.0", "ftp://api.grid5000.fr", "http://", ""])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="address of the API"):
        APIConnection(uri)


def test_a_timeout_that_is_none_is_refused(api: RestServer) -> None:
    with pytest.raises(ValueError, match="timeout of the API"):
        APIConnection(timeout=0)


# -- pages -----------------------------------------------------------------------------------------------------------------------------

class Shifting(ThreadingHTTPServer):
    """A collection of which items come and go between the pages."""

    def __init__(self, uids: list[int], cap: int) -> None:
        self.uids = uids
        self.cap = cap
        self.between: list[Callable[[list[int]], object]] = []
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _ShiftingHandler)


class _ShiftingHandler(BaseHTTPRequestHandler):
    server: Shifting

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        query = dict(re.findall(r"(\w+)=(\w+)", self.path))
        offset = 0 if "deaf" in self.path else int(query["offset"])
        shown = self.server.uids[offset:offset + min(int(query["limit"]), self.server.cap)]
        body = json.dumps({"total": len(self.server.uids), "offset": offset, "items": [{"uid": uid} for uid in shown]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.server.between:
            self.server.between.pop(0)(self.server.uids)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def shifting(uids: list[int], cap: int = 100) -> Iterator[tuple[Shifting, APIConnection]]:
    with Shifting(uids, cap) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with APIConnection(f"http://127.0.0.1:{server.server_port}") as made:
                yield server, made
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("total", [0, 1, 99, 100, 101, 300, 305])
def test_all_pages_are_read(total: int) -> None:
    with shifting(list(range(total, 0, -1))) as (_, made):
        assert [item["uid"] for item in made.get_items("/jobs")] == list(range(total, 0, -1))


def test_more_than_the_cap_of_the_api_are_read() -> None:
    with serve_reference({"lyon": [make_job(uid) for uid in range(1, 1203)]}) as api, APIConnection(api.uri) as made:
        assert [item["uid"] for item in made.get_items("/sites/lyon/jobs", user="jdoe")] == list(range(1202, 0, -1))
        assert made.get_items("/sites/lyon/jobs", user="nobody") == []


def test_new_items_that_shift_the_others_lose_none() -> None:
    with shifting(list(range(300, 0, -1))) as (server, made):
        server.between = [lambda uids: uids.__setitem__(slice(0, 0), [330, 320, 310])] * 2
        found = [item["uid"] for item in made.get_items("/jobs")]
    assert set(range(1, 301)) <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("gone", [5, 60, 95, 150, 300])
def test_items_that_vanish_between_the_pages_hide_no_others(gone: int) -> None:
    with shifting(list(range(300, 0, -1))) as (server, made):
        server.between = [lambda uids: uids.__delitem__(slice(0, gone))]
        found = {item["uid"] for item in made.get_items("/jobs")}
    assert set(range(1, 301 - gone)) <= found


def test_a_server_that_does_not_heed_the_offset_is_an_error() -> None:
    with shifting(list(range(300))) as (server, made):
        with pytest.raises(APIException, match="nothing new"):
            made.get_items("/jobs/deaf")
        assert len(server.asked) < 10


def test_what_is_no_collection_is_an_error(connected: APIConnection) -> None:
    with pytest.raises(APIException, match="expected a collection"):
        connected.get_items("/sites/lyon")


def test_an_unchanged_answer_is_not_sent_again(api: RestServer, connected: APIConnection) -> None:
    first = connected.get_json("/sites/lyon")
    first["uid"] = "changed by the caller"
    assert connected.get_json("/sites/lyon")["uid"] == "lyon"
    api.reference.sites["lyon"]["site"]["uid"] = "new"
    api.reference.touch("sites/lyon")
    assert connected.get_json("/sites/lyon")["uid"] == "new"
    assert [line[2] for line in api.log] == [200, 304, 200]


def test_arguments_of_a_query_are_written_as_the_api_reads_them(api: RestServer, connected: APIConnection) -> None:
    connected.get_json("/sites/lyon/status", disks=False, nodes=True, queues=["default", "admin"], network_address=None, x="a b&c")
    assert api.log[0][1] == "/3.0/sites/lyon/status?disks=no&nodes=yes&queues=default,admin&x=a%20b%26c"


# -- who asks --------------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def guarded() -> Iterator[RestServer]:
    """An API that wants a password."""
    with serve_reference(users={"jdoe": PASSWORD, "zoë": "pâss→"}) as server:
        config.g5k_configuration["api_uri"] = server.uri
        yield server


def test_without_a_password_the_api_refuses_and_says_so(guarded: RestServer) -> None:
    with pytest.raises(APIException, match=r"status=401.*api_username"):
        get_resource_attributes("/sites")


@pytest.mark.parametrize(("user", "password"), [("jdoe", PASSWORD), ("zoë", "pâss→")])
def test_a_given_password_is_sent(guarded: RestServer, user: str, password: str) -> None:
    with APIConnection(username=user, password=password) as made:
        assert made.get("/sites").status_code == 200


def test_a_password_in_the_address_is_sent_and_not_shown(guarded: RestServer) -> None:
    config.g5k_configuration["api_uri"] = guarded.uri.replace("://", f"://jdoe:{PASSWORD}@")
    assert get_resource_attributes("/sites")["total"] == 3
    with pytest.raises(APIException) as failure:
        get_resource_attributes("/nowhere")
    assert PASSWORD not in str(failure.value) + repr(failure.value)


def test_a_password_comes_from_netrc(guarded: RestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login jdoe password {PASSWORD}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    config.g5k_configuration["api_username"] = "jdoe"
    assert get_resource_attributes("/sites")["total"] == 3


def test_a_password_comes_from_the_keyring(guarded: RestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring, errors = types.ModuleType("keyring"), types.ModuleType("keyring.errors")       # the real one has none here, or the user's
    keyring.__dict__.update(errors=errors, get_password=lambda host, user: {("127.0.0.1", "jdoe"): PASSWORD}.get((host, user)))
    errors.__dict__.update(KeyringError=RuntimeError)
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    config.g5k_configuration["api_username"] = "jdoe"
    assert get_resource_attributes("/sites")["total"] == 3


def test_a_password_is_asked_once_and_again_after_it_was_refused(guarded: RestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = ["wrong", PASSWORD]
    monkeypatch.setattr(secrets, "_from_keyring", lambda host, user: None)
    monkeypatch.setattr(secrets, "_has_terminal", lambda: True)
    monkeypatch.setattr(secrets, "_typed", lambda host, user: (asked.append(f"{user}@{host}"), answers.pop(0))[1])
    config.g5k_configuration["api_username"] = "jdoe"
    with pytest.raises(APIException, match="status=401"):
        get_resource_attributes("/sites")
    for _ in range(3):
        get_resource_attributes("/sites")
    assert asked == ["jdoe@127.0.0.1"] * 2


def test_where_nobody_can_be_asked_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_from_keyring", lambda host, user: None)
    monkeypatch.setattr(secrets, "_has_terminal", lambda: False)
    with pytest.raises(ValueError, match=r"no password of 'jdoe' for 127.0.0.1"):
        APIConnection("http://127.0.0.1:1", username="jdoe")


def test_the_terminal_is_asked_for_a_password() -> None:
    # In a session and a terminal of its own, as a user sees it.
    import pty

    program = ("from execo_g5k._api.secrets import password_for\n"
               "password = password_for('jdoe', 'http://127.0.0.1')\nprint('got', len(password), repr(password))")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])
    shown = b""
    try:
        while b"Password of jdoe for 127.0.0.1: " not in shown:
            shown += os.read(terminal, 1000)
        os.write(terminal, PASSWORD.encode() + b"\n")
        with contextlib.suppress(OSError):      # its end
            while more := os.read(terminal, 1000):
                shown += more
    finally:
        os.close(terminal)
        status = os.waitpid(pid, 0)[1]
    assert status == 0
    assert f"got {len(PASSWORD)} '********'".encode() in shown
    assert PASSWORD.encode() not in shown


def test_a_password_is_nowhere_to_be_seen(guarded: RestServer, caplog: pytest.LogCaptureFixture) -> None:
    encoded = base64.b64encode(f"jdoe:{PASSWORD}".encode()).decode()
    seen: list[str] = []
    for name in ("", "execo", "urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        with APIConnection(username="jdoe", password=PASSWORD) as made:
            seen += [repr(made), str(made), str(vars(made)), json.dumps({"headers": made.headers})]
            guarded.fail_next(502)
            made.get("/sites")
            guarded.fail_next(401)
            guarded.drop_next(n=4, path="jobs")
            for path in ("/sites", "/sites/lyon/jobs", "/nowhere"):
                try:
                    made.get(path)
                except APIException as failure:
                    seen += [str(failure), repr(failure), str(vars(failure)), repr(failure.__cause__), repr(failure.exception)]
            command_line = subprocess.run(["ps", "-p", str(os.getpid()), "-o", "args="], capture_output=True, text=True).stdout
    finally:
        for name in ("", "urllib3", "requests"):
            logging.getLogger(name).setLevel(logging.WARNING if not name else logging.NOTSET)
        logger.setLevel("INFO")
    wrong = ["htps://me:{}@api.example.org", "https://me:{}@/3.0", "https://me:{}@api.example.org:no/3.0", "me:{}@api.example.org/3.0",
             "https://me:/{}@api.example.org", "https://me:7?{}@api.example.org", "https://me:{}\u2100@api.example.org"]
    for address in wrong:
        with pytest.raises(ValueError, match="address of the API") as refused:
            APIConnection(address.format(PASSWORD))
        seen += ["".join(traceback.format_exception(refused.type, refused.value, refused.tb)), repr(refused.value)]
        assert address.rpartition("@")[2] in str(refused.value)
    text = "\n".join([*seen, caplog.text, command_line])
    assert len(seen) > 15
    assert "jdoe" in text
    assert PASSWORD not in text
    assert encoded not in text


def test_a_password_in_the_address_may_have_any_character(guarded: RestServer) -> None:
    quoted = "jd%6Fe:" + PASSWORD.replace("-", "%2D")
    with APIConnection(guarded.uri.replace("://", f"://{quoted}@")) as made:
        assert made.get_json("/sites")["total"] == 3
    with APIConnection("https://j%40doe:p%40ss%2F%C3%A9%25@api.example.org/3.0/") as made:
        assert (made.base_uri, made.username, made.password) == ("https://api.example.org/3.0", "j@doe", "p@ss/é%")


def test_a_password_without_encryption_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    APIConnection("http://api.example.org", username="jdoe", password=PASSWORD).close()
    APIConnection("https://api.example.org", username="jdoe", password=PASSWORD).close()
    assert [record.getMessage() for record in caplog.records] == ["the password of jdoe goes to http://api.example.org without encryption"]


# -- certificates ----------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """One that nobody vouches for."""
    folder = tmp_path_factory.mktemp("tls")
    names = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", names[0], "-keyout", names[1]],
                   check=True, capture_output=True)
    return names


@pytest.mark.parametrize("who", [{}, {"username": "jdoe", "password": PASSWORD}], ids=["nobody", "jdoe"])
def test_a_certificate_that_nobody_vouches_for_is_refused_unless_that_is_wanted(certificate: tuple[str, str], who: dict[str, str]) -> None:
    with serve_reference(tls=certificate) as server:
        with APIConnection(server.uri, **who) as made, pytest.raises(APIException, match="CERTIFICATE_VERIFY_FAILED") as failure:
            made.get("/sites")
        assert server.log == []
        assert failure.value.response is None
        config.g5k_configuration["api_verify_ssl_cert"] = False
        with APIConnection(server.uri, **who) as made:
            assert made.get("/sites").json()["total"] == 3


def test_a_certificate_that_the_user_trusts_is_accepted(certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate[0])
    with serve_reference(tls=certificate) as server, APIConnection(server.uri) as made:
        assert made.get("/sites").json()["total"] == 3


