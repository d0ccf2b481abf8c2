"""Deployments through the REST API, served by a stand-in that behaves as the API of Grid'5000."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from execo_g5k import config
from execo_g5k._kadeploy.progress import Progress
from execo_g5k._kadeploy.request import follow, request_of
from execo_g5k.kadeploy import ApiDeployer, Deployment, deploy

A1, A2 = "saone-1.lyon.grid5000.fr", "saone-2.lyon.grid5000.fr"
B1 = "meurthe-1.nancy.grid5000.fr"
KEY = "ssh-ed25519 AAAA me@here"


class Api:
    """Deployments that take a number of questions, and end as `states` says."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        """{node: what becomes of it}; others are OK."""
        self.questions = 2
        self.refusal: tuple[int, str] | None = None
        self.stumbles = 0
        """So many questions are answered by 503."""
        self.status = "terminated"
        self.log: list[tuple[str, str]] = []
        self.requests: list[dict[str, Any]] = []
        self._items: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, int] = {}
        self._numbers = itertools.count(1)
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                api.log.append((self.command, self.path))
                status, value = api.answer(self.command, self.path, body)
                data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}/3.0/"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        name = path.rpartition("/")[2]
        if method == "POST":
            if self.refusal is not None:
                return self.refusal
            request = json.loads(body)
            self.requests.append({"path": path, **request})
            uid = f"D-{next(self._numbers)}"
            self._items[uid] = {"uid": uid, "status": "waiting", "nodes": request["nodes"], "environment": request["environment"]}
            return 201, self._items[uid]
        item = self._items[name]
        if method == "DELETE":
            item["status"] = "canceled"
            return 202, ""
        if self.stumbles:
            self.stumbles -= 1
            return 503, "Server Unavailable"
        self._asked[name] = self._asked.get(name, 0) + 1
        if item["status"] != "canceled":
            item["status"] = "processing" if self._asked[name] < self.questions else self.status
        if item["status"] == "processing":
            step = {"macro": "BroadcastEnvChain", "micro": "send_environment", "state": "IN_PROGRESS"}
            item["result"] = dict.fromkeys(item["nodes"], step)
        elif item["status"] == "terminated":
            item["result"] = {node: {"macro": None, "micro": None, "state": self.states.get(node, "OK")} for node in item["nodes"]
                              if self.states.get(node) != "missing"}
        return 200, item

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def api() -> Iterator[Api]:
    served = Api()
    config.g5k_configuration.update(api_uri=served.uri, tiny_polling_interval=0.05, default_frontend="lyon")
    yield served
    served.close()


def the(*hosts: str, **options: Any) -> Deployment:
    return Deployment(list(hosts), **{"env_name": "debian12-min", **options})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"env_name": "e"}, {"environment": "e"}),
        ({"env_name": "e", "user": "jdoe", "env_version": 3}, {"environment": "e@jdoe", "version": "3"}),
        ({"env_file": "https://x/e.yaml", "vlan": 5}, {"environment": "https://x/e.yaml", "vlan": "5"}),
        ({"env_name": "e", "other_options": "-r ext4 --disable-disk-partitioning --block-device=/dev/sdb"},
         {"environment": "e", "reformat_tmp": "ext4", "disable_disk_partitioning": True, "block_device": "/dev/sdb"}),
    ],
    ids=str,
)
def test_what_is_posted(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert request_of(Deployment([A1], **options), [A1], KEY) == {"nodes": [A1], "key": KEY, **expected}


@pytest.mark.parametrize(
    ("options", "text"),
    [({"env_file": "~/e.yaml"}, "the URL of a description, found '~/e.yaml'"), ({"other_options": "-V 4"}, "has no word for '-V'"),
     ({"other_options": "-b"}, "-b has no value"), ({"vlan": "x"}, "vlan")],
)
def test_what_the_api_has_no_word_for_is_refused(options: dict[str, Any], text: str) -> None:
    given = {"env_name": "e"} if "env_file" not in options else {}
    with pytest.raises(ValueError, match=text):
        request_of(Deployment([A1], **given, **options), [A1])


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"status": "terminated", "result": {A1: {"state": "KO", "macro": "BootNewEnv", "micro": "wait_reboot"}}},
         "BootNewEnv-wait_reboot: KO"),
        ({"status": "terminated", "result": {A1: {"state": "KO", "macro": None}}}, "the node ended as KO"),
        ({"status": "terminated"}, "the deployment has ended, but says nothing of the node"),
        ({"status": "terminated", "result": None}, "the deployment has ended, but says nothing of the node"),
        ({"status": "canceled", "result": {A1: {"state": "OK"}}}, "the deployment ended as canceled"),
        ({"status": "error", "output": "Kadeploy error\n #20", "result": {A1: {"macro": "X", "micro": "y", "state": "KO"}}},
         "the deployment ended as error, in X-y: Kadeploy error #20"),
    ],
)
def test_only_ok_of_a_terminated_deployment_is_deployed(item: dict[str, Any], reason: str) -> None:
    progress = Progress([A1])
    assert follow(progress, item, {A1: A1}, 1.0)
    assert progress.reasons == {A1: reason}


def test_two_sites_at_once_with_the_same_results_as_by_frontend(api: Api) -> None:
    api.states = {A2: "KO"}
    result = deploy(the(A1, A2, B1, vlan=4), check_deployed_command=False, through="api", num_tries=2)
    assert result == ({A1, B1}, {A2})
    assert result.failures == {A2: "BroadcastEnvChain-send_environment: KO"}
    assert sorted((request["path"], tuple(request["nodes"])) for request in api.requests) == [
        ("/3.0/sites/lyon/deployments", (A1, A2)), ("/3.0/sites/lyon/deployments", (A2,)), ("/3.0/sites/nancy/deployments", (B1,))]
    assert {request["vlan"] for request in api.requests} == {"4"}
    assert result.report.nodes[A2].tries == 2
    assert result.report.nodes[A1].phases["transfer"] > 0


def test_the_way_can_be_configured(api: Api) -> None:
    config.g5k_configuration["deploy_through"] = "api"
    assert deploy(the(A1), check_deployed_command=False) == ({A1}, set())


def test_names_are_made_whole_and_come_back_as_given(api: Api) -> None:
    run = ApiDeployer(the("saone-1", "meurthe-1.nancy")).run()
    assert run.ok
    assert run.deployed_hosts == {"saone-1", "meurthe-1.nancy"}
    assert {request["nodes"][0] for request in api.requests} == {A1, B1}
    with pytest.raises(ValueError, match="run a second time"):
        run.run()


def test_a_refusal_is_the_reason(api: Api) -> None:
    api.refusal = 400, "Cannot launch deployment: Invalid environment specification"
    run = ApiDeployer(the(A1, A2)).run()
    assert not run.ok
    assert run.failures == dict.fromkeys((A1, A2), "the API refuses (400): Cannot launch deployment: Invalid environment specification")


def test_an_api_that_is_away_for_a_while_is_asked_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execo_g5k._api.connection.PAUSES", (0.01,))
    api.stumbles = 3
    assert ApiDeployer(the(A1)).run().ok


def test_an_api_that_does_not_come_back_ends_the_deployment(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execo_g5k._api.connection.PAUSES", (0.01,))
    monkeypatch.setattr("execo_g5k._kadeploy.rest.SILENT_SECONDS", 1.0)
    api.stumbles, api.questions = 10**6, 1
    assert ApiDeployer(the(A1)).run().failures == {A1: "the API has not answered for 1s"}
    assert ("DELETE", "/3.0/sites/lyon/deployments/D-1") in api.log
    # It is the silence that counts, not how long the deployment takes.
    api.stumbles, api.questions = 0, 30
    assert ApiDeployer(the(A1)).run().ok


def test_an_api_that_does_not_answer_is_told() -> None:
    config.g5k_configuration.update(api_uri="http://127.0.0.1:1/3.0/", default_frontend="lyon")
    assert "127.0.0.1" in ApiDeployer(the(A1)).run().failures[A1]


def test_a_timeout_cancels(api: Api) -> None:
    api.questions = 10**6
    result = deploy(the(A1), check_deployed_command=False, through="api", deploy_timeout=1)
    assert (result.deployed, result.undeployed) == (set(), {A1})
    assert result.failures == {A1: "the deployment did not end within 1s"}
    assert ("DELETE", "/3.0/sites/lyon/deployments/D-1") in api.log


def test_one_that_another_cancels_ends(api: Api) -> None:
    api.status = "canceled"
    assert ApiDeployer(the(A1)).run().failures == {A1: "the deployment ended as canceled, in BroadcastEnvChain-send_environment"}


def test_a_kill_cancels(api: Api) -> None:
    api.questions = 10**6
    run = ApiDeployer(the(A1, B1))
    thread = threading.Thread(target=run.run)
    thread.start()
    deadline = time.monotonic() + 30
    while len(run.uids) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.kill()
    thread.join(30)
    assert not thread.is_alive()
    assert run.failures == dict.fromkeys((A1, B1), "it was cancelled")
    assert sum(method == "DELETE" for method, _ in api.log) == 2


def test_an_interruption_cancels(api: Api) -> None:
    api.questions = 10**6
    script = textwrap.dedent(f"""
        from execo_g5k.config import g5k_configuration
        from execo_g5k.kadeploy import Deployment, deploy
        g5k_configuration.update(api_uri={api.uri!r}, tiny_polling_interval=0.05)
        deploy(Deployment([{A1!r}], env_name="e"), check_deployed_command=False, through="api")
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, text=True)
    deadline = time.monotonic() + 60
    while sum(method == "GET" for method, _ in api.log) < 2:
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    assert ("DELETE", "/3.0/sites/lyon/deployments/D-1") in api.log


def test_a_host_of_no_known_site_is_refused() -> None:
    config.g5k_configuration["default_frontend"] = None
    with pytest.raises(ValueError, match=r"the site of 'node\.example\.org' is not known"):
        ApiDeployer(the("node.example.org"))


def test_the_key_that_may_log_in(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / "own.pub").write_text("ssh-rsa OWN")
    ApiDeployer(the(A1)).run()
    for name in ("id_rsa", "id_ed25519"):
        (tmp_path / ".ssh" / f"{name}.pub").write_text(f"ssh-{name}\n")
    ApiDeployer(the(A1)).run()
    ApiDeployer(the(A1), key=KEY).run()
    ApiDeployer(the(A1), key="~/own.pub").run()
    ApiDeployer(the(A1), connection_params={"keyfile": "~/own"}).run()
    assert [request.get("key") for request in api.requests] == [None, "ssh-id_ed25519\nssh-id_rsa", KEY, "ssh-rsa OWN", "ssh-rsa OWN"]
