"""Names of the grid, sites, clusters and hosts, and the hosts that they mean."""

from __future__ import annotations

import re

from execo.host import Host
from execo.utils import singleton_to_collection

from ..api_utils import (
    canonical_host_name,
    get_cluster_hosts,
    get_cluster_site,
    get_g5k_sites,
    get_host_cluster,
    get_host_longname,
    get_host_shortname,
    get_host_site,
    get_site_clusters,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Literal, TypeAlias

    Element: TypeAlias = str | Host
    Resources: TypeAlias = Mapping[Any, Any]    # {Element: number of hosts}, also "kavlan"; the keys of a Mapping are invariant
    Kind: TypeAlias = Literal["grid5000", "site", "cluster", "host"]

GRID = "grid5000"
_NUMBER = re.compile(r"(\d+)")


def natural(name: str) -> list[Any]:
    """To sort by: x-2 before x-10."""
    return [int(part) if part.isdecimal() else part for part in _NUMBER.split(name)]


def name_of(element: Element) -> str:
    if isinstance(element, Host):
        return element.address
    if not isinstance(element, str):
        raise TypeError(f"expected the name of a site, a cluster or a host, found {element!r}")
    return element


def names_of(elements: Element | Iterable[Element] | None) -> list[str]:
    """Names of one or several elements."""
    return [] if elements is None else [name_of(element) for element in singleton_to_collection(elements)]


def kind_of(name: str) -> Kind | None:
    """None: nothing of Grid'5000 is called so."""
    if name == GRID:
        return "grid5000"
    if name in get_g5k_sites():
        return "site"
    if get_cluster_site(name) is not None:
        return "cluster"
    return "host" if cluster_of_host(name) is not None else None


def cluster_of_host(name: str) -> str | None:
    """None if the reference knows no such host."""
    try:
        cluster = get_host_cluster(name)
        if cluster is None or get_host_shortname(name) not in get_cluster_hosts(cluster):
            return None
    except (ValueError, KeyError):
        return None
    return cluster if get_host_site(name) == get_cluster_site(cluster) else None


def address_of(host: str) -> str:
    """``x-1.lyon.grid5000.fr`` of ``x-1`` and ``x-1-eth1.lyon.grid5000.fr`` too."""
    return str(get_host_longname(canonical_host_name(host)))


def site_of(name: str, kind: Kind) -> str | None:
    """The site that a site, a cluster or a host is in, or is."""
    if kind == "site":
        return name
    if kind == "cluster":
        return get_cluster_site(name)
    return get_host_site(name) if kind == "host" else None


def hosts_by_site(names: Iterable[str], queues: Any) -> tuple[dict[str, dict[str, list[str]]], list[str]]:
    """({site: {cluster: [addresses]}}, names that mean nothing), in the order of the names of sites, clusters and hosts.

    :param queues: of the clusters that the grid and the sites stand for; a cluster or a host that is named is meant, whatever its queues.
    """
    found: dict[str, dict[str, set[str]]] = {}
    unknown = []

    def add_cluster(site: str, cluster: str) -> None:
        found[site].setdefault(cluster, set()).update(map(address_of, get_cluster_hosts(cluster)))

    def add_site(site: str) -> None:
        found.setdefault(site, {})
        for cluster in get_site_clusters(site, queues):
            add_cluster(site, cluster)

    for name in names:
        kind = kind_of(name)
        if kind == "grid5000":
            for site in get_g5k_sites():
                add_site(site)
        elif kind == "site":
            add_site(name)
        elif kind == "cluster" and (of_cluster := get_cluster_site(name)) is not None:
            found.setdefault(of_cluster, {})
            add_cluster(of_cluster, name)
        elif kind == "host" and (cluster := cluster_of_host(name)) is not None and (of_host := get_cluster_site(cluster)) is not None:
            found.setdefault(of_host, {}).setdefault(cluster, set()).add(address_of(name))
        else:
            unknown.append(name)
    return {site: {cluster: sorted(hosts, key=natural) for cluster, hosts in sorted(clusters.items())}
            for site, clusters in sorted(found.items())}, unknown
