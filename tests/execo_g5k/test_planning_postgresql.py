"""Plannings from the database of a real OAR, which accepts what is asked for."""

from __future__ import annotations

import datetime
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from planning import AFTER_END, DAY
from requirements import require

from execo_g5k import config
from execo_g5k._api.reference import forget
from execo_g5k._charter import remaining
from execo_g5k._gridbox.oar_real import RealOar
from execo_g5k._gridbox.reference import make_reference
from execo_g5k._gridbox.rest import RestServer
from execo_g5k._gridbox.site import SiteSetup
from execo_g5k._oar import database
from execo_g5k._planning import source_postgresql
from execo_g5k._planning.source_postgresql import PostgresqlSource, job_of_resources
from execo_g5k._planning.state import SourceError
from execo_g5k.charter import g5k_charter_remaining
from execo_g5k.oar import OarSubmission, oarsub
from execo_g5k.planning import (
    compute_slots,
    distribute_hosts,
    find_free_slot,
    get_hosts_jobs,
    get_job_by_name,
    get_jobs_specs,
    get_planning,
    oarsubgrid_first_slot,
)

SITE = "nancy"
EVERYTHING = {"vlan": True, "subnet": True, "storage": True, "per": "core", "queues": None}


@pytest.fixture(scope="module")
def oar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOar]:
    require("oar")
    pytest.importorskip("psycopg")
    folder = tmp_path_factory.mktemp("site")
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "config").touch()
    (folder / "oar").mkdir()
    real = RealOar(SiteSetup(SITE, folder / "oar", make_reference().oar_rows(SITE), {}, key, folder / "config", time.time))
    try:
        real.start()
        yield real
    finally:
        real.stop()


@pytest.fixture
def api(oar: RealOar, tmp_path: Path) -> Iterator[RestServer]:
    """The REST API of the same OAR; all is configured, and jobs end with the test."""
    config.g5k_configuration.update(default_frontend=None, api_cache_dir=str(tmp_path), default_timeout=60, oar_pgsql_ro_db="oar2",
                                    oar_pgsql_ro_user="oarreader", oar_pgsql_ro_password="read", planning_source="postgresql")
    config.default_frontend_connection_params.update(
        user=oar.user, keyfile=str(oar.site._public_key).removesuffix(".pub"),
        ssh_options=("-tt", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o",
                     "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", f"ProxyCommand={oar.proxy_command[0]}"))
    forget()
    with RestServer(make_reference(), {SITE: oar}) as server:
        config.g5k_configuration["api_uri"] = server.uri
        yield server
    forget()
    oar.site.clear()


def submitted(*specs: OarSubmission) -> list[int]:
    jobs = [job_id for job_id, _ in oarsub([(spec, SITE) for spec in specs], abort_on_error=True)]
    return [job_id for job_id in jobs if job_id is not None]


def settled(oar: RealOar, jobs: list[int], running: int) -> None:
    """Wait until OAR has scheduled all of these jobs, and so many run."""
    deadline = time.monotonic() + 90
    ids = ", ".join(map(str, jobs))
    question = f"""
        SELECT (SELECT count(*) FROM jobs WHERE job_id IN ({ids}) AND state = 'Running'), count(DISTINCT m.moldable_job_id)
        FROM gantt_jobs_predictions_visu g JOIN moldable_job_descriptions m ON m.moldable_id = g.moldable_job_id
        WHERE m.moldable_job_id IN ({ids})"""
    while (found := oar.site.query(question).strip()) != f"{running}|{len(jobs)}":
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Between plannings."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from differences(one.get(key), other.get(key), f"{where}/{key}")
    elif one != other:
        yield f"{where}: {one} {other}"


def planned(source: Any = "postgresql", elements: Any = SITE, **options: Any) -> dict[str, Any]:
    planning = get_planning(elements, source=source, **options)
    assert planning is not None
    return planning


def test_a_planning_from_the_database_is_that_from_the_api(oar: RealOar, api: RestServer) -> None:
    now = int(time.time())
    later = now + 7200
    jobs = submitted(
        OarSubmission("{host = 'meurthe-1.nancy.grid5000.fr'}/host=1+{type = 'kavlan'}/vlan=1", 3600, "deploy"),
        OarSubmission("{host = 'meurthe-2.nancy.grid5000.fr'}/core=1", 1800),
        OarSubmission("{cluster = 'moselle'}/host=6", 1800, queue="production"),
        OarSubmission("slash_22=1+{host = 'meurthe-3.nancy.grid5000.fr'}/host=1", 600, reservation_date=later),
        OarSubmission("{type = 'disk' AND host = 'meurthe-4.nancy.grid5000.fr'}/disk=1", 600, "noop", reservation_date=later),
        OarSubmission("{cluster = 'meurthe'}/host=1", 900, "besteffort", queue="besteffort"),
        OarSubmission("{cluster = 'moselle'}/host=1", 300, queue="production"),         # it has to wait
    )
    settled(oar, jobs, 4)
    period = {"starttime": now, "endtime": now + DAY}
    for options in (EVERYTHING, {}, {"ignore_besteffort": False, "queues": None}):
        # OAR moves what it predicts, by seconds, between one question and the next.
        deadline = time.monotonic() + 60
        while (by_database := planned("postgresql", **period, **options)) != (by_api := planned("api", **period, **options)):
            assert time.monotonic() < deadline, list(differences(by_database, by_api))
            time.sleep(0.2)
    planning = planned(**period, **EVERYTHING)[SITE]
    hosts = planning["meurthe"]
    ((_, end),) = hosts["meurthe-1.nancy.grid5000.fr"]["busy"]
    assert now <= end - 3600 - AFTER_END <= now + 60
    assert [bool(core["busy"]) for core in hosts["meurthe-2.nancy.grid5000.fr"]["cores"].values()].count(True) == 1
    assert hosts["meurthe-3.nancy.grid5000.fr"]["busy"] == [(later, later + 600 + AFTER_END)]
    assert [name for name, element in planning["vlans"].items() if element["busy"]] != []
    assert sum(bool(element["busy"]) for element in planning["subnets"].values()) == 1
    assert [element["busy"] for name, element in planning["storage"].items() if "meurthe-4." in name and element["busy"]] == [
        [(later, later + 600 + AFTER_END)]]
    assert sum(len(element["busy"]) for element in planning["moselle"].values()) == 6       # those of the two jobs touch
    assert max(element["busy"][-1][1] for element in planning["moselle"].values()) > now + 2000
    free = [name for name, element in hosts.items() if not element["busy"]]
    assert len(free) == 12 - 3


def test_hosts_that_oar_does_not_give_are_not_in_the_database_either(oar: RealOar, api: RestServer) -> None:
    states = {"meurthe-1": "state = 'Dead'", "meurthe-2": "state = 'Suspected'", "meurthe-3": "state = 'Absent'",
              "meurthe-4": "state = 'Absent', available_upto = 2147483646", "meurthe-6": "maintenance = 'YES'"}
    before = oar.site.query("SELECT resource_id, state, available_upto, maintenance FROM resources WHERE host LIKE 'meurthe-%'").split()
    oar.site.query(";".join(f"UPDATE resources SET {change} WHERE host LIKE '{name}.%'" for name, change in states.items()))
    try:
        planning = planned(elements=["meurthe"])
    finally:
        rows = (line.split("|") for line in before)
        oar.site.query(";".join(f"UPDATE resources SET state = '{state}', available_upto = {upto}, maintenance = '{maintenance}' "
                                f"WHERE resource_id = {number}" for number, state, upto, maintenance in rows))
    assert [name.split(".")[0] for name in planning[SITE]["meurthe"]] == [f"meurthe-{number}" for number in (4, 7, 8, 10, 11, 12, 13, 14)]


def test_oar_accepts_what_is_asked_for_and_honours_exclusions(oar: RealOar, api: RestServer) -> None:
    cases: list[tuple[dict[str, Any], list[str], int]] = [
        ({"meurthe": 2}, ["meurthe-1", "meurthe-2", "meurthe-14"], 2),
        ({"nancy": 3}, ["meurthe-1", "meurthe-2.nancy.grid5000.fr", "meurthe-14"], 3),
        ({"nancy": 1, "meurthe": 1, "meurthe-14": 1}, ["meurthe-1"], 3),
        ({"moselle": 2}, ["moselle-1"], 2),
        ({"meurthe": 1, "kavlan": 1}, ["meurthe-14"], 1),       # that one is for the job that names it
    ]
    specs = []
    for wanted, excluded, _ in cases:
        ((spec, site),) = get_jobs_specs(wanted, excluded)
        assert site == SITE
        spec.walltime = 600
        specs.append(spec)
    jobs = submitted(*specs)
    settled(oar, jobs, len(cases))
    found = {item["uid"]: item for item in oar.jobs()}
    for job, (wanted, excluded, hosts) in zip(jobs, cases, strict=True):
        assert len(found[job]["assigned_nodes"]) == hosts, wanted
        assert not {name.split(".")[0] for name in found[job]["assigned_nodes"]} & {name.split(".")[0] for name in excluded}, wanted
        assert len(found[job]["resources_by_type"].get("vlans", ())) == ("kavlan" in wanted)


def the_first_common_slot_is_reserved(oar: RealOar) -> None:
    """While eleven hosts of a cluster have a job."""
    specs = [(OarSubmission("{cluster='meurthe'}/nodes=2+nodes=1"), SITE),
             (OarSubmission("{cluster='moselle'}/nodes=1", queue="production"), SITE)]
    jobs = oarsubgrid_first_slot(specs, walltime=600)
    assert len(jobs) == 2
    assert jobs.grid_id is not None
    starts = {item["started_at"] or item["scheduled_at"] for item in oar.jobs() if item["uid"] in dict(jobs)}
    assert len(starts) == 1
    assert starts.pop() > time.time() + 1100
    assert all(spec.reservation_date is None for spec, _ in specs)
    with pytest.raises(ValueError, match="walltime"):
        oarsubgrid_first_slot(specs)
    with pytest.raises(ValueError, match="date of its own"):
        oarsubgrid_first_slot([(OarSubmission("nodes=1", 60, reservation_date=1), SITE)])
    with pytest.raises(ValueError, match="elsewhere"):
        oarsubgrid_first_slot([(OarSubmission("nodes=1", 60), "elsewhere")])
    assert oarsubgrid_first_slot([(OarSubmission("{cluster='meurthe'}/nodes=13", 60), SITE)]) == []


def test_campaigns_from_the_planning_to_the_job(oar: RealOar, api: RestServer) -> None:
    blocking = submitted(OarSubmission("{cluster = 'meurthe'}/host=11", 1200))
    settled(oar, blocking, 1)
    wanted = {"meurthe": 3, "kavlan": 1}
    slots = compute_slots(planned(vlan=True), 600)
    start, _, resources = cast("Any", find_free_slot(slots, wanted))
    assert start > time.time() + 1100
    ((spec, _),) = get_jobs_specs(distribute_hosts(resources, wanted), name="three")
    spec.walltime, spec.reservation_date = 600, start
    (job,) = submitted(spec)
    assert get_job_by_name("three", [SITE]) == (job, SITE)
    assert get_job_by_name("four", SITE) == (None, None)
    jobs = get_hosts_jobs(["meurthe-7", "meurthe-8", "moselle-1"], 600)
    assert all(job_id for job_id, _ in oarsub(jobs, abort_on_error=True))
    the_first_common_slot_is_reserved(oar)


def test_a_database_that_refuses_is_said(oar: RealOar, api: RestServer) -> None:
    config.g5k_configuration["oar_pgsql_ro_password"] = "not this one"
    with pytest.raises(SourceError, match="password"):
        PostgresqlSource().state(SITE, cores=False)
    planning = get_planning(SITE, source="postgresql")
    assert planning == {}
    del config.g5k_configuration["planning_source"]
    fallen_back = get_planning(SITE)
    assert fallen_back is not None
    assert list(fallen_back) == [SITE]


def test_a_database_that_hangs_is_left_alone(oar: RealOar, api: RestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "READ_SECONDS", 0.5)
    monkeypatch.setattr(source_postgresql, "_COLUMNS_OF_SITE", "SELECT 'state' FROM pg_sleep(50) WHERE %s::text[] IS NOT NULL")
    monkeypatch.setattr(remaining, "_CORES", "SELECT 'meurthe-1', 1 FROM pg_sleep(50)")
    with pytest.raises(SourceError, match=r"no end after 0\.5 s"):
        PostgresqlSource().state(SITE, cores=False)
    with pytest.raises(OSError, match=rf"OAR's database of {SITE}: no end after 0\.5 s"):
        g5k_charter_remaining(SITE, datetime.date(2026, 11, 23), source="postgresql")


def test_a_job_has_what_its_resources_say() -> None:
    rows: list[dict[str, Any]] = [
        {"type": "default", "network_address": "a", "cpuset": "0"}, {"type": "default", "network_address": "a", "cpuset": "1"},
        {"type": "kavlan-global", "vlan": 13}, {"type": "disk", "disk": "disk1.a-1", "host": "a-1.lyon"}, {"type": "disk", "disk": None},
        {"type": "subnet", "subnet_address": "10.0.0.0", "subnet_prefix": 22}, {"type": "metroflux"}]
    job = job_of_resources(1, "default", 5, 60, rows, cores=True)
    assert (job.hosts, job.cores, job.vlans) == (("a",), ["a/0", "a/1"], ["13"])
    assert (job.disks, job.subnets) == (["disk1.a-1.lyon"], ["10.0.0.0/22"])
    assert job_of_resources(1, "default", 5, 60, rows, cores=False).cores == []
