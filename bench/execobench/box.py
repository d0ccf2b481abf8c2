"""Grid'5000 in a box of its own process: `python -m execobench.box NODES SECONDS HOME` says how it is used, and lives as long as its input.

NODES nodes of its three sites are in running jobs of type deploy; each micro-step of a deployment takes SECONDS.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"rhone": ("default", ["exotic"]), "moselle": ("production", []), "ille": ("testing", [])}
"""{cluster: queue and types that its jobs need}."""
CLUSTERS = 6
START_SECONDS = 60.0


@contextmanager
def box_of(nodes: int, seconds: float, home: str) -> Iterator[dict[str, Any]]:
    """What `main` prints."""
    Path(home).mkdir()
    words = [sys.executable, "-m", "execobench.box", str(nodes), str(seconds), home]
    box = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert box.stdout is not None
        yield json.loads(box.stdout.readline())
    finally:
        box.communicate()


def main(nodes: int, seconds: float, home: str) -> None:
    sys.path.insert(0, str(ROOT))               # where it is not installed
    from execo.log import logger
    from execo_g5k.gridbox import GridBox

    logger.setLevel("ERROR")
    with GridBox(oar="own", nodes_per_cluster=None if nodes == 40 else -(-nodes // CLUSTERS), configure=False) as box:
        box.deployments.step_seconds = seconds
        box.deployments.polling = min(1.0, seconds)
        for site, described in box.reference.sites.items():
            for cluster, members in described["nodes"].items():
                queue, types = KINDS.get(cluster, ("default", []))
                box.oars[site].submit({"resources": f"nodes={len(members)}", "properties": f"cluster='{cluster}'", "queue": queue,
                                       "types": ["deploy", *types], "command": "sleep 3600"}, box.oars[site].user)
        deadline = time.monotonic() + START_SECONDS
        while len(mine := [node for site, kadeploy in box.kadeploys.items() for node in kadeploy.deployable(box.oars[site].user)]) < nodes:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {len(mine)} nodes of {nodes} are in running jobs")
            time.sleep(0.05)
        box.write_configuration(home)
        how = {"nodes": sorted(mine)[:nodes], "environment": box.environment(home), "ssh_config": str(box.ssh_config)}
        print(json.dumps(how), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
