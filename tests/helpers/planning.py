"""For the tests of plannings: a platform behind a REST server, of which the jobs are given, and naive models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from execo_g5k import config
from execo_g5k._api.reference import forget
from execo_g5k._gridbox.reference import Reference, make_reference
from execo_g5k._gridbox.rest import RestServer, serve_reference
from execo_g5k._gridbox.static import make_job

START = 1_790_000_000           # Monday 21 September 2026, 16:13:20 in Paris
DAY = 86400
END = START + 3 * DAY
AFTER_END = 121


def rows_of(reference: Reference, *names: str, cores: int | None = None) -> list[dict[str, Any]]:
    """Rows of hosts (``saone-1``), VLANs (``kavlan-4`` of ``lyon/kavlan-4``), subnets and disks; of hosts, some cores."""
    found = []
    for name in names:
        site, _, inside = name.rpartition("/")
        if site:
            vlan = inside.removeprefix("kavlan-")
            found += [row for row in reference.oar_rows(site) if vlan == row.get("vlan") or
                      inside in (f"{row.get('subnet_address')}/{row.get('subnet_prefix')}", row.get("disk"))]
            continue
        of_host = [row for site in reference.sites for row in reference.oar_rows(site)
                   if row["type"] == "default" and row["host"].split(".")[0] == name]
        found += of_host[:cores]
    assert found, names
    return found


@contextmanager
def served(jobs: Mapping[str, Iterable[Mapping[str, Any]]], folder: Path, reference: Reference | None = None,
           **options: Any) -> Iterator[RestServer]:
    """The platform with these jobs, configured."""
    forget()
    with serve_reference({site: [dict(job) for job in of_site] for site, of_site in jobs.items()}, reference=reference or make_reference(),
                         clock=lambda: START, **options) as api:
        config.g5k_configuration.update(api_uri=api.uri, api_cache_dir=str(folder), planning_source="api", clock=lambda: START)
        yield api
    forget()


def job(uid: int, rows: Iterable[Mapping[str, Any]], start: int, walltime: int = 3600, **more: Any) -> dict[str, Any]:
    """A job that runs from a date on, or waits for it."""
    running = start <= START
    dates = {"started_at": start, "scheduled_at": start} if running else {"scheduled_at": start}
    return make_job(uid, rows, **{"state": "running" if running else "waiting", "walltime": walltime, **dates, **more})


def host(busy: Iterable[tuple[float, float]], start: float = 0, end: float = 1000) -> dict[str, list[tuple[float, float]]]:
    """An element of a planning, of busy intervals that are sorted and disjoint."""
    free, at = [], start
    busy = list(busy)
    for first, last in busy:
        if first > at:
            free.append((at, first))
        at = last
    if at < end:
        free.append((at, end))
    return {"busy": busy, "free": free}
