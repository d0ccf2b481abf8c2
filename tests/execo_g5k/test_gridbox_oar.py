"""One and the same for a real OAR and for the box's own scheduler, as execo_g5k.oar sees them."""

from __future__ import annotations

import datetime
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import platforms
import pytest
import requests
from requirements import require

from execo import Host, Remote
from execo.localcluster import LocalCluster
from execo_g5k import (
    OarError,
    OarSubmission,
    default_frontend_connection_params,
    default_oarsh_oarcp_params,
    g5k_configuration,
    get_current_oar_jobs,
    get_oar_array_jobs,
    get_oar_grid_nodes,
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
from execo_g5k._gridbox.oar_real import RealOar, oarsite
from execo_g5k._gridbox.reference import make_reference
from execo_g5k._gridbox.rest import RestServer
from execo_g5k._gridbox.scheduler import OwnOar
from execo_g5k._gridbox.site import Refused, SiteSetup
from execo_g5k.api_utils import (
    APIException,
    api_change_job_walltime,
    api_delete_job,
    api_get_job,
    api_submit_job,
    api_wait_job,
)
from execo_g5k.charter import g5k_charter_remaining
from execo_g5k.planning import get_planning

Oar = RealOar | OwnOar
SITES = ("nancy", "rennes")
ONE = OarSubmission("nodes=1", "0:10:0")
FAR = 2_000_000_000
HOUR = 3600


class Grid(NamedTuple):
    """Two sites, and how to reach them."""

    kind: str
    oars: dict[str, Oar]
    hosts: dict[str, list[str]]
    """Of the default queue."""
    params: dict[str, Any]


@pytest.fixture(scope="session")
def nodes() -> Iterator[LocalCluster]:
    """For oarsh of the own scheduler."""
    require("sshd")
    with LocalCluster(2) as cluster:
        yield cluster


@pytest.fixture(scope="session", params=["real", "own"])
def running_grid(request: pytest.FixtureRequest, nodes: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    if request.param == "real":
        require("oar")
    folder = tmp_path_factory.mktemp("box")
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    reference = make_reference(2)
    oars: dict[str, Oar] = {}
    hosts = {}
    for site in SITES:
        own = folder / site
        own.mkdir()
        rows = reference.oar_rows(site)
        names = [row["host"] for row in rows
                 if row["type"] == "default" and row["production"] == row["exotic"] == row["maintenance"] == "NO"]
        hosts[site] = list(dict.fromkeys(names))
        assert nodes.directory is not None
        aliases = "".join(f"Host {name} {name.split('.')[0]}\n  HostName {host.address}\n"
                          for name, host in zip(hosts[site], nodes.hosts, strict=False))
        config = own.with_suffix(".ssh_config")
        config.write_text(aliases + (nodes.directory / "ssh_config").read_text())
        setup = SiteSetup(site, own, rows, dict.fromkeys(hosts[site], ""), key, config, time.time)
        oars[site] = (RealOar if request.param == "real" else OwnOar)(setup)
    starting = [threading.Thread(target=oar.start) for oar in oars.values()]
    try:
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()
        yield Grid(request.param, oars, hosts, frontends(folder, key, oars))
    finally:
        for oar in oars.values():
            oar.stop()


def frontends(folder: Path, key: Path, oars: dict[str, Oar]) -> dict[str, Any]:
    reach = folder / "reach"
    cases = "".join(f"{site}.*) exec {' '.join(oar.proxy_command)} ;;\n" for site, oar in oars.items())
    reach.write_text(f"#!/bin/sh\ncase $1 in\n{cases}*) exit 1 ;;\nesac\n")
    reach.chmod(0o755)
    options = ("-tt", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o",
               "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", f"ProxyCommand={reach} %h")
    return {"user": next(iter(oars.values())).user, "keyfile": str(key), "ssh_options": options}


@pytest.fixture
def grid(running_grid: Grid, tmp_path: Path) -> Iterator[Grid]:
    """The sites, configured; nancy is the default one."""
    g5k_configuration.update(default_frontend="nancy", polling_interval=0.5, tiny_polling_interval=0.3, default_timeout=60)
    default_frontend_connection_params.update(running_grid.params)
    yield running_grid
    deadline = time.monotonic() + 90
    for site, oar in running_grid.oars.items():
        while left := [job for job in oar.jobs() if job["state"] not in ("terminated", "error")]:
            assert time.monotonic() < deadline, f"jobs on {site} do not end: {left}"
            # OAR may miss the deletion of a job that it is launching
            settled = [str(job["uid"]) for job in left if job["state"] not in ("launching", "tolaunch", "finishing")]
            if settled:
                subprocess.run([oar.commands / "oardel", *settled], check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            time.sleep(0.2)


@pytest.fixture
def nancy(grid: Grid) -> Oar:
    return grid.oars["nancy"]


def item(oar: Oar, job_id: int | None) -> dict[str, Any]:
    return next(job for job in oar.jobs() if job["uid"] == job_id)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_it_says_what_it_is(grid: Grid) -> None:
    kinds = {oar.kind for oar in grid.oars.values()}
    assert kinds == {"OAR 2.5.9"} if grid.kind == "real" else kinds == {"the box's own scheduler, not OAR"}


def test_a_job_from_its_submission_to_its_end(grid: Grid, nancy: Oar) -> None:
    began = time.time()
    spec = OarSubmission("{cluster='meurthe'}/nodes=2", "0:10:0", job_type=["deploy", "allow_classic_ssh"], name='a "name"',
                         project="$HOME", sql_properties="core_count >= 4 AND NOT host IN ('x', 'y') AND host LIKE 'meurthe-%'")
    ((job, _),) = oarsub([(spec, "nancy")])
    assert job is not None
    assert wait_oar_job_start(job, "nancy", timeout=60)
    info = get_oar_job_info(job, "nancy")
    assert (info["state"], info["name"], info["walltime"]) == ("Running", 'a "name"', 600)
    assert began - 2 <= info["start_date"] <= time.time() + 2
    assert get_oar_job_nodes(job, "nancy") == [Host(name) for name in grid.hosts["nancy"][:2]]
    assert get_current_oar_jobs(["nancy", "rennes"]) == [(job, "nancy")]
    assert get_current_oar_jobs("nancy", start_between=(began - 2, None)) == [(job, "nancy")]
    assert get_current_oar_jobs("nancy", end_between=(None, began)) == []
    shown = item(nancy, job)
    assert [shown[name] for name in ("state", "walltime", "name", "project", "mode")] == ["running", 600, 'a "name"', "$HOME", "PASSIVE"]
    assert shown["assigned_nodes"] == grid.hosts["nancy"][:2]
    assert shown["resources_by_type"] == {"cores": [f"{host}/{core}" for host in grid.hosts["nancy"][:2] for core in range(4)]}
    assert {"deploy", "allow_classic_ssh", "origin=execo"} == set(shown["types"])
    oardel([(job, "nancy")])
    until(lambda: get_oar_job_info(job).get("state") == "Error")
    assert not wait_oar_job_start(job, "nancy")
    with pytest.raises(OarError, match="Error"):
        get_oar_job_nodes(job, "nancy")


def test_a_job_that_ends_by_itself(grid: Grid, nancy: Oar, tmp_path: Path) -> None:
    spec = OarSubmission("nodes=2", "0:10:0", command="echo $OAR_JOB_ID; sort -u $OAR_NODEFILE; exit 3", directory="/tmp")
    ((job, _),) = oarsub([(spec, None)])
    until(lambda: get_oar_job_info(job).get("state") == "Terminated")
    shown = item(nancy, job)
    assert (shown["exit_code"], shown["directory"]) == (3 << 8, "/tmp")
    assert shown["stopped_at"] >= shown["started_at"] > 0


REFUSED: list[tuple[str, dict[str, Any], str, int]] = [
    ("nodes=50", {}, "There are not enough resources for your request", 8),
    ("nodes=0", {}, "There are not enough resources for your request", 8),
    ("nodes=1", {"job_type": "nosuch"}, "unknown job type: nosuch", 254),
    ("nodes=1", {"queue": "nosuch"}, "The queue nosuch does not exist", 248),
    ("core=1", {"job_type": "deploy"}, "'core' resource is not allowed with a deploy job", 254),
    ("state=1", {}, "'state' resource is not allowed", 254),
    ("nodes=1", {"job_type": "besteffort", "reservation_date": FAR}, "besteffort and be a reservation", 254),
    ("nodes=1", {"sql_properties": "nosuch='x'"}, 'column "nosuch" does not exist', 8),
    ("nodes=1", {"sql_properties": "cluster='x' AND"}, 'syntax error at or near ")"', 8),
    ("nodes=1", {"sql_properties": "cluster=x"}, 'column "x" does not exist', 8),
    ("nodes=1", {"sql_properties": "core='x'"}, "invalid input syntax for type integer", 8),
    ("nodes=1", {"sql_properties": "cluster='moselle'"}, "There are not enough resources", 8),      # of production only
    ("nosuch=1", {}, 'column "nosuch" does not exist', 8),
    ("foo", {}, "Cannot recognize the resource description : foo", 255),
    ("{cluster='meurthe'", {}, "Cannot recognize the resource description : {cluster='meurthe'", 255),
    ("{}/nodes=1", {}, "Cannot recognize the resource description : {}", 255),
    ("nodes=2+{type='kavlan'}/vlan=1+", {}, "Cannot recognize -- +,walltime=0:1:0 -- resource", 255),
    ("{host NOT IN ('a')}/+nodes=2", {}, "Modification of non-creatable array value attempted", 255),
    ("nodes=1/core", {}, "Cannot recognize the resource description : core", 255),
    ("nodes=1,walltime=1", {}, "Cannot recognize -- ,walltime=1,walltime=0:1:0 -- resource", 255),
    ("nodes=best", {}, "Cannot recognize the resource description : nodes=best", 255),
    ("core=50/host=1", {}, "There are not enough resources for your request", 8),
    ("nodes=1", {"additional_options": "--nosuch"}, "Unknown option: nosuch", 1),
    ("nodes=1", {"additional_options": "--array 0"}, "exit code 6", 6),
]


def test_what_is_refused_is_said_in_the_same_words(grid: Grid, caplog: pytest.LogCaptureFixture) -> None:
    specs = [OarSubmission(resources, "0:1:0", **more) for resources, more, _, _ in REFUSED]
    # few at a time: there are two processors
    jobs = [job for first in range(0, len(specs), 4) for job, _ in oarsub([(spec, "nancy") for spec in specs[first:first + 4]])]
    assert jobs == [None] * len(REFUSED)
    for record, (resources, more, words, code) in zip(caplog.records, REFUSED, strict=True):
        assert words in record.getMessage(), (resources, more)
        assert f"exit code {code}" in record.getMessage(), (resources, more)
    assert get_current_oar_jobs(["nancy"]) == []


ACCEPTED = {
    "nodes=ALL": {"cores": 8}, "nodes=BEST": {"cores": 8}, "nodes=1+nodes=1": {"cores": 8}, "nodes=1,core=1": {"cores": 5},
    "/nodes=1/core=1": {"cores": 1}, "nodes=1/": {"cores": 4}, "{cluster='meurthe'}nodes=1": {"cores": 4}, "nodes = 1": {"cores": 4},
    "nodes=1++core=1": {"cores": 5}, "switch=1/host=2": {"cores": 8}, "cluster=1": {"cores": 8}, "nodes=1/cpu=1/core=1": {"cores": 1},
    "{(type='default' or type='disk')}/host=1": {"cores": 4, "disks": 2}, "{type='disk'}/host=1/disk=1": {"disks": 1},
    "slash_18=1": {"subnets": 16},
}
"""What is asked for, and how many of each kind come of it."""


def test_all_kinds_of_requests_are_accepted(grid: Grid, nancy: Oar) -> None:
    start = time.time() // 1 + HOUR
    # at dates of their own: none waits for another, and each is judged at once
    specs = [OarSubmission(resources, "0:10:0", reservation_date=start + HOUR * index) for index, resources in enumerate(ACCEPTED)]
    jobs = [job for first in range(0, len(specs), 4) for job, _ in oarsub([(spec, "nancy") for spec in specs[first:first + 4]])]
    assert None not in jobs
    counts = {item["uid"]: {kind: len(names) for kind, names in item["resources_by_type"].items()} for item in nancy.jobs()}
    found = dict(zip(ACCEPTED, [counts[job] for job in jobs], strict=True))
    assert found == ACCEPTED


def test_predictions_are_told_while_a_job_waits(grid: Grid) -> None:
    ((first, _),) = oarsub([(OarSubmission("nodes=2", "1:00:00"), None)])
    assert wait_oar_job_start(first, timeout=60)
    start = get_oar_job_info(first)["start_date"]
    ((second, _),) = oarsub([(ONE, None)])
    told: list[float] = []
    assert not wait_oar_job_start(second, timeout=5, prediction_callback=told.append)
    assert told
    assert start + HOUR <= told[-1] <= start + HOUR + 5
    oardel([(first, None)])
    assert wait_oar_job_start(second, timeout=60)


def test_a_small_job_passes_a_large_one_that_waits(grid: Grid) -> None:
    (running, _), = oarsub([(OarSubmission("nodes=1", "1:00:00"), None)])
    assert wait_oar_job_start(running, timeout=60)
    ((large, _),) = oarsub([(OarSubmission("nodes=2", "1:00:00"), None)])
    ((small, _),) = oarsub([(OarSubmission("nodes=1", "0:10:00"), None)])
    assert wait_oar_job_start(small, timeout=60)
    until(lambda: "scheduled_start" in get_oar_job_info(large))
    assert get_oar_job_info(large)["scheduled_start"] >= get_oar_job_info(running)["start_date"] + HOUR


def test_a_reservation_is_accepted_or_understood_to_be_refused(grid: Grid, caplog: pytest.LogCaptureFixture) -> None:
    start = time.time() // 1 + HOUR
    spec = OarSubmission("nodes=2", "1:00:00", reservation_date=start)
    ((job, _),) = oarsub([(spec, "nancy")])
    assert job is not None
    info = get_oar_job_info(job, "nancy")
    assert (info["start_date"], info["state"]) == (start, "Waiting")
    told: list[float] = []
    assert not wait_oar_job_start(job, "nancy", timeout=0.5, prediction_callback=told.append)
    assert told == [start]
    shown = item(grid.oars["nancy"], job)
    assert (shown["started_at"], shown["assigned_nodes"], shown["state"]) == (start, grid.hosts["nancy"], "waiting")
    assert oarsub([(spec, "nancy")]) == [(None, "nancy")]
    assert "Reservation not valid --> KO (This reservation could run at" in caplog.text
    assert oarsub([(OarSubmission("nodes=2", "1:00:00", reservation_date=start - 2 * 86400), "nancy")]) == [(None, "nancy")]
    assert "Reservation not valid --> KO (Reservation too old)" in caplog.text


def test_a_reservation_starts_at_its_date(grid: Grid) -> None:
    start = time.time() // 1 + 6
    ((job, _),) = oarsub([(OarSubmission("nodes=1", "0:10:0", reservation_date=start), None)])
    assert wait_oar_job_start(job, timeout=60)
    assert get_oar_job_info(job)["start_date"] >= start


def test_an_array_is_one_id_and_many_jobs(grid: Grid) -> None:
    ((first, _),) = oarsub([(OarSubmission("core=1", "0:10:0", additional_options="--array 3"), "nancy")])
    assert first is not None
    assert get_oar_array_jobs(first, "nancy") == [first, first + 1, first + 2]
    assert get_current_oar_jobs(["nancy"]) == [(first + i, "nancy") for i in range(3)]


def test_a_besteffort_job_gives_way(grid: Grid, nancy: Oar) -> None:
    ((guest, _),) = oarsub([(OarSubmission("nodes=2", "0:10:0", job_type="besteffort"), None)])
    assert wait_oar_job_start(guest, timeout=60)
    assert item(nancy, guest)["queue"] == "besteffort"
    ((job, _),) = oarsub([(ONE, None)])
    assert wait_oar_job_start(job, timeout=60)
    assert get_oar_job_info(guest)["state"] == "Error"
    assert "BESTEFFORT_KILL" in [event["type"] for event in item(nancy, guest)["events"]]


def test_vlans_and_subnets_of_a_job(grid: Grid, nancy: Oar) -> None:
    request = ["{type='kavlan'}/vlan=1", "slash_22=1", "nodes=1"]
    ((job, _),) = oarsub([(OarSubmission(request, "0:10:0", job_type="deploy"), None)])
    ((plain, _),) = oarsub([(ONE, None)])
    assert get_oar_job_kavlan(job) == [4]
    assert get_oar_job_kavlan(plain) == []
    addresses, about = get_oar_job_subnets(job)
    assert about == {"ip_prefix": "10.136.0.0/22", "broadcast": "10.139.255.255", "netmask": "255.252.0.0", "gateway": "10.139.255.254",
                     "network": "10.136.0.0", "dns_hostname": "dns.nancy.grid5000.fr", "dns_ip": "10.139.255.253"}
    assert len(addresses) == len(set(addresses)) == 4 * 254
    assert addresses[0] == ("10.136.0.1", "00:16:3E:88:00:01")
    assert get_oar_job_subnets(plain) == ([], {})
    assert get_oar_job_nodes(job) == [Host(grid.hosts["nancy"][0])]
    kinds = item(nancy, job)["resources_by_type"]
    assert (kinds["vlans"], kinds["subnets"], len(kinds["cores"])) == (["4"], ["10.136.0.0/22"], 4)


def test_a_job_that_ends_while_it_is_waited_for_ends_the_wait(grid: Grid) -> None:
    ((blocker, _),) = oarsub([(OarSubmission("nodes=2", "1:00:00"), None)])
    assert wait_oar_job_start(blocker, timeout=60)
    ((job, _),) = oarsub([(ONE, None)])
    seen = threading.Event()

    def delete() -> None:
        seen.wait(60)
        oardel([(job, None)])

    deleting = threading.Thread(target=delete)
    deleting.start()
    assert not wait_oar_job_start(job, timeout=60, prediction_callback=lambda date: seen.set())
    seen.set()
    deleting.join()
    assert get_oar_job_info(job)["state"] != "Running"


def test_jobs_that_it_does_not_know(grid: Grid, caplog: pytest.LogCaptureFixture) -> None:
    assert get_oar_job_info(424242) == {}
    assert not wait_oar_job_start(424242)
    assert "OAR on nancy knows no job 424242" in caplog.text
    oardel([(424242, None)])
    assert get_oar_array_jobs(424242) == []


def test_a_queue_of_its_own_has_its_own_nodes(grid: Grid) -> None:
    ((job, _),) = oarsub([(OarSubmission("nodes=1", "0:10:0", queue="production"), "nancy")])
    assert [node.address.partition("-")[0] for node in get_oar_job_nodes(job, "nancy")] == ["moselle"]


def test_several_sites_are_reserved_all_or_none(grid: Grid, caplog: pytest.LogCaptureFixture) -> None:
    start = time.time() // 1 + HOUR
    specs = [(OarSubmission("nodes=1"), "nancy"), (OarSubmission("nodes=1"), "rennes")]
    jobs = oarsubgrid(specs, start, "1:00:00")
    assert [frontend for _, frontend in jobs] == ["nancy", "rennes"]
    assert [get_oar_job_info(job, frontend)["start_date"] for job, frontend in jobs] == [start, start]
    assert oarsubgrid([specs[0], (OarSubmission("nodes=50"), "rennes")], start, "1:00:00") == []
    assert "There are not enough resources" in caplog.text
    until(lambda: get_current_oar_jobs(SITES) == list(jobs))
    assert jobs.grid_id is not None
    oardelgrid(jobs.grid_id)
    jobs = oarsubgrid(specs, walltime="0:10:0")
    assert jobs.grid_id is not None
    assert [node.address for node in get_oar_grid_nodes(jobs.grid_id)] == [grid.hosts["nancy"][0], grid.hosts["rennes"][0]]


def test_oarsh_reaches_the_nodes_of_a_job(grid: Grid, nancy: Oar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{nancy.commands}:{os.environ['PATH']}")
    ((job, _),) = oarsub([(OarSubmission("nodes=2", "0:10:0"), None)])
    found = get_oar_job_nodes(job)
    monkeypatch.setenv("OAR_JOB_ID", str(job))
    params = {**default_oarsh_oarcp_params, "pty": False}
    remote = Remote("echo at {{{host}}}; exit 3", found, params, process_args={"ignore_exit_code": True}).run(timeout=60)
    assert [(process.stdout.strip(), process.exit_code) for process in remote.processes] == [(f"at {node.address}", 3) for node in found]
    monkeypatch.delenv("OAR_JOB_ID")
    assert not Remote("true", found, default_oarsh_oarcp_params, process_args={"nolog_exit_code": True}).run(timeout=60).ok


# As the REST server asks it

@pytest.mark.parametrize(("fields", "words"), [
    ({"resources": "nodes=1"}, "you must give a :command to execute on launch"),
    ({"command": "true", "reservation": 12}, "`reservation` should be a String"),
    ({"command": "true", "reservation": "soon"}, "Syntax error in reservation start date"),
    ({"command": "true", "resources": "nodes=2", "reservation": "2020-01-01 00:00:00"}, "Reservation too old"),
])
def test_fields_that_make_no_job(grid: Grid, nancy: Oar, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        nancy.submit(fields, nancy.user)
    assert refused.value.status == 400


def test_its_resources_are_those_of_the_reference(grid: Grid, nancy: Oar) -> None:
    rows = nancy.resources()
    assert rows == make_reference(2).oar_rows("nancy")


# OAR's own REST API, as the REST server of the box hands it on

class Client(NamedTuple):
    """What asks it."""

    grid: Grid
    server: RestServer

    def __call__(self, path: str, method: str = "GET", user: str | None = None, **more: Any) -> requests.Response:
        headers = {} if user is None else {"X-Api-User-Cn": user}
        return requests.request(method, f"{self.server.uri}sites/nancy/internal/oarapi/{path}", headers=headers, timeout=90, **more)


@pytest.fixture
def ask(grid: Grid, tmp_path: Path) -> Iterator[Client]:
    with RestServer(make_reference(2, sites=SITES), grid.oars) as server, platforms.configured(server.uri, tmp_path / "cache"):
        g5k_configuration["api_timeout"] = 90
        yield Client(grid, server)


def test_oars_own_api_tells_the_resources(ask: Client) -> None:
    assert ask("whoami.json").json()["authenticated_user"] == ask.grid.oars["nancy"].user
    assert ask("version").json()["oar_version"].startswith("2.5.9")
    rows = {row["id"]: row for row in make_reference(2).oar_rows("nancy")}
    whole = ask("resources/details.json?limit=999999").json()
    assert (whole["total"], whole["offset"], [item["id"] for item in whole["items"]]) == (len(rows), 0, list(rows))
    for item in whole["items"]:
        assert {"rel": "self", "href": f"/oarapi/resources/{item['id']}"} in item["links"]
        # the number of a core on its node is a text in some answers of OAR, and a number in others
        assert {name: str(item[name]) for name in rows[item["id"]] if name != "resource_id"} == {
            name: str(value) for name, value in rows[item["id"]].items() if name != "resource_id"}
    part = ask("resources.json?limit=3&offset=2").json()
    assert (part["total"], [item["id"] for item in part["items"]]) == (len(rows), [3, 4, 5])
    assert set(part["items"][0]) == {"id", "state", "available_upto", "network_address", "links", "api_timestamp"}


def test_what_oars_own_api_refuses(ask: Client) -> None:
    cases: list[tuple[str, str, str | None, Any, int, str, str]] = [
        ("GET", "jobs/424242", None, None, 404, "Job not found", "Job not found"),
        ("GET", "jobs/1", "unknown", None, 401, "Permission denied", "A suitable authentication must be done before looking at jobs"),
        ("POST", "jobs", "anonymous", {"command": "date"}, 401, "Permission denied", "authentication must be done before posting jobs"),
        ("DELETE", "jobs/1", "unknown", None, 401, "Permission denied", "authentication must be done before deleting jobs"),
        ("POST", "jobs", None, {"resource": "/nodes=1"}, 400, "Missing Required Field", "A job must have a script"),
        ("POST", "jobs", None, {"resource": "/nodes=50", "command": "date"}, 400, "Bad query", "There are not enough resources"),
        ("POST", "jobs", None, {"type": "nosuch", "command": "date"}, 500, "Oar server error", "unknown job type: nosuch"),
        ("POST", "jobs/424242", None, {"method": "walltime-change", "walltime": "+1"}, 404, "Not found", "Could not find job 424242"),
        ("DELETE", "jobs/424242", None, None, 400, "Oardel error", "You are not the right user"),
        ("GET", "nosuch", None, None, 404, "Not found", "No way to handle your request /nosuch.json"),
        ("GET", "resources/424242", None, None, 404, "Resource not found", "Resource not found"),
    ]
    for method, path, user, sent, status, title, words in cases:
        answer = ask(path, method, user, **({} if sent is None else {"json": sent}))
        said = answer.json()
        assert (answer.status_code, said["code"], said["title"]) == (status, status, title), (path, said)
        assert words in said["message"]


def test_a_job_by_the_rest_api_and_by_oars_own(ask: Client) -> None:
    """As functions of execo_g5k submit, look at, change and delete it, OAR's own API tells of it."""
    oar, host = ask.grid.oars["nancy"], ask.grid.hosts["nancy"][0]
    name = 'cost $5 `date` \\$(date) "\\\\`date`" \\d \\\\'
    spec = OarSubmission("{cluster='meurthe'}/nodes=1", "0:10:0", name=name, project="$HOME", directory="/tmp",
                         command="echo $OAR_JOB_ID; sleep 600", job_type="deploy")
    job = api_submit_job(spec, "nancy")
    made = ask("jobs", "POST", json={"resource": "/nodes=2,walltime=00:10:00", "command": "date", "name": 'a "name";'})
    waiting = made.json()["id"]
    assert (made.status_code, made.headers["Location"]) == (201, f"/oarapi/jobs/{waiting}"), made.text
    assert f"OAR_JOB_ID={waiting}" in made.json()["cmd_output"]
    assert api_wait_job(job, "nancy", timeout=60)
    shown = api_get_job(job, "nancy")
    assert [shown[name] for name in ("name", "project", "walltime", "directory", "types", "user", "assigned_nodes")] == [
        name, "$HOME", 600, "/tmp", ["deploy", "origin=execo"], oar.user, [host]]
    assert get_current_oar_jobs(["nancy"]) == [(job, "nancy"), (waiting, "nancy")]

    short = ask("jobs.json").json()["items"]
    assert set(short[0]) == {"id", "state", "owner", "name", "queue", "submission", "links", "api_timestamp"}
    assert [(one["id"], one["state"], one["owner"], one["name"]) for one in short] == [
        (job, "Running", oar.user, name), (waiting, "Waiting", oar.user, 'a "name";')]
    long = ask(f"jobs/details.json?ids={job}&state=Running").json()["items"][0]
    assert [long[name] for name in ("id", "state", "walltime", "types", "type", "owner", "queue", "start_time")] == [
        job, "Running", 600, ["deploy", "origin=execo"], "PASSIVE", oar.user, "default", shown["started_at"]]
    assert [(node["network_address"], node["status"]) for node in long["nodes"]] == [(host, "assigned")]
    assert {(row["network_address"], row["status"]) for row in long["resources"]} == {(host, "assigned")}
    alone = ask(f"jobs/{job}.json").json()
    # in its list OAR leaves two fields empty
    same = set(alone) & set(long) - {"api_timestamp", "array_index", "resubmit_job_id"}
    assert len(same) > 20
    assert {name: alone[name] for name in same} == {name: long[name] for name in same}
    assert {name: alone["walltime-change"][name] for name in ("walltime", "possible", "force")} == {
        "walltime": "0:10:0", "possible": "UNLIMITED", "force": "FORBIDDEN"}

    free = get_planning(["meurthe"], source="api", out_of_chart=True)
    assert free is not None
    assert free["nancy"]["meurthe"][host]["busy"][0][1] >= shown["started_at"] + 600
    quotas = g5k_charter_remaining("nancy", datetime.date(2026, 3, 18), oar.user, source="api")
    assert quotas["nancy"]["meurthe"] == 8 * 7200

    deleted = ask(f"jobs/{waiting}.json", "DELETE")
    assert (deleted.status_code, deleted.json()["status"]) == (202, "Delete request registered")
    until(lambda: api_get_job(waiting, "nancy")["state"] == "error")        # or it would be in the way of more time
    change = api_change_job_walltime(job, "nancy", "+0:30:0")
    assert (change["possible"], change["force"]) == ("UNLIMITED", "FORBIDDEN")
    until(lambda: api_get_job(job, "nancy")["walltime"] == 2400)
    with pytest.raises(Refused, match="You are not the right user"):
        oar.delete(job, "somebody")
    assert api_delete_job(job, "nancy") is True
    until(lambda: api_get_job(job, "nancy")["state"] == "error")
    assert api_delete_job(job, "nancy") is False
    with pytest.raises(APIException, match="There are not enough resources") as refused:
        api_submit_job(OarSubmission("nodes=50"), "nancy")
    assert refused.value.status == 400


@pytest.fixture
def oarapi_is(ask: Client) -> Iterator[Callable[[str], None]]:
    """Make something else of the API of nancy, a script; only the real one is a program that can fail."""
    real = ask.grid.oars["nancy"]
    assert isinstance(real, RealOar)
    place = "/usr/lib/oar/oarapi.pl"

    def replace(script: str) -> None:
        done = real.site.run("sh", "-c", f'[ -e {place}.kept ] || mv {place} {place}.kept; printf "%s" "$0" >{place}; chmod 755 {place}',
                             script, root=True)
        assert done.returncode == 0, done.stderr

    yield replace
    assert real.site.run("mv", f"{place}.kept", place, root=True).returncode == 0


@pytest.mark.parametrize("running_grid", ["real"], indirect=True)
def test_an_own_api_of_oar_that_is_down_is_told(ask: Client, oarapi_is: Callable[[str], None], monkeypatch: pytest.MonkeyPatch,
                                            caplog: pytest.LogCaptureFixture) -> None:
    from execo_g5k._api import connection

    monkeypatch.setattr(connection, "PAUSES", (0.01,))
    oarapi_is("#!/bin/sh\necho 'cannot connect to the data base' >&2; exit 3\n")
    said = "OAR's API of nancy does not answer (exit code 3): cannot connect to the data base"
    assert (ask("jobs").status_code, ask("jobs").text) == (502, said)
    with pytest.raises(APIException, match=r"status=502.*cannot connect to the data base"):
        api_submit_job(ONE, "nancy")
    # what the API of Grid'5000 reads from the database is still there
    with pytest.raises(APIException, match="status=404"):
        api_get_job(424242, "nancy")
    found = get_planning(["nancy", "rennes"], source="api")
    assert found is not None
    assert list(found) == ["rennes"]
    assert "planning: site nancy is left out: " in caplog.text
    assert "cannot connect to the data base" in caplog.text
    oarapi_is("#!/bin/sh\necho 'Status: 200'; echo; echo '{\"items\": ['\n")
    assert (ask("jobs").status_code, "does not answer (exit code 0)" in ask("jobs").text) == (502, True)
    monkeypatch.setattr(oarsite, "API_SECONDS", 0.5)
    oarapi_is("#!/bin/sh\nexec sleep 60\n")
    assert (ask("jobs").status_code, ask("jobs").text) == (504, "OAR's API of nancy takes longer than 0.5 s")
