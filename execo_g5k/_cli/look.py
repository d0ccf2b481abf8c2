"""The commands that change nothing: hosts, free, slots, gantt, charter."""

from __future__ import annotations

import datetime

from execo.time_utils import format_duration, get_seconds

from .._clock import now
from .._planning.elements import address_of, kind_of
from .._planning.slots import needed
from .._testbed.plan import silent_sites
from ..api_utils import get_g5k_hosts, get_hosts_properties, get_site_clusters
from ..charter import (
    CHARTER_RULES,
    CharterJob,
    charter_state,
    charter_violations,
    g5k_charter_time,
    get_next_charter_period,
    unixts_to_oar_datetime,
)
from ..planning import compute_slots, draw_gantt, get_planning
from . import show
from .words import oar_date, queues_of, resources_of, sites_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

COLUMNS = ("cluster", "site", "cores", "memory", "gpus", "gpu", "ethernet_rate", "switch")
"""Of the properties of hosts, those that are shown to people."""
GIB = 1 << 30


def hosts(args: argparse.Namespace) -> int:
    found = get_g5k_hosts(queues_of(args.queue), where=args.where, n=args.number, same=args.same, site=args.site)
    properties = get_hosts_properties(found)
    if args.json:
        show.print_json([{"host": host, **properties[host]} for host in found])
    elif args.names:
        print("\n".join(found))
    else:
        columns = [name for name in COLUMNS if any(properties[host].get(name) for host in found)]
        print(show.table(["host", *columns], [[host, *(_shown(name, properties[host].get(name)) for name in columns)] for host in found]))
    return 0 if found else 1


def _shown(name: str, value: Any) -> Any:
    if not isinstance(value, (int, float)):
        return value
    return f"{value / GIB:g}GiB" if name == "memory" else f"{value / 1e9:g}Gbit/s" if name == "ethernet_rate" else value


def _planning(args: argparse.Namespace, elements: list[str], nights: bool = False) -> dict[str, dict[str, Any]]:
    planning = get_planning(elements or ["grid5000"], out_of_chart=nights, queues=queues_of(args.queue))
    if planning is None:
        raise ValueError(f"not all of these are sites, clusters or hosts: {' '.join(elements)}")
    silent_sites(planning, elements or ["grid5000"], queues_of(args.queue))
    if args.where is None:
        return planning
    fitting = set(get_g5k_hosts(None, where=args.where))
    return {site: {cluster: {host: element for host, element in of_cluster.items() if host.partition(".")[0] in fitting}
                   for cluster, of_cluster in clusters.items()} for site, clusters in planning.items()}


def free(args: argparse.Namespace) -> int:
    planning = _planning(args, args.elements)
    slots = compute_slots(planning, args.walltime)
    counts: dict[str, int] = slots[0][2] if slots else {}
    rows = [(site, cluster, counts.get(cluster, 0), len(of_cluster)) for site, clusters in planning.items()
            for cluster, of_cluster in clusters.items()]
    total = sum(row[2] for row in rows)
    if args.json:
        show.print_json([dict(zip(("site", "cluster", "free", "hosts"), row, strict=True)) for row in rows])
    else:
        print(show.table(["site", "cluster", "free", "hosts"], rows))
        print(f"{total} hosts are free for {format_duration(get_seconds(args.walltime))}")
    return 0 if total else 1


def slots(args: argparse.Namespace) -> int:
    wanted = resources_of(args.resources, default=1)
    planning = _planning(args, list(wanted), args.nights)
    names = {name: address_of(name) if kind_of(name) == "host" else name for name in wanted}       # as the planning has them
    least = needed({names[name]: number for name, number in wanted.items()})
    found = [slot for slot in compute_slots(planning, args.walltime, include_hosts=True)
             if all(slot[2].get(name, 0) >= number for name, number in least.items())]
    shown = found[:args.number]
    if args.json:
        show.print_json([{"start_date": start, "end_date": end, "hosts": {name: counts[names[name]] for name in wanted}}
                         for start, end, counts in shown])
    elif shown:
        print(show.table(["start", "end", *wanted],
                         [[show.date(start), show.date(end), *(counts[names[name]] for name in wanted)] for start, end, counts in shown]))
        if len(found) > len(shown):
            print(f"and {len(found) - len(shown)} later ones")
    return 0 if found else 1


def gantt(args: argparse.Namespace) -> int:
    planning = _planning(args, args.elements)
    if args.json:
        show.print_json(planning)
    elif args.output is None:
        raise ValueError("a figure needs --output FILE; or --json")
    if args.output is not None:
        draw_gantt(planning, outfile=args.output)
    return 0


def charter(args: argparse.Namespace) -> int:
    if args.rules:
        return _rules(args)
    if args.at is not None or args.cores:
        return _would_break(args)
    day = unixts_to_oar_datetime(now()).date() if args.day is None else datetime.date.fromisoformat(args.day)
    here = now()
    start, end = get_next_charter_period(here, here + 14 * 86400)
    states = {site: charter_state(site, day, args.user) for site in sites_of(args.sites)}
    rows = [(site, cluster, quota / 3600, left / 3600) for site, state in states.items()
            for (cluster, quota), left in zip(state.quotas.items(), state.remaining(day).values(), strict=True)]
    if args.json:
        show.print_json({"day": str(day), "day_time": g5k_charter_time(here), "next_period": [start, end],
                         "remaining": {site: state.remaining(day) for site, state in states.items()},
                         "quotas": {site: state.quotas for site, state in states.items()}})
    else:
        print(f"now is {'day' if g5k_charter_time(here) else 'night or week-end'}; the charter's next hours are"
              f" {show.date(start)} to {show.date(end)}")
        print(f"core hours of {day}:")
        print(show.table(["site", "cluster", "quota", "left"], rows))
    return 1 if any(row[3] < 0 for row in rows) else 0


def _rules(args: argparse.Namespace) -> int:
    if args.json:
        show.print_json([{"name": rule.name, "text": rule.text, "known_since": str(rule.known_since)} for rule in CHARTER_RULES])
    else:
        for rule in CHARTER_RULES:
            print(f"{rule.name} (known since {rule.known_since}): {rule.text}")
    return 0


def _would_break(args: argparse.Namespace) -> int:
    """1 if a job would."""
    start = now() if args.at is None else oar_date(args.at)
    cores = resources_of(args.cores)
    by_site: dict[str, dict[str, int]] = {}
    for site in sites_of(args.sites):
        here = {cluster: cores[cluster] for cluster in get_site_clusters(site) if cluster in cores}
        if here:
            by_site[site] = here
    unknown = set(cores) - {cluster for clusters in by_site.values() for cluster in clusters}
    if unknown:
        raise ValueError(f"no cluster of the queue default is called {', '.join(sorted(unknown))}")
    found: list[str] = []
    for site, of_site in by_site.items():
        job = CharterJob(start, float(get_seconds(args.walltime)), of_site, name=f"a job on {site}")
        boundaries = charter_violations(job)
        found += boundaries
        for day in job.days:
            state = charter_state(site, day, args.user)
            found += [reason for reason in charter_violations(job, state.quotas, state.jobs) if reason not in (*boundaries, *found)]
    if args.json:
        show.print_json(found)
    else:
        print("\n".join(found) or "this is allowed")
    return 1 if found else 0
