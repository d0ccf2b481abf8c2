"""Resources, in words."""

from __future__ import annotations

from execo.log import logger

from ..api_utils import get_g5k_sites, get_site_clusters
from .elements import GRID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Literal

WIDTH = 20


def show_resources(resources: Mapping[str, Any], msg: str = "Resources", max_resources: Mapping[str, Any] | None = None,
                   queues: str | Iterable[str] | Literal[False] | None = "default") -> None:
    """Log, at level INFO, how many hosts of each site and cluster there are, a line for each site.

    :param resources: {element: number}, such as those of a slot.
    :param msg: the first line.
    :param max_resources: how many there could be.
    :param queues: of the clusters that are shown besides those that have other queues and are in `resources`.
    """
    most = max_resources or {}

    def number(name: str) -> str:
        return f"{resources[name]}/{most[name]} " if name in most else f"{resources[name]} "

    lines = [msg]
    total = 0
    for site in sorted(get_g5k_sites()):
        known = dict.fromkeys([*get_site_clusters(site, queues), *get_site_clusters(site, None)])
        clusters = [cluster for cluster in known if cluster in resources]
        if site not in resources and not clusters:
            continue
        line = f"{site.ljust(WIDTH)} "
        if site in resources:
            line += number(site)
        lines.append(line + "".join(f"{cluster}: {number(cluster)}" for cluster in sorted(clusters)))
        # Those of a slot are counted in their site too; those of a request come on top, but then the grid is not given.
        total += sum(resources[name] for name in ([site] if site in resources else []) + clusters)
    if GRID in resources:
        lines.append("Grid5000".ljust(WIDTH) + number(GRID).rstrip())
    elif len(lines) > 1:
        lines.append("Total".ljust(WIDTH) + str(total))
    logger.info("\n".join(lines))
