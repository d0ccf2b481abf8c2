"""What it costs to know when the hosts of a whole platform are free, and to look for a date."""

from __future__ import annotations

import importlib
import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from execobench.grid import names, served
from execobench.meter import Meter, expect_equal
from execobench.registry import ORIGINAL, OURS, Implementation, Metric, Workload

FROM, TO = 1_790_000_000, 1_792_419_200
"""Four weeks."""
WALLTIME = 7200
LIVE = "waiting,hold,launching,running,suspended,resuming,finishing"
PAGE = 500


def _configure(uri: str) -> Any:
    config = importlib.import_module("execo_g5k.config")
    config.g5k_configuration.update(api_uri=uri, api_username=None, planning_source="api")
    importlib.import_module("execo.log").logger.setLevel("ERROR")
    return importlib.import_module("execo_g5k.planning")


def planning(n: int) -> dict[str, float]:
    with served(n) as uri:
        module = _configure(uri)
        module.get_g5k_sites()                  # the description of the platform is read before
        with Meter() as meter:
            found = module.get_planning(queues=None)
        jobs = sum(len(element["busy"]) for clusters in found.values() for hosts in clusters.values() for element in hosts.values())
        if jobs == 0:
            raise AssertionError("no host is busy")
        expect_equal("sites", len(found), len(names(uri)))
    return meter.values


def fetch(n: int) -> dict[str, float]:
    import requests

    with served(n) as uri:
        base = uri.rstrip("/")

        def site(name: str) -> int:
            jobs: list[Any] = []
            total = 1
            while len(jobs) < total:
                query = f"state={LIVE}&resources=yes&limit={PAGE}&offset={len(jobs)}"
                page = json.loads(session.get(f"{base}/sites/{name}/jobs?{query}").content)
                jobs += page["items"]
                total = page["total"]
            details = f"{base}/sites/{name}/internal/oarapi/resources/details.json?limit=999999"
            return len(json.loads(session.get(details).content)["items"])

        sites = list(names(uri))
        with requests.Session() as session, Meter() as meter, ThreadPoolExecutor(len(sites)) as threads:
            found = list(threads.map(site, sites))
        if not all(found):
            raise AssertionError(f"resources of the sites: {found}")
    return meter.values


def _made_up(hosts: dict[str, dict[str, list[str]]], n: int) -> dict[str, Any]:
    """The planning of `n` jobs, always the same."""
    draw = random.Random(1)
    everything = sorted(host for clusters in hosts.values() for of_cluster in clusters.values() for host in of_cluster)
    busy: dict[str, list[tuple[int, int]]] = {host: [] for host in everything}
    for _ in range(n):
        start = draw.randrange(FROM, TO) // 60 * 60
        end = min(TO, start + draw.choice((3600, 7200, 14400, 50400)) + 121)
        for host in draw.sample(everything, draw.choice((1, 1, 2, 4, 8, 16))):
            if all(end < a or b < start for a, b in busy[host]):
                busy[host].append((start, end))
    elements = {}
    for host, intervals in busy.items():
        intervals.sort()
        edges = [FROM, *(date for interval in intervals for date in interval), TO]
        elements[host] = {"busy": intervals, "free": [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]}
    return {site: {cluster: {host: elements[host] for host in of_cluster} for cluster, of_cluster in clusters.items()}
            for site, clusters in hosts.items()}


def slots(n: int) -> dict[str, float]:
    with served(1) as uri:
        module = _configure(uri)
        module.get_g5k_sites()
        made_up = _made_up(names(uri), n)
        dates = {date for clusters in made_up.values() for hosts in clusters.values() for element in hosts.values()
                 for kind in ("busy", "free") for interval in element[kind] for date in interval}
        with Meter() as meter:
            found = module.compute_slots(made_up, WALLTIME)
        expect_equal("slots", [slot[0] for slot in found], sorted(dates)[:-1])
        middle = found[len(found) // 2]
        free = sum(any(a <= middle[0] and middle[1] <= b for a, b in element["free"])
                   for clusters in made_up.values() for hosts in clusters.values() for element in hosts.values())
        expect_equal("free hosts", middle[2]["grid5000"], free)
    return meter.values


WALL = (Metric("wall", "ms", 1000), Metric("cpu", "ms", 1000, ratio=True))

WORKLOADS = [
    Workload(
        name="planning",
        title="When the hosts of the whole platform are free, from the REST API",
        size="jobs",
        sizes=(5000,), quick_sizes=(500,),
        base="the same answers, and json.loads",
        metrics=WALL,
        implementations=(
            Implementation("the same answers, and json.loads", fetch),
            Implementation("execo_g5k", planning, OURS),
        ),
        note="Over a stand-in for the API, a process of its own, whose time is part of both. execo 2.8.2 loses the oldest jobs of a site "
             "that has more than 500, so it is not measured.",
    ),
    Workload(
        name="planning-slots",
        title="compute_slots of the whole platform",
        size="jobs",
        sizes=(5000,), quick_sizes=(200,),
        base="execo 2.8.2",
        metrics=WALL,
        implementations=(
            Implementation("execo 2.8.2", slots, ORIGINAL, max_reps=1),
            Implementation("execo_g5k", slots, OURS),
        ),
        reps=3,
        timeout=3600,
        note="Both get the same planning.",
    ),
]
