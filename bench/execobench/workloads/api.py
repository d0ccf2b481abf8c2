"""The description of a whole platform from its REST API, and from the copy on disk.

Run as a program (`python -m execobench.workloads.api NODES`), it serves a platform until its standard input ends.
"""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from execobench.meter import Meter, expect_equal, scratch
from execobench.registry import OURS, PLAIN, Implementation, Metric, Workload

FILES = ("network", "sites", "clusters", "hosts", "hierarchy")


@contextlib.contextmanager
def platform(nodes: int) -> Iterator[str]:
    """Serve a platform with so many nodes, from another process; yields its address."""
    command = [sys.executable, "-m", "execobench.workloads.api", str(nodes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def serve(nodes: int) -> None:
    from execo_g5k._gridbox.reference import make_reference
    from execo_g5k._gridbox.rest import serve_reference

    reference = make_reference()
    clusters = [members for site in reference.sites.values() for members in site["nodes"].values()]
    number = 1000
    while sum(map(len, clusters)) < nodes:
        for cluster in clusters:
            number += 1
            first = next(iter(cluster.values()))
            uid = f"{first['uid'].partition('-')[0]}-{number}"
            cluster[uid] = {**copy.deepcopy(first), "uid": uid}
    with serve_reference(reference=reference) as api:
        print(api.uri, flush=True)
        sys.stdin.read()


def configure(uri: str) -> None:
    from execo_g5k import g5k_configuration

    g5k_configuration.update(api_uri=uri, api_cache_dir=scratch("cache"))


def first_curl(nodes: int) -> dict[str, float]:
    with platform(nodes) as uri:
        paths = ["", "sites", "network_equipments", *(f"sites/{site}?deep=1" for site in ("lyon", "nancy", "rennes"))]
        wanted = [argument for i, path in enumerate(paths) for argument in ("-o", scratch(f"answer-{i}"), uri + path)]
        with Meter() as meter:
            subprocess.run(["curl", "-s", "--parallel", "--parallel-max", "16", *wanted], check=True, stderr=subprocess.DEVNULL)
    sites = [json.loads(Path(scratch(f"answer-{i}")).read_bytes())["items"] for i in (3, 4, 5)]
    expect_equal("enough nodes", sum(len(c["nodes"]) for site in sites for c in site["clusters"].values()) >= nodes, True)
    return meter.values


def first_execo(nodes: int) -> dict[str, float]:
    from execo_g5k.api_utils import get_api_data

    with platform(nodes) as uri:
        configure(uri)
        with Meter() as meter:
            data = get_api_data()
    expect_equal("enough nodes", len(data["hosts"]) >= nodes, True)
    expect_equal("a copy", sorted(path.name for path in Path(scratch("cache")).iterdir()), sorted([*FILES, "api_commit", "version"]))
    return meter.values


def again_json(nodes: int) -> dict[str, float]:
    from execo_g5k.api_utils import get_api_data

    with platform(nodes) as uri:
        configure(uri)
        get_api_data()
    with Meter() as meter:
        found = {name: json.loads(Path(scratch("cache"), name).read_bytes()) for name in FILES}
    expect_equal("enough nodes", sum(map(len, found["hosts"].values())) >= nodes, True)
    return meter.values


def again_execo(nodes: int) -> dict[str, float]:
    from execo_g5k._api import reference
    from execo_g5k.api_utils import get_api_data

    with platform(nodes) as uri:
        configure(uri)
        get_api_data()
        reference.forget()
        with Meter() as meter:
            data = get_api_data()
    expect_equal("enough nodes", len(data["hosts"]) >= nodes, True)
    return meter.values


METRICS = (Metric("wall", "ms", 1000.0, ratio=True), Metric("cpu", "ms", 1000.0))

WORKLOADS = [
    Workload(
        name="api",
        title="The description of a platform, from its API to memory and disk",
        size="nodes",
        sizes=(1000,),
        quick_sizes=(40,),
        base="curl --parallel",
        metrics=METRICS,
        implementations=(
            Implementation("curl --parallel", first_curl, PLAIN, needs=("curl",)),
            Implementation("execo", first_execo, OURS),
        ),
        reps=9,
        note="curl fetches the same addresses, and neither decodes nor understands them.",
    ),
    Workload(
        name="api-again",
        title="The same from the copy on disk, once the API has said that it is up to date",
        size="nodes",
        sizes=(1000,),
        quick_sizes=(40,),
        base="json.loads",
        metrics=METRICS,
        implementations=(
            Implementation("json.loads", again_json, PLAIN),
            Implementation("execo", again_execo, OURS),
        ),
        reps=9,
        note="json.loads of the files of the copy.",
    ),
]

if __name__ == "__main__":
    serve(int(sys.argv[1]))
