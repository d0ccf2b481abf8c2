"""The commands about own jobs: reserve, jobs, del."""

from __future__ import annotations

import sys

from execo.time_utils import format_duration

from .._oar import registry
from .._oar.frontends import failure_of, place, run_on_frontends, seconds_of
from .._oar.grid import delete_grids
from .._oar.jobs import ENDED, delete, look_at
from .._oar.parse import parse_jobs
from .._testbed.plan import slots
from ..oar import get_oar_grids
from ..testbed import G5kTestbed
from . import show
from .words import job_of, resources_of, sites_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable
    from typing import Any


def reserve(args: argparse.Namespace) -> int:
    if args.queue == "all":
        raise ValueError("a job is in one queue: expected its name, found 'all'")
    testbed = G5kTestbed(resources_of(args.resources), args.walltime, where=args.where, only="nights" if args.nights else "any",
                         charter=not args.no_charter, job_type=args.type, queue=args.queue, name=args.name, excluded=args.exclude)
    if args.dry_run:
        return _show_slot(args, testbed)
    testbed.reserve()
    jobs = testbed.jobs
    if args.wait:
        try:
            while not testbed.wait(60):
                pass
        except BaseException:
            testbed.release()
            raise
    nodes = [host.address for host in testbed.hosts]
    # What is reserved stays when this program ends: only its thread goes.
    testbed.leave()
    if args.json:
        show.print_json({"grid": jobs.grid_id, "jobs": [{"id": job_id, "site": place(site)} for job_id, site in jobs],
                         "start_date": testbed.start_date, "walltime": testbed.walltime, "hosts": nodes})
    else:
        print(f"grid {jobs.grid_id}: {' '.join(f'{job_id}@{place(site)}' for job_id, site in jobs)},"
              f" {show.date(testbed.start_date)} for {format_duration(testbed.walltime)}")
        if nodes:
            print("\n".join(nodes))
    return 0


def _show_slot(args: argparse.Namespace, testbed: G5kTestbed) -> int:
    slot = next(slots(testbed.wanted), None)
    if slot is None:
        print("there is no such slot in the next four weeks", file=sys.stderr)
        return 1
    names = [host.name for host in slot.hosts]
    if args.json:
        show.print_json({"start_date": slot.start_date, "walltime": testbed.walltime, "hosts": names})
    else:
        print(f"{show.date(slot.start_date)} for {format_duration(testbed.walltime)}:")
        print("\n".join(names))
    return 0


def jobs(args: argparse.Namespace) -> int:
    """1 if a site does not answer."""
    sites = sites_of(args.sites)
    grid_of = {job: grid for grid, noted in _noted(get_oar_grids(), "jobs").items() for job in noted.jobs}
    processes = run_on_frontends([("oarstat -u -f -J", site) for site in sites], None, seconds_of(False))
    rows: list[dict[str, Any]] = []
    silent = False
    for site, process in zip(sites, processes, strict=True):
        if reason := failure_of(process):
            print(f"execo_g5k jobs: {site}: {reason}", file=sys.stderr)
            silent = True
            continue
        for job in parse_jobs(process.stdout):
            if job.job_id is not None and job.state not in ("Terminated", "Error"):
                rows.append({"id": job.job_id, "site": site, "grid": grid_of.get((job.job_id, site)), "state": job.state, "name": job.name,
                             "start_date": job.start_date if job.start_date is not None else job.scheduled_start, "walltime": job.walltime})
    if args.json:
        show.print_json(rows)
    elif rows:
        print(show.table(["job", "grid", "state", "start", "walltime", "name"], [
            [f"{row['id']}@{row['site']}", row["grid"], row["state"], show.date(row["start_date"]), _length(row["walltime"]),
             row["name"] or None] for row in rows]))
    return 1 if silent else 0


def _noted(grids: Iterable[int], command: str) -> dict[int, registry.Grid]:
    """Those that can be read: one may be damaged, or be deleted by another program meanwhile."""
    found = {}
    for grid in grids:
        try:
            found[grid] = registry.get(grid)
        except ValueError as unreadable:
            print(f"execo_g5k {command}: {unreadable}", file=sys.stderr)
    return found


def _length(seconds: float | None) -> str | None:
    return None if seconds is None else format_duration(seconds)


def delete_jobs(args: argparse.Namespace) -> int:
    """1 if one is not deleted."""
    wanted = [job_of(word) for word in args.jobs]
    if not wanted and not args.grid and not args.all_grids:
        raise ValueError("nothing to delete: name jobs (ID@SITE), --grid ID, or --all-grids")
    sites_of(sorted({site for _, site in wanted}))
    before = get_oar_grids()
    unknown = set(args.grid) - set(before)
    if unknown:
        raise ValueError(f"no grid reservation {', '.join(map(str, sorted(unknown)))}; there are {before or 'none'}")
    asked = before if args.all_grids else sorted(set(args.grid))
    grids = _noted(asked, "del")
    delete_grids(grids, None, seconds_of(False))
    there = get_oar_grids()
    left = [f"grid {grid}" for grid in asked if grid in there]
    done = [f"{job_id}@{place(site)}" for grid, noted in grids.items() if grid not in there for job_id, site in noted.jobs]
    failed = delete(wanted, None, seconds_of(False))
    states = look_at([(job_id, site) for job_id, site, _ in failed], None, seconds_of(False))
    kept = {(job_id, site): reason for (job_id, site, reason), (facts, _) in zip(failed, states, strict=True)
            if facts is None or facts.state not in ENDED}
    done += [f"{job_id}@{site}" for job_id, site in wanted if (job_id, site) not in kept]
    for (job_id, site), reason in kept.items():
        print(f"execo_g5k del: {job_id}@{place(site)} is not deleted: {reason}", file=sys.stderr)
    if args.json:
        show.print_json({"deleted": done, "left": [*left, *(f"{job_id}@{place(site)}" for job_id, site in kept)]})
    elif done:
        print("deleted: " + " ".join(done))
    return 1 if kept or left else 0
