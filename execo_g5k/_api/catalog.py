"""Sites, clusters, hosts and network equipments of the platform, looked up in its description."""

from __future__ import annotations

from execo.utils import singleton_to_collection

from .names import address, canonical_host_name, cluster_of_name, get_host_shortname, site_of_name
from .reference import Reference, reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from typing import Any, Literal, TypeAlias, TypeVar

    from execo.host import Host

    Queues: TypeAlias = "str | Iterable[str] | Literal[False] | None"
    H = TypeVar("H", str, Host)

DEFAULT_QUEUES = ("admin", "default", "besteffort")
"""Of a cluster that names none."""
PRODUCTION = frozenset({"production", "abaca"})
"""Two names of one queue, of which descriptions have one or both."""


def get_api_data(cache_dir: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """The description of the whole platform: ``{"sites": {uid: {}}, "clusters": {uid: {}}, "hosts": {short name: {}}, "hierarchy":
    {site: {cluster: [short name of host, ...]}}, "network": {site: {uid: {}}, "backbone": [{}, ...]}, "version": its version}``.

    :param cache_dir: where the copy on disk is; None: ``g5k_configuration['api_cache_dir']``, by default
      ``~/.execo/g5k_api_cache-X.Y`` with the version of Python.
    :raises APIException: if there is no copy and the API cannot be reached, or if it refuses.

    It is read once by a program: from the copy if that has the version that the API has now, or if the API cannot be reached (which is
    logged as a warning); else from the API, by all threads of the program and, where folders can be locked, all programs together.
    All callers get the same dictionary; do not change it.
    """
    return reference(cache_dir).data


def _known_site(known: Reference, site: str) -> str:
    if site not in known.data["hierarchy"]:
        raise ValueError(f"unknown g5k site {site}; there are {', '.join(known.data['hierarchy'])}")
    return site


def _clusters_of(known: Reference, site: str) -> dict[str, list[str]]:
    clusters: dict[str, list[str]] = known.data["hierarchy"][_known_site(known, site)]
    return clusters


def queues_of(cluster: Mapping[str, Any]) -> list[str]:
    """Of a cluster as the API describes it."""
    return list(cluster.get("queues", DEFAULT_QUEUES))


def _is_in(cluster: Mapping[str, Any], queues: Queues) -> bool:
    if queues is None or queues is False:
        return True
    wanted = set(singleton_to_collection(queues))
    if wanted & PRODUCTION:
        wanted |= PRODUCTION
    return not wanted.isdisjoint(queues_of(cluster))


def filter_clusters(clusters: Iterable[str], queues: Queues = "default") -> list[str]:
    """Those of some clusters that are in one of some queues.

    :param queues: a name or several; ``production`` and ``abaca`` are the same; None or False: all.
    :raises KeyError: for an unknown cluster.
    """
    known = reference().data["clusters"]
    return [cluster for cluster in clusters if _is_in(known[cluster], queues)]


def get_g5k_sites() -> list[str]:
    """Names of all sites, also of those without clusters."""
    return list(reference().data["hierarchy"])


def get_site_clusters(site: str, queues: Queues = "default") -> list[str]:
    """Names of the clusters of a site, perhaps none.

    :param queues: as for `filter_clusters`.
    :raises ValueError: for an unknown site.
    """
    return filter_clusters(_clusters_of(reference(), site), queues)


def get_g5k_clusters(queues: Queues = "default") -> list[str]:
    """Names of all clusters.

    :param queues: as for `filter_clusters`.
    """
    return filter_clusters(reference().site_of_cluster, queues)


def get_cluster_hosts(cluster: str) -> list[str]:
    """Short names of the hosts of a cluster, whatever its queues.

    :raises ValueError: for an unknown cluster.
    """
    known = reference()
    return list(known.data["hierarchy"][_site_of_known(known, cluster)][cluster])


def _site_of_known(known: Reference, cluster: str) -> str:
    site = known.site_of_cluster.get(cluster)
    if site is None:
        raise ValueError(f"unknown g5k cluster {cluster}")
    return site


def get_site_hosts(site: str, queues: Queues = "default") -> list[str]:
    """Short names of the hosts of a site.

    :param queues: as for `filter_clusters`.
    :raises ValueError: for an unknown site.
    """
    return [host for cluster in get_site_clusters(site, queues) for host in get_cluster_hosts(cluster)]


def get_cluster_site(cluster: str) -> str | None:
    """Of a cluster; None if it is unknown."""
    return reference().site_of_cluster.get(cluster)


def get_site_attributes(site: str) -> dict[str, Any]:
    """As the API describes it.

    :raises KeyError: if it is unknown.
    """
    attributes: dict[str, Any] = reference().data["sites"][site]
    return attributes


def get_cluster_attributes(cluster: str) -> dict[str, Any]:
    """As the API describes it, without its nodes.

    :raises KeyError: if it is unknown.
    """
    attributes: dict[str, Any] = reference().data["clusters"][cluster]
    return attributes


def get_host_attributes(host: str | Host) -> dict[str, Any]:
    """As the API describes it.

    :param host: by any of its names.
    :raises KeyError: if it is unknown.
    """
    attributes: dict[str, Any] = reference().data["hosts"][get_host_shortname(host)]
    return attributes


def get_cluster_queues(cluster: str) -> list[str]:
    """Names of its queues, as the API has them.

    :raises ValueError: for an unknown cluster.
    """
    known = reference()
    _site_of_known(known, cluster)
    return queues_of(known.data["clusters"][cluster])


def get_cluster_jobtypes(cluster: str) -> list[str]:
    """Types that a job must have to use a cluster: ``["exotic"]``, or none.

    :raises ValueError: for an unknown cluster.
    """
    known = reference()
    _site_of_known(known, cluster)
    return ["exotic"] if known.data["clusters"][cluster].get("exotic") else []


def get_host_cluster(host: str | Host) -> str | None:
    """As its name says; None if that is not like the name of a node."""
    return cluster_of_name(host)


def get_host_site(host: str | Host) -> str | None:
    """As its name says, else where its cluster is; None if neither is known."""
    named = site_of_name(host)
    if named is not None:
        return named
    cluster = cluster_of_name(host)
    return None if cluster is None else get_cluster_site(cluster)


def get_host_longname(host: str | Host) -> str | None:
    """With the site and ``.grid5000.fr``; None if the site is not known."""
    site = get_host_site(host)
    return None if site is None else f"{address(host).partition('.')[0]}.{site}.grid5000.fr"


def group_hosts(hosts: Iterable[H]) -> dict[str | None, dict[str | None, list[H]]]:
    """``{site: {cluster: [host as it was given, ...]}}``; the key None is for what is unknown."""
    groups: dict[str | None, dict[str | None, list[H]]] = {}
    for host in hosts:
        groups.setdefault(get_host_site(host), {}).setdefault(get_host_cluster(canonical_host_name(host)), []).append(host)
    return groups


def get_site_network_equipments(site: str) -> list[str]:
    """Names of the switches and routers of a site; those of other sites may have the same.

    :raises ValueError: for an unknown site.
    """
    known = reference()
    return list(known.data["network"].get(_known_site(known, site), {}))


def get_host_network_equipments(host: str | Host) -> list[str]:
    """Names of the switches and routers that the Ethernet adapters of a host are connected to.  They are those of its site.

    :raises ValueError: for an unknown host.
    """
    try:
        adapters = get_host_attributes(host).get("network_adapters", [])
    except KeyError:
        raise ValueError(f"unknown g5k host {address(host)}") from None
    return sorted({adapter["switch"] for adapter in adapters if is_for_experiments(adapter)})


def is_for_experiments(adapter: Mapping[str, Any]) -> bool:
    """Whether an adapter is an Ethernet one that is connected, and neither for management nor without use."""
    return bool("Ethernet" in adapter.get("interface", "") and adapter.get("switch") and adapter.get("mountable")
                and not adapter.get("management"))


def get_cluster_network_equipments(cluster: str) -> list[str]:
    """Names of the switches and routers that the hosts of a cluster are connected to.  They are those of its site.

    :raises ValueError: for an unknown cluster.
    """
    return sorted({equipment for host in get_cluster_hosts(cluster) for equipment in get_host_network_equipments(host)})


def _site_of_equipment(known: Reference, equip: str, site: str | None) -> tuple[str, str | None]:
    """Its name, and its site: None for the backbone and for unknown ones."""
    name, _, rest = equip.partition(".")
    if rest:
        named = rest.removesuffix(".grid5000.fr")
        if site is not None and site != named:
            raise ValueError(f"network equipment {equip} is not one of site {site}")
        site = named
    sites = known.sites_of_equipment.get(name, [])
    if site is not None:
        return name, site if _known_site(known, site) in sites else None
    if len(sites) > 1:
        raise ValueError(f"there is a network equipment {name} in {', '.join(sites)}: say which, as in '{name}.{sites[0]}'")
    return name, sites[0] if sites else None


def get_network_equipment_site(equip: str) -> str | None:
    """Where a switch or router is; None for the backbone, and if it is unknown.

    :param equip: its name, with its site if there are several: ``gw.lyon``.
    :raises ValueError: for a name that several sites use, without site.
    """
    return _site_of_equipment(reference(), equip, None)[1]


def get_network_equipment_attributes(equip: str, site: str | None = None) -> dict[str, Any]:
    """As the API describes it.

    :param equip: its name, with its site if there are several: ``gw.lyon``.
    :param site: the same, apart.
    :raises KeyError: if it is unknown.
    :raises ValueError: for a name that several sites use, without site.
    """
    known = reference()
    name, found_site = _site_of_equipment(known, equip, site)
    if found_site is not None:
        attributes: dict[str, Any] = known.data["network"][found_site][name]
        return attributes
    for equipment in known.data["network"]["backbone"] if site is None else []:
        if equipment.get("uid") == equip:
            backbone: dict[str, Any] = equipment
            return backbone
    raise KeyError(equip)
