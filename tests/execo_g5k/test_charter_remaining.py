"""What is left of a day's quota, from the REST API and from the database of a real OAR."""

from __future__ import annotations

import datetime
import getpass
import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from requirements import require

from execo_g5k import charter
from execo_g5k._charter.remaining import charter_user, job_of_api, jobs_of_rows
from execo_g5k._gridbox.reference import Reference, make_reference
from execo_g5k._gridbox.rest import serve_reference
from execo_g5k._gridbox.static import make_job
from execo_g5k.charter import CharterJob, g5k_charter_remaining, get_next_charter_period, oar_datetime_to_unixts
from execo_g5k.config import default_frontend_connection_params, g5k_configuration
from execo_g5k.gridbox import GridBox
from execo_g5k.oar import OarSubmission, oardel, oarsub, wait_oar_job_start

MONDAY = datetime.date(2026, 11, 23)
HOUR = 3600


def at(hour: int, day: int = 23) -> int:
    return int(oar_datetime_to_unixts(datetime.datetime(2026, 11, day, hour)))


def rows_of(reference: Reference, site: str, *hosts: str) -> list[dict[str, Any]]:
    return [row for row in reference.oar_rows(site) if row["host"].partition(".")[0] in hosts and row["type"] == "default"]


# From the API

@pytest.fixture
def _api(tmp_path: Any) -> None:
    g5k_configuration.update(planning_source="api", api_cache_dir=str(tmp_path / "cache"), api_username=None)


def job(uid: int, rows: Any, start: int, hours: float, **more: Any) -> dict[str, Any]:
    given = {"submitted_at": start - 7200, "started_at": start, "user": "jdoe", **more}
    return make_job(uid, rows, walltime=int(hours * HOUR), **given)


@pytest.mark.usefixtures("_api")
def test_the_api_tells_what_is_left_of_each_cluster_of_the_default_queue() -> None:
    reference = make_reference()
    saone = rows_of(reference, "lyon", "saone-1", "saone-2")
    whole = {cluster: 2 * HOUR * sum(row["cluster"] == cluster and row["type"] == "default" and row["state"] != "Dead"
                                     for row in reference.oar_rows("lyon")) for cluster in ("saone", "rhone")}
    jobs = [
        job(1, saone, at(10), 2),
        job(2, saone[:3], at(12), 1, state="terminated", stopped_at=at(12) + 60),       # counts as it was asked for
        job(3, saone[:1], at(18), 2, state="waiting", started_at=0, scheduled_at=at(18)),
        job(4, saone, at(10), 3, user="somebody"),
        job(5, saone, at(10), 3, queue="besteffort", types=["besteffort"]),
        job(6, saone, at(20), 3),                               # at night
        job(7, saone, at(10, 24), 3),                           # tomorrow
        job(8, saone, at(10), 1, submitted_at=at(10) - 60),     # short, at short notice
        job(9, saone, at(10), 5, state="waiting", started_at=0),        # nobody knows when
    ]
    with serve_reference({"lyon": jobs}, reference=reference) as api:
        g5k_configuration["api_uri"] = api.uri
        left = g5k_charter_remaining(["lyon", "rennes"], MONDAY, "jdoe")
        assert g5k_charter_remaining(["lyon", "rennes"], datetime.datetime(2026, 11, 23, 15), "jdoe") == left
        assert charter.charter_state("lyon", MONDAY, "jdoe").remaining(datetime.datetime(2026, 11, 23)) == left["lyon"]
        assert left["lyon"] == {"saone": whole["saone"] - (len(saone) * 2 + 3 * 1 + 2) * HOUR, "rhone": whole["rhone"]}
        assert set(left["rennes"]) == {"vilaine"}
        assert g5k_charter_remaining("lyon", datetime.date(2026, 11, 22), "jdoe")["lyon"] == whole
        with pytest.raises(ValueError, match="nowhere"):
            g5k_charter_remaining("nowhere", MONDAY)
        with pytest.raises(ValueError, match="'files'"):
            g5k_charter_remaining("lyon", MONDAY, source="files")  # type: ignore[arg-type]


@pytest.mark.usefixtures("_api")
def test_dead_nodes_are_no_part_of_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = make_reference()
    rows = reference.oar_rows("lyon")
    for row in rows:
        if row["host"].startswith("saone-1."):
            row["state"] = "Dead"
    monkeypatch.setattr(reference, "oar_rows", lambda site: rows)
    cores = sum(row["cluster"] == "saone" and row["type"] == "default" and row["state"] != "Dead" for row in rows)
    with serve_reference(reference=reference) as api:
        g5k_configuration["api_uri"] = api.uri
        assert g5k_charter_remaining("lyon", MONDAY, "jdoe")["lyon"]["saone"] == 2 * HOUR * cores


@pytest.mark.usefixtures("_api")
def test_a_site_without_clusters_has_nothing_left() -> None:
    with serve_reference(reference=make_reference(other_scheduler=True)) as api:
        g5k_configuration["api_uri"] = api.uri
        assert g5k_charter_remaining("bordeaux", MONDAY) == {"bordeaux": {}}


@pytest.mark.usefixtures("_api")
def test_more_jobs_than_the_server_gives_at_once_are_all_counted() -> None:
    reference = make_reference()
    core = rows_of(reference, "lyon", "saone-1")[:1]
    # The one that runs is the oldest of them.
    jobs = [job(1, core, at(9), 10)] + [job(uid, core, at(11), 1, state="terminated", stopped_at=at(12)) for uid in range(2, 1203)]
    with serve_reference({"lyon": jobs}, reference=reference) as api:
        g5k_configuration["api_uri"] = api.uri
        found = charter.charter_state("lyon", MONDAY, "jdoe").jobs
        assert len(found) == 1202
        assert charter.charter_use(found, MONDAY) == {"saone": (10 + 1201) * HOUR}


@pytest.mark.usefixtures("_api")
def test_years_of_old_jobs_are_not_read() -> None:
    old = [make_job(uid, state="terminated", user="jdoe", submitted_at=at(0) - 90 * 86400 + uid, started_at=at(0) - 90 * 86400,
                    stopped_at=at(0) - 80 * 86400) for uid in range(1, 2001)]
    with serve_reference({"lyon": old}) as api:
        g5k_configuration["api_uri"] = api.uri
        assert charter.charter_state("lyon", MONDAY, "jdoe").jobs == []
        assert len([path for _, path, _ in api.log if "/jobs" in path]) == 2


def test_the_user_is_that_of_the_configuration() -> None:
    assert charter_user() == getpass.getuser()
    default_frontend_connection_params["user"] = "jdoe-there"
    assert charter_user() == "jdoe-there"
    g5k_configuration["api_username"] = "jdoe"
    assert charter_user() == "jdoe"
    assert charter_user("other") == "other"


def test_a_job_of_only_disks_has_no_cores() -> None:
    found = job_of_api({"uid": 5, "started_at": 100, "walltime": 10, "submitted_at": 50, "types": ["noop"],
                        "resources_by_type": {"disks": ["disk1.gros-1.nancy.grid5000.fr"]}})
    assert found == CharterJob(100, 10, {}, 50, "default", ("noop",), "job 5")
    assert found is not None
    assert found.exempt


# From the database

def test_rows_of_the_database_are_put_together() -> None:
    rows = [(7, "default", 10, 100, 3600, "default", "gros-1.nancy.grid5000.fr", 18),
            (7, "default", 10, 100, 3600, "default", "gros-2.nancy.grid5000.fr", 18),
            (7, "default", 10, 100, 3600, "disk", "", 2),
            (8, "besteffort", 20, 200, 60, "default", "grisou-1.nancy.grid5000.fr", 1)]
    assert jobs_of_rows(rows, [(8, "besteffort"), (8, "deploy")]) == [
        CharterJob(100, 3600, {"gros": 36}, 10, "default", (), "job 7"),
        CharterJob(200, 60, {"grisou": 1}, 20, "besteffort", ("besteffort", "deploy"), "job 8")]


@pytest.mark.usefixtures("_api")
def test_the_api_is_asked_where_there_is_no_database(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    del g5k_configuration["planning_source"]

    def refuse(*arguments: Any) -> Any:
        raise OSError("connection refused\nand more")

    monkeypatch.setattr("execo_g5k._oar.database.G5kAutoPortForwarder", refuse)
    with serve_reference() as api:
        g5k_configuration["api_uri"] = api.uri
        assert g5k_charter_remaining("lyon", MONDAY, getpass.getuser())["lyon"]["saone"] > 0
        with pytest.raises(OSError, match="connection refused"):
            g5k_charter_remaining("lyon", MONDAY, source="postgresql")


@pytest.mark.usefixtures("_api")
def test_a_database_that_says_nothing_is_not_waited_for_longer_than_configured() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    del g5k_configuration["planning_source"]
    with serve_reference() as api, socket.create_server(("127.0.0.1", 0)) as silent:
        g5k_configuration.update(api_uri=api.uri, default_timeout=2, oar_pgsql_ro_port=silent.getsockname()[1],
                                 direct_hosts={"oardb.lyon.grid5000.fr": "127.0.0.1"})
        began = time.monotonic()
        assert g5k_charter_remaining("lyon", MONDAY, "jdoe")["lyon"]["saone"] > 0
        assert time.monotonic() - began < 9
        silent.settimeout(0)
        silent.accept()[0].close()          # it was asked


def test_with_a_psycopg_that_cannot_be_imported_the_api_is_asked(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    program = """
        import datetime, importlib.util
        from execo import logger
        from execo_g5k import g5k_configuration
        from execo_g5k._gridbox.rest import serve_reference
        from execo_g5k.charter import g5k_charter_remaining
        from execo_g5k.planning import get_planning

        assert importlib.util.find_spec("psycopg") is not None
        logger.setLevel("WARNING")
        with serve_reference() as api:
            g5k_configuration["api_uri"] = api.uri
            print(*g5k_charter_remaining("lyon", datetime.date(2026, 11, 23), "jdoe"), *get_planning("lyon"))
            try:
                get_planning("lyon", source="postgresql")
            except ImportError as error:
                print(error)
    """
    # No implementation is called so: it ends as without libpq.
    environment = {**os.environ, "PSYCOPG_IMPL": "none", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "lyon lyon\nthe databases of OAR need psycopg: pip install 'execo_g5k[postgresql]'\n", done.stderr


def test_a_real_database_says_what_the_api_says() -> None:
    require("oar")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with GridBox(oar="real", sites=["lyon"], nodes_per_cluster=2) as box:
        now = time.time()
        _, end = get_next_charter_period(now, now + 30 * 86400)
        assert end is not None
        start, _ = get_next_charter_period(end + 86400, now + 30 * 86400)       # the begin of a day, not the middle of one
        assert start is not None
        day = charter.unixts_to_oar_datetime(start).date()
        saone, noop = "{cluster='saone'}/nodes=2", "{cluster='saone'}/nodes=1"
        jobs = oarsub([(OarSubmission(saone, 2 * HOUR, reservation_date=start + HOUR), "lyon"),
                       (OarSubmission(noop, HOUR, job_type="deploy"), "lyon"),
                       (OarSubmission(noop, HOUR, job_type="besteffort", queue="besteffort"), "lyon")])
        assert all(job_id is not None for job_id, _ in jobs)
        assert wait_oar_job_start(jobs[1][0], "lyon", timeout=120)
        user = box.oars["lyon"].user
        by_api, by_database = (charter.charter_state("lyon", day, user, source) for source in ("api", "postgresql"))
        assert by_database.quotas == by_api.quotas
        assert by_database.jobs == by_api.jobs
        assert [(job.start_date, job.walltime, job.cores) for job in by_database.jobs] == [(start + HOUR, 2 * HOUR, {"saone": 16})]
        today = charter.unixts_to_oar_datetime(now).date()
        found, expected = (sorted(charter.charter_state("lyon", today, user, source).jobs, key=lambda job: job.name)
                           for source in ("postgresql", "api"))
        assert found == expected
        assert {job.types[0] for job in found} >= {"deploy"}
        assert g5k_charter_remaining("lyon", day, user, "postgresql")["lyon"]["saone"] == by_api.quotas["saone"] - 2 * HOUR * 16
        oardel(jobs)
