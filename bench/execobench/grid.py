"""A platform behind a REST server of its own process, with as many jobs as wanted: `python -m execobench.grid JOBS` prints its address.

It is today's Grid'5000 where its data and server are beside this clone, in a folder `g5k/tools` of some folder; else an invented one of
that size.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SITES = 11
"""Of today's platform, without the one that has no OAR."""
NODES = 140
"""Of each of the six invented clusters."""


def _command(jobs: int) -> list[str]:
    servers = sorted(ROOT.parent.glob("*/g5k/tools/serve.py"))
    if servers:
        # Some of the jobs that it makes have ended: so many must be made for as many that have not.
        return [sys.executable, str(servers[0]), "--port", "0", "--without", "bordeaux", "--jobs", str(max(1, round(jobs * 1.15 / SITES)))]
    return [sys.executable, "-m", "execobench.grid", str(jobs)]


@contextmanager
def served(jobs: int) -> Iterator[str]:
    """The address of the API."""
    server = subprocess.Popen(_command(jobs), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1]
    finally:
        server.kill()
        server.communicate()


def get(uri: str) -> Any:
    """What the API answers."""
    with urllib.request.urlopen(uri) as answer:
        return json.loads(answer.read())


def names(uri: str) -> dict[str, dict[str, list[str]]]:
    """{site: {cluster: [addresses of hosts]}}."""
    uri = uri.rstrip("/")
    found: dict[str, dict[str, list[str]]] = {}
    for site in get(f"{uri}/sites")["items"]:
        sites = found[site["uid"]] = {}
        for cluster in get(f"{uri}/sites/{site['uid']}/clusters")["items"]:
            nodes = get(f"{uri}/sites/{site['uid']}/clusters/{cluster['uid']}/nodes")["items"]
            sites[cluster["uid"]] = [f"{node['uid']}.{site['uid']}.grid5000.fr" for node in nodes]
    return found


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from execo_g5k._gridbox.reference import make_reference
    from execo_g5k._gridbox.rest import serve_reference
    from execo_g5k._gridbox.static import make_job

    wanted = int(sys.argv[1])
    draw = random.Random(1)
    now = int(time.time())
    reference = make_reference(NODES)
    jobs: dict[str, list[Any]] = {}
    for site in reference.sites:
        by_host: dict[str, list[Any]] = {}
        for row in reference.oar_rows(site):
            if row["type"] == "default":
                by_host.setdefault(row["host"], []).append(row)
        hosts = sorted(by_host)
        for number in range(wanted // len(reference.sites)):
            start = now + draw.randrange(-7000, 20 * 86400)
            rows = [row for host in draw.sample(hosts, min(len(hosts), draw.choice((1, 1, 2, 4, 8, 16)))) for row in by_host[host]]
            walltime = draw.choice((3600, 7200, 14400, 50400))
            jobs.setdefault(site, []).append(
                make_job(number + 1, rows, walltime=walltime, started_at=start) if start <= now else
                make_job(number + 1, rows, walltime=walltime, state="waiting", scheduled_at=start))
    with serve_reference(jobs, reference=reference) as api:
        print(api.uri, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
