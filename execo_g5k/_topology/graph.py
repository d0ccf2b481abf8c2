"""The graph of hosts and network equipment.  Needs networkx: import it where it is used."""

from __future__ import annotations

import itertools

import networkx as nx

from execo.log import logger
from execo.utils import singleton_to_collection

from .._api.catalog import get_api_data
from .._api.names import address, canonical_host_name, get_host_shortname
from .links import (
    ARBITRARY_LATENCY,
    backbone_links,
    backplane_of,
    equipment_names,
    host_adapters,
    host_ports,
    narrow_linecards,
    site_links,
    uplinks,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias

    from execo.host import Host

    from .links import Link

    MultiGraph: TypeAlias = nx.MultiGraph[str]
    Node: TypeAlias = tuple[str, dict[str, Any]]
else:
    MultiGraph = nx.MultiGraph

_KINDS = {"router": "router", "virtual": "renater", "backbone": "renater"}


class g5k_graph(MultiGraph):
    """Hosts, switches, routers and the backbone, with the links between them: a `networkx.MultiGraph`.

    :param elements: sites, clusters, hosts, or ``"grid5000"``; None: an empty graph.  With several sites, the backbone between them.
    :raises ValueError: for an element that there is not.

    A node is named ``gros-1`` (host), ``sw-1.nancy`` (equipment), ``sw-1-lc2.nancy`` (a linecard that is narrower than its equipment) or
    ``renater-nancy`` (backbone).  Its ``kind`` is node, switch, router, linecard or renater; a node has ``power`` (flop/s of a core) and
    ``cores``, equipment has ``backplane`` (bit/s, None: not known).  An edge has ``bandwidth`` (bit/s, None: not known), ``active``
    (False: a network adapter that is not mounted) and, in the backbone, ``latency`` (seconds).

    With a host comes all equipment of its site that is connected to it.  Clusters of all queues are meant.
    """

    def __init__(self, elements: str | Iterable[str | Host] | None = None, **attributes: Any) -> None:
        # networkx makes its copies and views by `self.__class__()`, and some graphs from other graphs.
        if isinstance(elements, nx.Graph):
            super().__init__(elements, **attributes)
            return
        super().__init__(**attributes)
        for element in singleton_to_collection(elements):
            self._add(element)
        if len(self) and len(self.get_sites()) > 1:
            self.add_backbone()

    @property
    def data(self) -> dict[str, Any]:
        """The description of the platform, as `execo_g5k.api_utils.get_api_data` gives it."""
        return get_api_data()

    def _add(self, element: str | Host) -> None:
        name = address(element)
        if name == "grid5000":
            for site in sorted(self.data["sites"]):
                self.add_site(site)
        elif name in self.data["sites"]:
            self.add_site(name)
        elif name in self.data["clusters"]:
            self.add_cluster(name)
        else:
            self.add_host(name)

    # The platform: where things are

    def _places(self) -> dict[str, tuple[str, str]]:
        """{host: (site, cluster)}."""
        return {host: (site, cluster) for site, clusters in self.data["hierarchy"].items() for cluster, hosts in clusters.items()
                for host in hosts}

    def _site_of_cluster(self, cluster: str) -> str:
        for site, clusters in self.data["hierarchy"].items():
            if cluster in clusters:
                return str(site)
        raise ValueError(f"there is no cluster {cluster!r} on Grid'5000")

    def _site_network(self, site: str) -> Mapping[str, Any]:
        if site not in self.data["sites"]:
            raise ValueError(f"there is no site {site!r} on Grid'5000; there are {', '.join(sorted(self.data['sites']))}")
        network: Mapping[str, Any] = self.data["network"].get(site) or {}
        return network

    # Adding

    def add_host(self, host: str | Host, data: Mapping[str, Any] | None = None) -> None:
        """Add a host, and the equipment that it is connected to.

        :param data: its description; None: that of the platform.
        :raises ValueError: for an unknown host.
        """
        name = _short(host)
        place = self._places().get(name)
        if place is None:
            raise ValueError(f"there is no host {name!r} on Grid'5000")
        self._add_hosts(place[0], {name: self.data["hosts"][name] if data is None else data})

    def add_cluster(self, cluster: str, data: Mapping[str, Any] | None = None) -> None:
        """Add the hosts of a cluster.

        :param data: ``{host: its description}``; None: those of the platform.
        :raises ValueError: for an unknown cluster.
        """
        site = self._site_of_cluster(cluster)
        described = self.data["hosts"] if data is None else data
        self._add_hosts(site, {host: described[host] for host in self.data["hierarchy"][site][cluster]})

    def add_site(self, site: str, data: Mapping[str, Any] | None = None) -> None:
        """Add all hosts of a site, and its equipment.

        :param data: ``{host: its description}``; None: those of the platform.
        :raises ValueError: for an unknown site.
        """
        network = self._site_network(site)
        described = self.data["hosts"] if data is None else data
        self._add_hosts(site, {host: described[host] for hosts in self.data["hierarchy"].get(site, {}).values() for host in hosts})
        for equip, described in network.items():
            if described.get("kind") == "router":
                self.add_equip(equip, site)

    def _add_hosts(self, site: str, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        network = self._site_network(site)
        names = equipment_names(network)
        sockets: dict[str, dict[tuple[str, str | None], Any]] = {}
        for host, described in hosts.items():
            architecture = described.get("architecture") or {}
            performance = described.get("performance") or {}
            self.add_node(host, kind="node", power=performance.get("core_flops", 0), cores=architecture.get("nb_cores", 0))
            for adapter in host_adapters(described):
                equip = names.get(adapter["switch"])
                if equip is None:
                    logger.debug("%s: its %s is plugged into %s, which is not described", host, adapter["device"], adapter["switch"])
                    continue
                if f"{equip}.{site}" not in self:
                    self.add_equip(equip, site)
                if equip not in sockets:
                    sockets[equip] = dict(host_ports(network[equip]))
                self._plug(host, adapter, equip, site, sockets[equip].get((host, adapter["device"])))

    def _plug(self, host: str, adapter: Mapping[str, Any], equip: str, site: str, port: Any) -> None:
        rates = [rate for rate in (adapter.get("rate"), port.rate if port else None) if rate]
        end = self._end(equip, site, frozenset({port.linecard} if port else ()))
        self.add_edge(host, end, key=f"{host}-{adapter['device']}_{equip}.{site}", bandwidth=min(rates, default=None),
                      active=bool(adapter.get("mounted")))

    def _end(self, equip: str, site: str, linecards: frozenset[int]) -> str:
        """The node at which a link ends; one that is spread over several linecards ends at the equipment itself."""
        card = f"{equip}-lc{min(linecards)}.{site}" if len(linecards) == 1 else ""
        return card if card in self else f"{equip}.{site}"

    def add_equip(self, equip: str, site: str) -> None:
        """Add equipment of a site, all that is connected to it, and the end of the backbone that it leads to.

        :param equip: its name on the site (``gw``), or in this graph (``gw.nancy``).
        :raises ValueError: if the site has none of this name.
        """
        network = self._site_network(site)
        names = equipment_names(network)
        start = names.get(equip) or names.get(equip.removesuffix(f".{site}"))
        if start is None:
            raise ValueError(f"there is no network equipment {equip!r} in {site}; there are {', '.join(sorted(network)) or 'none'}")
        links = site_links(network)
        together = _reached(start, links)
        for name in sorted(together):
            self._add_equipment(name, site, network[name])
        for link in links:
            if link.ends[0] in together:
                self._link(link, [self._end(end, site, cards) for end, cards in zip(link.ends, link.linecards, strict=True)])
        backbone = {one["uid"]: one for one in self.data["network"].get("backbone", ())}
        for link in uplinks(site, network, backbone.values()):
            outside, inside = sorted(link.ends, key=lambda end: end in network and end not in backbone)
            if inside in together:
                cards = link.linecards[link.ends.index(inside)]
                self.add_node(outside, kind="renater")
                self._link(link, [self._end(inside, site, cards), outside])

    def _add_equipment(self, name: str, site: str, described: Mapping[str, Any]) -> None:
        self.add_node(f"{name}.{site}", kind=_KINDS.get(described.get("kind", ""), "switch"), backplane=backplane_of(described))
        for number, own in narrow_linecards(described).items():
            card = f"{name}-lc{number}.{site}"
            self.add_node(card, kind="linecard", backplane=own)
            self.add_edge(card, f"{name}.{site}", key=f"{card}_{name}.{site}", bandwidth=own, active=True)

    def _link(self, link: Link, ends: list[str], **more: Any) -> None:
        first, second = sorted(ends)
        self.add_edge(first, second, key=f"{first}_{second}", bandwidth=link.bandwidth, active=True, **more)

    def add_backbone(self) -> None:
        """Add the part of the backbone that lies between the sites of this graph."""
        links = backbone_links(self.data["network"].get("backbone", ()))
        for link in links:
            for end in link.ends:
                self.add_node(end, kind="renater")
            self._link(link, list(link.ends), latency=ARBITRARY_LATENCY)
        while dead_ends := [name for name, _ in self.get_backbone() if self._leads_nowhere(name)]:
            self.remove_nodes_from(dead_ends)

    def _leads_nowhere(self, renater: str) -> bool:
        peers = list(self.neighbors(renater))
        return len(peers) <= 1 and all(self.nodes[peer].get("kind") == "renater" for peer in peers)

    # Removing

    def rm_host(self, host: str | Host) -> None:
        """:raises ValueError: if it is not in this graph."""
        self.remove_node(self._checked(_short(host), "node"))

    def rm_cluster(self, cluster: str) -> None:
        """Remove the hosts of a cluster.

        :raises ValueError: if it has none in this graph.
        """
        self.remove_nodes_from([name for name, _ in self.get_hosts(cluster=cluster)] or _nothing(f"no host of cluster {cluster!r}"))

    def rm_site(self, site: str) -> None:
        """Remove the hosts and the equipment of a site, and the end of the backbone that only it used.

        :raises ValueError: if it has nothing in this graph.
        """
        gone = [name for name, _ in self.get_hosts(site=site)] + [name for name in self if name.endswith(f".{site}")]
        self.remove_nodes_from(gone or _nothing(f"nothing of site {site!r}"))
        own = f"renater-{site}"
        if own in self and self._leads_nowhere(own):
            self.remove_node(own)

    def rm_equip(self, equip: str) -> None:
        """Remove equipment, with its linecards.

        :param equip: its name in this graph, such as ``gw.nancy``.
        :raises ValueError: if it is not in this graph.
        """
        cards = [peer for peer in self.neighbors(self._checked(equip, "switch", "router")) if self._card_of(peer) == equip]
        self.remove_nodes_from([equip, *cards])

    def rm_backbone(self) -> None:
        """Remove all of the backbone."""
        self.remove_nodes_from([name for name, _ in self.get_backbone()])

    # Looking

    def get_hosts(self, cluster: str | None = None, site: str | None = None) -> list[Node]:
        """Hosts with their attributes, those of a cluster or a site, in the order of their names."""
        places = self._places()

        def wanted(name: str) -> bool:
            at, of_cluster = places.get(name, ("", ""))
            return cluster in (None, of_cluster) and site in (None, at)

        return [(name, attributes) for name, attributes in self._of_kind("node") if wanted(name)]

    def get_clusters(self, site: str | None = None) -> list[str]:
        """Clusters that have hosts in this graph, of one site or all."""
        places = self._places()
        found = {places[name] for name, _ in self._of_kind("node") if name in places}
        return sorted(cluster for at, cluster in found if site in (None, at))

    def get_sites(self) -> list[str]:
        """Sites that have hosts or equipment in this graph."""
        places = self._places()
        hosts = {places[name][0] for name, _ in self._of_kind("node") if name in places}
        return sorted(hosts | {name.rpartition(".")[2] for kind in ("switch", "router", "linecard") for name, _ in self._of_kind(kind)})

    def get_backbone(self) -> list[Node]:
        """The nodes of the backbone, with their attributes."""
        return self._of_kind("renater")

    def get_site_router(self, site: str) -> Node:
        """The router of a site, with its attributes.

        :raises ValueError: if it has none in this graph.
        """
        for name, attributes in self._of_kind("router"):
            if name.endswith(f".{site}"):
                return name, attributes
        raise ValueError(f"no router of site {site!r} is in this graph")

    def get_host_adapters(self, host: str | Host) -> list[dict[str, Any]]:
        """Descriptions of the network adapters of a host that can be edges of this graph.

        :raises ValueError: for an unknown host.
        """
        name = _short(host)
        if name not in self.data["hosts"]:
            raise ValueError(f"there is no host {name!r} on Grid'5000")
        return host_adapters(self.data["hosts"][name])

    def get_host_neighbours(self, host: str | Host) -> list[str]:
        """The other hosts of this graph that are plugged, as this one, into one of its switches, routers or linecards.

        :raises ValueError: if it is not in this graph.
        """
        name = self._checked(_short(host), "node")
        near = {other for equip in self.neighbors(name) for other in self._hosts_at(equip)}
        return sorted(near - {name}, key=_natural)

    def get_equip_hosts(self, equip: str) -> list[str]:
        """The hosts that are plugged into equipment, or into its linecards.

        :param equip: its name in this graph, such as ``gw.nancy``.
        :raises ValueError: if it is not in this graph.
        """
        self._checked(equip, "switch", "router", "linecard")
        cards = [peer for peer in self.neighbors(equip) if self._card_of(peer) == equip]
        return sorted({host for one in (equip, *cards) for host in self._hosts_at(one)}, key=_natural)

    def _hosts_at(self, equip: str) -> list[str]:
        return [peer for peer in self.neighbors(equip) if self.nodes[peer].get("kind") == "node"]

    def _card_of(self, name: str) -> str | None:
        """The equipment that a linecard is part of."""
        if self.nodes[name].get("kind") != "linecard":
            return None
        card, _, site = name.rpartition(".")
        return f"{card.rpartition('-lc')[0]}.{site}"

    def _of_kind(self, kind: str) -> list[Node]:
        return sorted(((name, attributes) for name, attributes in self.nodes(data=True) if attributes.get("kind") == kind),
                      key=lambda node: _natural(node[0]))

    def _checked(self, name: str, *kinds: str) -> str:
        if name not in self or self.nodes[name].get("kind") not in kinds:
            raise ValueError(f"there is no {' or '.join(kinds)} {name!r} in this graph")
        return name

    # Paths

    def get_path(self, source: str | Host, target: str | Host) -> list[str]:
        """Names of the nodes on the shortest way between two nodes of this graph, over active links.

        :raises ValueError: if one of them is not in this graph.
        :raises networkx.NetworkXNoPath: if nothing connects them: not each site has a link to the backbone.
        """
        ends = [self._found(source), self._found(target)]
        try:
            return list(nx.dijkstra_path(self, ends[0], ends[1], weight=_one_hop))
        except nx.NetworkXNoPath:
            raise nx.NetworkXNoPath(f"no way from {ends[0]} to {ends[1]} in this graph; sites without a described link to the backbone:"
                                    f" {', '.join(self._cut_off()) or 'none'}") from None

    def get_bandwidth(self, source: str | Host, target: str | Host) -> float | None:
        """bit/s of the narrowest link on the shortest way; None if that of one is not known.

        :raises ValueError: if one of them is not in this graph.
        :raises networkx.NetworkXNoPath: as `get_path`.
        """
        path = self.get_path(source, target)
        widest = [self._widest(*pair) for pair in itertools.pairwise(path)]
        return None if None in widest else min((one for one in widest if one is not None), default=float("inf"))

    def get_latency(self, source: str | Host, target: str | Host) -> float:
        """Seconds on the shortest way, of the links whose latency is described: those of the backbone."""
        path = self.get_path(source, target)
        return sum((max(edge.get("latency", 0.0) for edge in self[one][other].values())
                    for one, other in itertools.pairwise(path)), 0.0)

    def _widest(self, one: str, other: str) -> float | None:
        known = [edge["bandwidth"] for edge in self[one][other].values() if edge.get("active", True)]
        return max((bandwidth for bandwidth in known if bandwidth is not None), default=None)

    def _found(self, name: str | Host) -> str:
        given = address(name)
        if given in self:
            return given
        short = _short(name)
        if short in self:
            return short
        raise ValueError(f"there is no {given!r} in this graph")

    def _cut_off(self) -> list[str]:
        return [name.rpartition(".")[2] for name, _ in self._of_kind("router")
                if not any(self.nodes[peer].get("kind") == "renater" for peer in self.neighbors(name))]


def _one_hop(one: str, other: str, edges: dict[str, dict[str, Any]]) -> float | None:
    """None hides a link."""
    return 1 if any(edge.get("active", True) for edge in edges.values()) else None


def _short(host: str | Host) -> str:
    return get_host_shortname(canonical_host_name(address(host)))


def _natural(name: str) -> tuple[str, int, str]:
    """``gros-2`` before ``gros-10``."""
    head, _, site = name.partition(".")
    stem, _, number = head.rpartition("-")
    return (stem, int(number), site) if number.isdigit() else (head, 0, site)


def _nothing(what: str) -> list[str]:
    raise ValueError(f"{what} is in this graph")


def _reached(start: str, links: Iterable[Link]) -> set[str]:
    peers: dict[str, set[str]] = {}
    for link in links:
        one, other = link.ends
        peers.setdefault(one, set()).add(other)
        peers.setdefault(other, set()).add(one)
    found, todo = {start}, [start]
    while todo:
        new = peers.get(todo.pop(), set()) - found
        found |= new
        todo += new
    return found
