"""The reference of the box: what the API says of sites, clusters, nodes and networks, and of their versions."""

from __future__ import annotations

import hashlib
import json

from . import machines, network
from .rows import number_of, oar_rows
from .tables import CLUSTERS, OTHER_SCHEDULER, SITES, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    Json = dict[str, Any]

EPOCH = 1_767_225_600
"""Date of the oldest version: 2026-01-01 UTC."""
PARTS = ("network_equipments", "pdus", "servers")
"""Beside clusters, what a site has, each as {uid: item}."""


class Reference:
    """Sites and the backbone.  Items are as the API has them, without ``version`` and ``links``.

    :param sites: {site: {"site": item, "clusters": {uid: item}, "nodes": {cluster: {uid: item}}, "network_equipments": {}, "servers": {},
        "pdus": {}}}.
    :param backbone: {uid: network equipment}.
    :param accesses: {group: {nodes: {"label", "level"}}}.
    """

    def __init__(self, sites: Mapping[str, Json], backbone: Mapping[str, Json], accesses: Mapping[str, Json] | None = None) -> None:
        self.sites = dict(sorted(sites.items()))
        self.backbone = dict(backbone)
        self.accesses = dict(accesses or {})
        self.root: Json = {"uid": "grid5000", "type": "grid"}
        self._seed = hashlib.sha1(json.dumps([self.sites, self.backbone], sort_keys=True).encode()).hexdigest()
        self._touched: dict[str, int] = {}      # path: how often it or what is below it was changed
        self._dates: dict[str, int] = {}

    def hosts(self, site: str | None = None) -> list[str]:
        """Names of all nodes, fully qualified, by site, cluster and number."""
        return [machines.fqdn(uid, name) for name, described in self.sites.items() if site in (None, name)
                for nodes in described["nodes"].values() for uid in sorted(nodes, key=number_of)]

    def oar_rows(self, site: str) -> list[Json]:
        """See `execo_g5k._gridbox.rows.oar_rows`."""
        return oar_rows(self.sites[site])

    def touch(self, path: str) -> None:
        """A new version of what is at a path, ``sites/lyon/clusters/saone``, hence of all above it."""
        steps = path.strip("/").split("/")
        for end in range(len(steps) + 1):
            above = "/".join(steps[:end])
            self._touched[above] = self._touched.get(above, 0) + 1

    def version(self, path: str) -> str:
        """The last change of that path, as the name of a commit: different paths have different ones."""
        path = path.strip("/")
        generation = self._touched.get(path, 0)
        found = hashlib.sha1(f"{self._seed} {path} {generation}".encode()).hexdigest()
        # parts of the year before the changes, then one second for each
        self._dates.setdefault(found, EPOCH + int(found[:6], 16) + (20_000_000 if generation else 0) + generation)
        return found

    def date(self, version: str) -> int | None:
        """Unix date of a version that was told; None if there was none such."""
        return self._dates.get(version)


def site_item(site: Site) -> Json:
    described: Json = {
        "uid": site.name, "type": "site", "name": site.name.capitalize(), "description": f"{site.name.capitalize()} of the box",
        "location": f"{site.name.capitalize()}, France", "latitude": site.latitude, "longitude": site.longitude,
        "email_contact": "support@box.invalid", "sys_admin_contact": "support@box.invalid", "security_contact": "support@box.invalid",
        "user_support_contact": "support@box.invalid", "web": "https://www.grid5000.fr", "production": True, "compilation_server": False,
        "frontend_ip": f"172.16.{16 * site.index + 15}.101", "renater_ip": f"192.168.4.{10 + site.index}", "scheduler": "oar",
        "g5ksubnet": {"network": f"10.{128 + 4 * site.index}.0.0/14", "gateway": f"10.{131 + 4 * site.index}.255.254"},
        "virt_ip_range": f"10.{128 + 4 * site.index}.0.0/14", "kavlan_ip_range": f"10.{4 * site.index}.0.0/14",
        "ipv6": {"prefix": f"{machines.ip6_prefix(site, 0)}::/56", "site_global_kavlan": site.global_kavlan, "site_index": site.index},
        "kavlans": machines.kavlans(site),
    }
    if site is OTHER_SCHEDULER:
        for absent in ("g5ksubnet", "virt_ip_range", "kavlans", "kavlan_ip_range"):
            del described[absent]
        described["scheduler"] = "slurm"
    return described


def make_reference(nodes_per_cluster: int | None = None, *, sites: Iterable[str] | None = None, other_scheduler: bool = False) -> Reference:
    """The platform of the tables.

    :param sites: their names; None: all three.
    :param nodes_per_cluster: at most so many of each cluster are listed, those with the lowest numbers; their switches keep ports for all.
    :param other_scheduler: with a fourth site, which has no cluster.
    """
    if nodes_per_cluster is not None and nodes_per_cluster < 1:
        raise ValueError(f"nodes per cluster: expected at least 1, found {nodes_per_cluster}")
    wanted = [site.name for site in SITES] if sites is None else list(sites)
    unknown = sorted(set(wanted) - {site.name for site in SITES})
    if unknown or not wanted:
        raise ValueError(f"sites: expected some of {', '.join(site.name for site in SITES)}, found {', '.join(unknown) or 'none'}")
    described = {}
    for site in (*(site for site in SITES if site.name in wanted), *([OTHER_SCHEDULER] if other_scheduler else [])):
        clusters = [cluster for cluster in CLUSTERS if cluster.site == site.name]
        described[site.name] = {
            "site": site_item(site),
            "clusters": {cluster.name: machines.cluster(cluster) for cluster in clusters},
            "nodes": {cluster.name: {f"{cluster.name}-{number}": machines.node(cluster, number)
                                     for number in cluster.numbers[:nodes_per_cluster]} for cluster in clusters},
            "network_equipments": network.equipments(site),
            "servers": network.servers(site),
            "pdus": network.power_devices(site),
        }
    accesses = {"box": {cluster.name: {"label": "p1", "level": 40} for cluster in CLUSTERS if "production" in cluster.queues},
                "guests": {cluster.name: {"label": "besteffort", "level": 0} for cluster in CLUSTERS if "production" in cluster.queues}}
    return Reference(described, network.backbone(), accesses)
