"""The REST server of the box answers as the API of Grid'5000 does, mistakes of clients included; faults come when they are ordered."""

from __future__ import annotations

import contextlib
import datetime
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from execo_g5k._gridbox.reference import Reference, make_reference
from execo_g5k._gridbox.rest import RestServer, serve_reference
from execo_g5k._gridbox.site import Refused
from execo_g5k._gridbox.static import StaticOar, make_job

NOW = 1_774_256_400


class Client:
    """Asks one server, by paths without the version."""

    def __init__(self, server: RestServer) -> None:
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False

    def __call__(self, path: str, method: str = "GET", **more: Any) -> requests.Response:
        return self.session.request(method, self.server.uri + path, timeout=20, **more)

    def json(self, path: str, **more: Any) -> Any:
        answer = self(path, **more)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()


@pytest.fixture
def reference() -> Reference:
    return make_reference(other_scheduler=True)


def rows_of(reference: Reference, host: str) -> list[dict[str, Any]]:
    return [row for row in reference.oar_rows(host.split(".")[1]) if row["network_address"] == host]


@pytest.fixture
def ask(reference: Reference) -> Iterator[Client]:
    """A platform with some jobs at lyon, of user jdoe."""
    one, two = (rows_of(reference, f"saone-{i}.lyon.grid5000.fr") for i in (1, 2))
    vlan = [row for row in reference.oar_rows("lyon") if row.get("vlan") == "4"]
    subnet = [row for row in reference.oar_rows("lyon") if row["type"] == "subnet"][:2]
    jobs = [
        make_job(11, one, state="terminated", submitted_at=NOW - 9000, started_at=NOW - 8000, stopped_at=NOW - 7000, exit_code=0),
        make_job(12, one + vlan, started_at=NOW - 60, name="first", types=["deploy"]),
        make_job(13, two[:2] + subnet, started_at=NOW - 30, user="other", queue="besteffort"),
        make_job(14, two, state="waiting", scheduled_at=NOW + 600, project="thesis"),
    ]
    with serve_reference({"lyon": jobs}, reference=reference, clock=lambda: NOW) as server:
        client = Client(server)
        with client.session:
            yield client


# Addresses, types, versions

@pytest.mark.parametrize("prefix", ["/3.0", "/stable", "/sid", "/4.0", ""])
def test_the_version_of_the_api_comes_back_in_links(ask: Client, prefix: str) -> None:
    base = ask.server.uri.removesuffix("/3.0/")
    site = ask.session.get(f"{base}{prefix}/sites/lyon.json", timeout=20).json()
    links = {link["rel"]: link["href"] for link in site["links"]}
    assert links["self"] == f"{prefix}/sites/lyon"
    assert links["parent"] == f"{prefix}/sites"
    assert ask.session.get(base + links["clusters"], timeout=20).json()["total"] == 2


def test_types_are_those_that_the_client_asks_for_or_json(ask: Client) -> None:
    own = "application/vnd.grid5000.{}+json"
    for accept, path, expected in [
        ("*/*", "sites", "application/json"), ("application/json", "sites", "application/json"),
        (own.format("item"), "sites", "application/json"),
        (own.format("collection"), "sites", own.format("collection")), (own.format("item"), "sites/lyon", own.format("item")),
    ]:
        assert ask(path, headers={"Accept": accept}).headers["Content-Type"] == f"{expected}; charset=utf-8"
    assert ask("sites?pretty=yes").text.startswith("{\n")


def test_each_path_has_a_version_that_changes_with_what_is_below(ask: Client, reference: Reference) -> None:
    paths = ["", "sites", "sites/lyon", "sites/lyon/clusters", "sites/lyon/clusters/saone", "sites/lyon/clusters/rhone", "sites/nancy"]
    before = {path: ask.json(path)["version"] for path in paths}
    assert len(set(before.values())) == len(paths)
    assert all(re.fullmatch("[0-9a-f]{40}", version) for version in before.values())
    reference.touch("sites/lyon/clusters/saone")
    changed = {path for path in paths if ask.json(path)["version"] != before[path]}
    assert changed == set(paths) - {"sites/lyon/clusters/rhone", "sites/nancy"}
    lyon, nancy = (parsedate_to_datetime(ask(f"sites/{site}").headers["Last-Modified"]) for site in ("lyon", "nancy"))
    assert lyon > nancy


def test_what_has_not_changed_is_304(ask: Client, reference: Reference) -> None:
    first = ask("sites/lyon")
    assert re.fullmatch(r'W/"\w+"', first.headers["ETag"])
    same = ask("sites/lyon", headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert ask("sites/lyon", headers={"If-Modified-Since": first.headers["Last-Modified"]}).status_code == 304
    reference.touch("sites/lyon")
    assert ask("sites/lyon", headers={"If-None-Match": first.headers["ETag"]}).status_code == 200
    version = ask.json("sites/lyon")["version"]
    assert ask(f"sites/lyon?version={version}").headers["Cache-Control"] == "max-age=2592000, public"
    assert "ETag" not in ask("sites/lyon/jobs").headers


def test_the_history_of_a_path(ask: Client) -> None:
    version = ask.json("sites/lyon/clusters/saone")["version"]
    (item,) = ask.json("sites/lyon/clusters/saone/versions")["items"]
    assert (item["uid"], item["type"]) == (version, "version")
    assert ask.json(f"sites/lyon/clusters/saone/versions/{version}")["uid"] == version
    latest = ask("sites/lyon/clusters/saone/versions/latest", allow_redirects=False)
    assert (latest.status_code, latest.headers["Location"]) == (307, f"/3.0/sites/lyon/clusters/saone/versions/{version}")
    assert ask("sites/lyon/versions/" + "0" * 40).status_code == 404


# The reference

def test_the_root(ask: Client) -> None:
    root = ask.json("")
    assert (root["uid"], root["type"], root["timestamp"]) == ("grid5000", "grid", NOW)
    assert {link["rel"] for link in root["links"]} == {
        "accesses", "network_equipments", "sites", "self", "parent", "version", "versions", "users"}


def test_which_clusters_are_shown_depends_on_the_queues_asked_for(ask: Client, reference: Reference) -> None:
    del reference.sites["rennes"]["clusters"]["vilaine"]["queues"]
    reference.sites["nancy"]["clusters"]["moselle"]["queues"] = ["production"]

    def shown(site: str, queues: str = "") -> list[str]:
        return [cluster["uid"] for cluster in ask.json(f"sites/{site}/clusters{queues}")["items"]]

    assert shown("nancy") == ["meurthe"]
    assert shown("nancy", "?queues=production") == ["moselle"]
    assert shown("nancy", "?queues=all") == ["meurthe", "moselle"]
    assert shown("rennes", "?queues=testing") == ["ille"]
    assert ask("sites/nancy/clusters/moselle").status_code == 404
    assert ask("sites/nancy/clusters/moselle?queues=all").status_code == 200
    assert ask.json("sites/rennes/clusters/vilaine")["queues"] == ["admin", "default"]


def test_nodes_come_in_the_order_of_file_names(ask: Client) -> None:
    nodes = ask.json("sites/nancy/clusters/meurthe/nodes")
    assert [node["uid"] for node in nodes["items"]][:5] == ["meurthe-1", "meurthe-10", "meurthe-11", "meurthe-12", "meurthe-13"]
    assert (nodes["total"], nodes["offset"]) == (12, 0)
    alone = ask.json("sites/nancy/clusters/meurthe/nodes/meurthe-11")
    assert alone == nodes["items"][2]


def test_deep_answers_have_whole_trees_without_links(ask: Client, reference: Reference) -> None:
    deep = ask.json("?deep=1")
    assert set(deep["items"]["sites"]) == {"bordeaux", "lyon", "nancy", "rennes"}
    lyon = deep["items"]["sites"]["lyon"]
    assert ask.json("sites/lyon?deep=1")["items"] == lyon
    assert ask.json("sites?deep=1")["items"] == deep["items"]["sites"]
    saone = lyon["clusters"]["saone"]
    assert [node["uid"] for node in saone["nodes"]] == [f"saone-{i}" for i in range(1, 9)]
    assert not {"links", "version"} & (set(lyon) | set(saone) | set(saone["nodes"][0]))
    assert isinstance(lyon["network_equipments"], list)
    assert "clusters" not in deep["items"]["sites"]["bordeaux"]
    assert ask.json("sites/lyon/clusters/saone/nodes?deep=1")["items"] == saone["nodes"]
    assert ask.json("sites/lyon/clusters/saone/nodes/saone-3?deep=1")["items"] == saone["nodes"][2]
    assert deep["version"] == reference.version("")


@pytest.mark.parametrize(("path", "text"), [
    ("sites/nowhere", "Cannot find resource /sites/nowhere"),
    ("sites/bordeaux/clusters", "Cannot find resource /sites/bordeaux/clusters"),
    ("sites/bordeaux/clusters?deep=1", "Cannot find resource /sites/bordeaux/clusters"),
    ("sites/lyon/clusters/saone/nodes/saone-99", "Cannot find resource /sites/lyon/clusters/saone/nodes/saone-99"),
    ("sites/lyon/clusters/saone/nodes/saone-1/architecture", "Cannot find resource /sites/lyon/clusters/saone/nodes/saone-1/architecture"),
    ("sites/lyon/uid?deep=1", "Cannot find resource /sites/lyon/uid"),
    ("sites/lyon/clusters/saone/uid?deep=1", "Cannot find resource /sites/lyon/clusters/saone/uid"),
    ("network_equipments/gw", "Cannot find resource /network_equipments/gw"),
    ("sites?branch=wip", "Branch 'origin/wip' cannot be found."),
    ("sites?version=abc", "Commit 'abc' cannot be found."),
    ("sites/lyon/jobs/99", "Couldn't find OAR::Job with 'job_id'=99"),
    ("sites/lyon/jobs/x", "Couldn't find OAR::Job with 'job_id'=x"),
    ("sites/lyon/vlans/77", "Vlan 77 does not exist"),
    ("sites/lyon/vlans/nodes/saone-77", "Unknown node 'saone-77'."),
    ("sites/bordeaux/jobs", "Cannot find resource /sites/bordeaux/jobs"),
    ("sites/lyon/metrics/power/timeseries", "Cannot find resource /sites/lyon/metrics/power/timeseries"),
])
def test_what_is_not_there_is_404_in_plain_text(ask: Client, path: str, text: str) -> None:
    answer = ask(path)
    assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (404, text, "text/plain; charset=utf-8")


def test_the_reference_is_not_written(ask: Client) -> None:
    assert ask("sites/lyon", "POST", json={}).status_code == 405


# Jobs

def test_jobs_are_newest_first_filtered_and_without_resources_unless_asked(ask: Client) -> None:
    def listed(query: str) -> list[int]:
        return [job["uid"] for job in ask.json(f"sites/lyon/jobs{query}")["items"]]

    assert listed("") == [14, 13, 12, 11]
    assert listed("?state=running,WAITING") == [14, 13, 12]
    assert listed("?state=tolaunch") == []
    assert listed("?user=other") == listed("?queue=besteffort") == [13]
    assert listed("?name=first") == listed("?job_id=12") == [12]
    assert listed("?project=thesis&limit=10") == [14]
    assert listed("?offset=1&limit=2") == [13, 12]
    assert ask.json("sites/lyon/jobs?offset=1&limit=2")["total"] == 4
    assert "assigned_nodes" not in ask.json("sites/lyon/jobs?resources=no")["items"][0]
    waiting, _, running, ended = ask.json("sites/lyon/jobs?resources=yes")["items"]
    assert (waiting["state"], waiting["started_at"], waiting["scheduled_at"]) == ("waiting", 0, NOW + 600)
    assert running["assigned_nodes"] == ["saone-1.lyon.grid5000.fr"]
    assert running["resources_by_type"] == {"cores": [f"saone-1.lyon.grid5000.fr/{i}" for i in range(8)], "vlans": ["4"]}
    assert not {"stopped_at", "scheduled_at"} & set(running)
    assert "name" not in waiting
    assert ended["stopped_at"] == NOW - 7000
    assert ask.json("sites/lyon/jobs/13")["resources_by_type"]["subnets"] == ["10.132.0.0/22", "10.132.4.0/22"]


def test_no_more_than_500_jobs_come_at_once(reference: Reference) -> None:
    jobs = [make_job(uid) for uid in range(1, 644)]
    with serve_reference({"nancy": jobs}, reference=reference) as server:
        answer = requests.get(f"{server.uri}sites/nancy/jobs?limit=1073741824", timeout=20).json()
        assert (answer["total"], len(answer["items"]), answer["items"][-1]["uid"]) == (643, 500, 144)
        assert len(requests.get(f"{server.uri}sites/nancy/jobs", timeout=20).json()["items"]) == 50
        rest = requests.get(f"{server.uri}sites/nancy/jobs?limit=500&offset=500", timeout=20).json()
        assert [job["uid"] for job in rest["items"]] == list(range(143, 0, -1))


def test_a_job_is_submitted_looked_at_and_deleted(ask: Client) -> None:
    sent = {"command": "sleep 10", "resources": "nodes=1", "types": ["deploy"], "name": "mine"}
    made = ask("sites/lyon/jobs", "POST", json=sent)
    job = made.json()
    assert (made.status_code, job["state"], job["name"], job["types"]) == (201, "waiting", "mine", ["deploy"])
    assert made.headers["Location"] == f"{ask.server.uri}sites/lyon/jobs/{job['uid']}"
    assert ask.session.get(made.headers["Location"], timeout=20).json() == job
    form = ask("sites/lyon/jobs", "POST", data={"command": "true", "types[]": ["day", "exotic"]})
    assert form.json()["types"] == ["day", "exotic"]
    deleted = ask(f"sites/lyon/jobs/{job['uid']}", "DELETE")
    assert (deleted.status_code, deleted.content, deleted.headers["Location"]) == (202, b"", made.headers["Location"])
    assert f"Deleting the job = {job['uid']} ...REGISTERED." in deleted.headers["X-Oar-Info"]
    assert ask.json(f"sites/lyon/jobs/{job['uid']}")["state"] == "error"
    again = ask(f"sites/lyon/jobs/{job['uid']}", "DELETE")
    assert (again.status_code, "This job was already killed" in again.text) == (400, True)
    assert "failed with status 400: " in again.text


@pytest.mark.parametrize(("sent", "text"), [
    ({"resources": "nodes=1"}, "you must give a :command to execute on launch"),
    ({"reservation": 1774256400}, "`reservation` should be a String."),
    ({"reservation": "tomorrow"}, "Syntax error in reservation start date"),
])
def test_a_job_that_is_not_valid_is_400(ask: Client, sent: dict[str, Any], text: str) -> None:
    answer = ask("sites/lyon/jobs", "POST", json=sent)
    assert answer.status_code == 400
    assert answer.text.startswith(f"The job you are trying to submit is not valid: {text}")


def test_who_may_not_write_gets_403(ask: Client) -> None:
    for user in ("", "unknown", "anonymous"):
        for method, path in (("POST", "sites/lyon/jobs"), ("DELETE", "sites/lyon/jobs/12"), ("POST", "sites/lyon/vlans/4/nodes")):
            answer = ask(path, method, json={"command": "true"}, headers={"X-Api-User-Cn": user})
            assert (answer.status_code, answer.text) == (403, "You are not authorized to access this resource"), (user, path)
    assert ask("sites/lyon/jobs/13", "DELETE").status_code == 403           # of somebody else
    assert ask.json("sites/lyon/jobs/13")["state"] == "running"


def test_the_walltime_of_a_running_job_is_changed(ask: Client) -> None:
    assert ask.json("sites/lyon/jobs/12/walltime")["walltime"] == "1:0:0"
    answer = ask("sites/lyon/jobs/12/walltime", "POST", json={"walltime": "+0:30:00"})
    assert (answer.status_code, ask.json("sites/lyon/jobs/12")["walltime"]) == (202, 5400)
    refused = {
        403: [("13", {"walltime": "+1:0:0"}, "Job 13 does not belong to you"), ("14", {"walltime": "+1:0:0"}, "Job 14 is not running"),
              ("12", {"walltime": "+1:0:0", "force": True}, "not allowed to be forced")],
    }
    for status, cases in refused.items():
        for job, sent, text in cases:
            answer = ask(f"sites/lyon/jobs/{job}/walltime", "POST", json=sent)
            assert (answer.status_code, text in answer.text) == (status, True)
    assert ask("sites/lyon/jobs/12/walltime", "POST", data={"walltime": "+1:0:0"}).status_code == 415


def test_what_oar_refuses_is_passed_on_with_its_status(reference: Reference) -> None:
    class Refusing(StaticOar):
        def submit(self, fields: Any, user: str) -> int:
            raise Refused(400, "There are not enough resources for your request")

    with RestServer(reference, {"lyon": Refusing(reference.oar_rows("lyon"))}) as server:
        answer = requests.post(f"{server.uri}sites/lyon/jobs", json={"command": "true"}, timeout=20)
    assert answer.status_code == 400
    assert re.fullmatch(r"Request to \S+ failed with status 400: There are not enough resources for your request", answer.text)


# Status, VLANs, metrics, OAR's own

def test_the_status_counts_cores(ask: Client) -> None:
    status = ask.json("sites/lyon/status")
    nodes = status["nodes"]
    first, second, third = (nodes[f"saone-{i}.lyon.grid5000.fr"] for i in (1, 2, 3))
    assert (first["hard"], first["soft"], first["free_slots"], first["busy_slots"]) == ("alive", "busy", 0, 8)
    assert (second["soft"], second["free_slots"], second["freeable_slots"], second["busy_slots"]) == ("free_busy_besteffort", 6, 2, 0)
    assert (third["soft"], third["free_slots"], third["reservations"]) == ("free", 8, [])
    assert [job["uid"] for job in second["reservations"]] == [13, 14] or [job["uid"] for job in second["reservations"]] == [14, 13]
    assert not {"events", "links", "resources_by_type", "assigned_nodes"} & set(first["reservations"][0])
    assert (status["vlans"]["4"]["soft"], status["vlans"]["4"]["type"], status["vlans"]["1"]["type"]) == ("busy", "kavlan", "kavlan-local")
    assert status["subnets"]["10.132.0.0/22"]["soft"] == "busy"
    assert status["uid"] == NOW


def test_the_status_is_cut_to_what_is_asked_for(ask: Client) -> None:
    assert set(ask.json("sites/lyon/status?disks=no&vlans=no&subnets=no")) == {"uid", "links", "nodes"}
    without_waiting = ask.json("sites/lyon/status?waiting=no")["nodes"]["saone-2.lyon.grid5000.fr"]["reservations"]
    assert [job["uid"] for job in without_waiting] == [13]
    assert "reservations" not in ask.json("sites/lyon/status?job_details=no")["nodes"]["saone-1.lyon.grid5000.fr"]
    assert "reservations" not in ask.json("sites/lyon/status", headers={"X-Api-User-Cn": "anonymous"})["nodes"]["saone-1.lyon.grid5000.fr"]
    one = ask.json("sites/lyon/status?network_address=saone-1.lyon.grid5000.fr")
    assert list(one["nodes"]) == ["saone-1.lyon.grid5000.fr"]
    cluster = ask.json("sites/nancy/clusters/meurthe/status")
    assert set(cluster) == {"uid", "links", "nodes", "disks"}
    assert len(cluster["disks"]) == 24
    assert cluster["disks"]["disk1.meurthe-1.nancy.grid5000.fr"]["diskpath"].startswith("/dev/disk/by-path/")


def test_nodes_that_are_not_alive(reference: Reference) -> None:
    oar = StaticOar(reference.oar_rows("lyon"))
    for row in oar.rows:
        if row.get("host") == "saone-1.lyon.grid5000.fr":
            row["state"] = "Dead"
        if row.get("host") == "saone-2.lyon.grid5000.fr":
            row.update(state="Absent", available_upto=2147483646)
    with RestServer(reference, {"lyon": oar}) as server:
        nodes = requests.get(f"{server.uri}sites/lyon/status", timeout=20).json()["nodes"]
    dead, asleep = nodes["saone-1.lyon.grid5000.fr"], nodes["saone-2.lyon.grid5000.fr"]
    assert (dead["hard"], dead["soft"], dead["free_slots"]) == ("dead", "unknown", 0)
    assert (asleep["hard"], asleep["soft"]) == ("standby", "free")


def test_vlans_of_a_site_are_its_own_and_the_global_ones_of_others(ask: Client) -> None:
    vlans = {vlan["uid"]: vlan["type"] for vlan in ask.json("sites/lyon/vlans")["items"]}
    assert vlans == {"DEFAULT": "NULL", **dict.fromkeys("123", "kavlan-local"), **dict.fromkeys("456789", "kavlan"),
                     "13": "kavlan-global", "14": "kavlan-global-remote", "16": "kavlan-global-remote"}


def test_interfaces_change_their_vlan(ask: Client) -> None:
    names = ["saone-1-eth1.lyon.grid5000.fr", "saone-2.lyon.grid5000.fr", "nobody"]
    first = ask("sites/lyon/vlans/4/nodes", "POST", json=names).json()
    assert {name: said["status"] for name, said in first.items()} == dict(zip(names, ["success", "success", "failure"], strict=True))
    again = ask("sites/lyon/vlans/4/nodes", "POST", json=names[:1]).json()
    assert again == {names[0]: {"status": "unchanged", "message": "Node already in vlan"}}
    assert ask.json(f"sites/lyon/vlans/nodes/{names[0]}")["vlan"] == "4"
    assert [node["uid"] for node in ask.json("sites/lyon/vlans/4/nodes")["items"]] == names[:2]
    asked = ask("sites/lyon/vlans/nodes", "POST", json=names).json()
    assert {node["uid"]: node["vlan"] for node in asked["items"]} == dict.fromkeys(names[:2], "4")
    assert ask("sites/lyon/vlans/DEFAULT/nodes", "POST", json=names[:2]).json()[names[0]]["status"] == "success"
    assert ask.json("sites/lyon/vlans/4/nodes")["total"] == 0


def test_wrong_changes_of_vlans(ask: Client) -> None:
    assert ask("sites/lyon/vlans/4/nodes", "POST", data={"nodes": "x"}).status_code == 415
    assert ask("sites/lyon/vlans/4/nodes", "POST", json=[]).status_code == 422
    assert ask("sites/lyon/vlans/nodes", "POST", json={"nodes": ["x"]}).text == "Missing node list"
    assert ask("sites/lyon/vlans/4", "POST", json={"nodes": ["saone-1.lyon.grid5000.fr"]}).status_code == 404       # as it was years ago
    assert ask("sites/lyon/vlans/4/dhcpd", "POST", json={"action": "stop"}).status_code == 405
    assert ask("sites/lyon/vlans/4/dhcpd", "PUT", json={"action": "stop"}).status_code == 204
    assert ask("sites/lyon/vlans/4/dhcpd", "PUT", json={}).status_code == 422


def test_with_rights_only_holders_of_vlan_and_node_change_it(reference: Reference) -> None:
    rows = rows_of(reference, "saone-1.lyon.grid5000.fr") + [row for row in reference.oar_rows("lyon") if row.get("vlan") == "4"]
    with serve_reference({"lyon": [make_job(1, rows)]}, reference=reference, vlan_rights=True) as server:
        def status(vlan: str, name: str, user: str = "jdoe") -> int:
            return requests.post(f"{server.uri}sites/lyon/vlans/{vlan}/nodes", json=[name], headers={"X-Api-User-Cn": user},
                                 timeout=20).status_code

        assert status("4", "saone-1-eth1.lyon.grid5000.fr") == 200
        assert status("DEFAULT", "saone-1.lyon.grid5000.fr") == 200
        assert status("5", "saone-1.lyon.grid5000.fr") == 403
        assert status("4", "saone-2.lyon.grid5000.fr") == 403
        assert status("4", "saone-1.lyon.grid5000.fr", "other") == 403
        users = requests.get(f"{server.uri}sites/lyon/vlans/4/users/jdoe", timeout=20).json()
        assert users["status"] == "authorized"
        assert requests.get(f"{server.uri}sites/lyon/vlans/users/jdoe", timeout=20).json()["vlans"] == ["4"]


def test_metrics_are_a_list_always_the_same(ask: Client) -> None:
    query = f"sites/lyon/metrics?nodes=saone-1,saone-2&metrics=wattmetre_power_watt&start_time={NOW - 10}&end_time={NOW}"
    values = ask.json(query)
    assert values == ask.json(query)
    assert len(values) == 22
    assert set(values[0]) == {"timestamp", "device_id", "metric_id", "value", "labels"}
    dates = [datetime.datetime.fromisoformat(value["timestamp"]) for value in values]
    assert dates == sorted(dates)
    assert (dates[0].timestamp(), dates[-1].timestamp()) == (NOW - 10, NOW)
    iso = ask.json(f"sites/lyon/metrics?job_id=12&metrics=wattmetre_power_watt&start_time={dates[0].isoformat()}".replace("+", "%2B"))
    assert iso == [value for value in values if value["device_id"] == "saone-1"]
    assert {value["metric_id"] for value in ask.json("sites/lyon/metrics?nodes=saone-1")} == {"wattmetre_power_watt", "bmc_node_power_watt"}
    assert {value["metric_id"] for value in ask.json("sites/lyon/metrics?nodes=saone-1&metrics=prom_node_load1")} == {"prom_node_load1"}
    assert ask.json("sites/nancy/metrics?nodes=meurthe-1&metrics=wattmetre_power_watt") == []
    assert ask("sites/lyon/metrics?nodes=saone-1&start_time=soon").status_code == 400
    assert len(ask.json(f"sites/lyon/metrics?nodes=saone-1&start_time=0&end_time={NOW}")) == 10_000
    assert len(ask.json(f"sites/lyon/metrics?nodes=saone-1&metrics=bmc_node_power_watt&start_time={NOW - 3600}")) == 61     # of 5 minutes


def test_resources_of_oar_are_cut_at_500_unless_a_limit_says_more(ask: Client, reference: Reference) -> None:
    oar = StaticOar(reference.oar_rows("lyon") * 5)
    with RestServer(reference, {"lyon": oar}) as server:
        address = f"{server.uri}sites/lyon/internal/oarapi/resources/details.json"
        cut, whole = (requests.get(address + query, timeout=20).json() for query in ("", "?limit=999999"))
    assert (cut["total"], len(cut["items"]), len(whole["items"])) == (610, 500, 610)
    assert {"id", "type", "state", "network_address", "host", "cluster", "core", "cpuset", "links"} <= set(whole["items"][0])


def test_an_extension_answers_a_service_of_a_site(ask: Client) -> None:
    from execo_g5k._gridbox.http import Answer

    assert ask("sites/lyon/deployments").status_code == 404
    ask.server.extensions["deployments"] = lambda request, site: Answer({"site": site, "path": list(request.path), "user": request.user})
    assert ask.json("sites/lyon/deployments/D-1") == {"site": "lyon", "path": ["sites", "lyon", "deployments", "D-1"], "user": "jdoe"}


# Who asks, and faults

def test_without_the_right_password_nothing_is_answered(reference: Reference) -> None:
    with serve_reference({"lyon": []}, reference=reference, users={"jdoe": "secret"}) as server:
        for auth in (None, ("jdoe", "wrong"), ("other", "secret")):
            answer = requests.get(f"{server.uri}sites", auth=auth, timeout=20)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="Grid\'5000 API"')
        assert requests.get(f"{server.uri}sites", auth=("jdoe", "secret"), timeout=20).status_code == 200
        made = requests.post(f"{server.uri}sites/lyon/jobs", json={"command": "true"}, auth=("jdoe", "secret"), timeout=20)
        assert made.json()["user"] == "jdoe"


def test_faults_are_for_as_many_requests_as_ordered(ask: Client) -> None:
    ask.server.fail_next(502, 2, path="jobs")
    assert [ask(path).status_code for path in ("sites", "sites/lyon/jobs", "sites/lyon/jobs", "sites/lyon/jobs")] == [200, 502, 502, 200]
    ask.server.drop_next()
    with pytest.raises(requests.ConnectionError):
        ask("sites")
    ask.server.truncate_next()
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        ask("sites")
    ask.server.garble_next()
    with pytest.raises(requests.JSONDecodeError):
        ask("sites").json()
    assert ask("sites").status_code == 200
    assert [status for _, path, status in ask.server.log if path == "/3.0/sites"] == [200, 0, 200, 200, 200]


def test_a_slow_server_holds_up_nobody_else(ask: Client) -> None:
    ask.server.delay = 0.5
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: requests.get(f"{ask.server.uri}sites", timeout=20), range(8))} == {200}
    assert time.monotonic() - began < 3          # one after the other they would take 4 s


def test_over_https_with_a_certificate_of_its_own(reference: Reference, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
                   check=True, capture_output=True)
    with serve_reference(reference=reference, tls=(str(certificate), str(key))) as server:
        with socket.create_connection(("127.0.0.1", server.port)):          # says nothing
            assert requests.get(f"{server.uri}sites", verify=str(certificate), timeout=20).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{server.uri}sites", timeout=20)


def test_it_ends_although_clients_keep_their_connections(reference: Reference) -> None:
    before = set(threading.enumerate())
    with serve_reference(reference=reference) as server, requests.Session() as session:
        session.get(f"{server.uri}sites", timeout=20)
        idle = socket.create_connection(("127.0.0.1", server.port))
        uri = server.uri
    assert set(threading.enumerate()) == before
    with idle, contextlib.suppress(ConnectionResetError):       # if it was not even accepted
        assert idle.recv(1) == b""
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{uri}sites", timeout=20)


def test_jobs_on_a_site_that_is_not_there(reference: Reference) -> None:
    with pytest.raises(ValueError, match="unknown sites: paris"), serve_reference({"paris": []}, reference=reference):
        pass
