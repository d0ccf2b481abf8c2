"""Hosts by what they are: which ones there are, and the request to OAR for such ones."""

from __future__ import annotations

from .._oar.submission import OarSubmission
from .catalog import filter_clusters, queues_of
from .expression import Junction, parse, quoted_for_oar
from .fetch import natural
from .names import address, get_host_shortname
from .properties import PROPERTIES, Subject, primary_adapter
from .reference import Reference, reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from execo.host import Host

    from .catalog import Queues
    from .expression import Condition
    from .properties import Value

SAME = ("switch", "cluster", "site")
"""What hosts can be asked to share."""


def get_hosts_properties(hosts: Iterable[str | Host]) -> dict[str, dict[str, Value]]:
    """``{short name: {property: value}}``, of all properties that conditions on hosts know.

    :raises ValueError: for an unknown host.
    """
    known = reference()
    found: dict[str, dict[str, Value]] = {}
    for host in hosts:
        name = get_host_shortname(host)
        if name not in known.place_of_host:
            raise ValueError(f"unknown g5k host {address(host)}")
        found[name] = dict(_Facts(known, name).all())
    return found


def get_host_switch(host: str | Host) -> str | None:
    """The switch or router of the adapter that the host has its address at, which is what OAR means by ``switch``.

    :raises ValueError: for an unknown host.
    """
    known = reference()
    name = get_host_shortname(host)
    if name not in known.place_of_host:
        raise ValueError(f"unknown g5k host {address(host)}")
    return primary_adapter(known.data["hosts"][name]).get("switch")


class _Facts(dict[str, "Value"]):
    """Properties of a host, found when they are asked for."""

    def __init__(self, known: Reference, host: str) -> None:
        super().__init__()
        site, cluster = known.place_of_host[host]
        self._subject = Subject(known.data["hosts"][host], known.data["clusters"][cluster], site)

    def __missing__(self, name: str) -> Value:
        value = self[name] = PROPERTIES[name].of(self._subject)
        return value

    def all(self) -> Mapping[str, Value]:
        return {name: self[name] for name in PROPERTIES}


def get_g5k_hosts(queues: Queues = "default", where: str | None = None, n: int | None = None, same: str | None = None,
                  site: str | None = None) -> list[str]:
    """Short names of the hosts of the platform, or of those that are wanted.

    :param queues: as for `filter_clusters`.
    :param where: a condition: ``"cores >= 8 and memory >= 32GB"``.  The user guide has the language and the properties.
    :param n: so many of them; None: all.
    :param same: ``"switch"``, ``"cluster"`` or ``"site"``: all on the same one, the one with the most such hosts.
    :param site: only there.
    :raises ValueError: for a condition that cannot be read, an unknown site, or if there are not `n`.
    """
    return _chosen(reference(), queues, None if where is None else parse(where), where, n, same, site)[0]


def _candidates(known: Reference, queues: Queues, condition: Condition | None, site: str | None) -> list[str]:
    hierarchy: dict[str, dict[str, list[str]]] = known.data["hierarchy"]
    if site is not None and site not in hierarchy:
        raise ValueError(f"unknown g5k site {site}; there are {', '.join(hierarchy)}")
    clusters = filter_clusters([cluster for cluster, at in known.site_of_cluster.items() if site in (None, at)], queues)
    hosts = [host for cluster in clusters for host in hierarchy[known.site_of_cluster[cluster]][cluster]]
    return hosts if condition is None else [host for host in hosts if condition.holds(_Facts(known, host))]


def _chosen(known: Reference, queues: Queues, condition: Condition | None, where: str | None, n: int | None, same: str | None,
            site: str | None) -> tuple[list[str], int]:
    """The hosts, and how many there are to choose from."""
    if n is not None and n < 0:
        raise ValueError(f"number of hosts: expected one that is not negative, found {n!r}")
    if same is not None and same not in SAME:
        raise ValueError(f"hosts can be on the same {', '.join(SAME)}, not {same!r}")
    hosts = _candidates(known, queues, condition, site)
    what = f"hosts{f' of {site}' if site else ''}{f' with {where}' if where else ''}"
    if same is not None:
        groups: dict[tuple[str, Value], list[str]] = {}
        for host in hosts:
            facts = _Facts(known, host)
            if facts[same] is not None:
                groups.setdefault((known.place_of_host[host][0], facts[same]), []).append(host)
        hosts = max(groups.values(), key=len, default=[])
        what += f" on the same {same}"
    if n is not None and len(hosts) < n:
        raise ValueError(f"expected {n} {what}, found {len(hosts)}")
    return hosts[:n], len(hosts)


def get_oar_request(where: str | None = None, n: int = 1, same: str | None = None, walltime: Any = None, site: str | None = None,
                    queues: Queues = "default", **submission: Any) -> tuple[OarSubmission, str]:
    """A request for hosts that meet a condition, and the site that can meet it, as `oarsub` takes them in its list.

    :param where: as for `get_g5k_hosts`.
    :param n: how many hosts.
    :param same: ``"switch"``, ``"cluster"`` or ``"site"``.
    :param walltime: a duration.
    :param site: there; None: where there are most such hosts.
    :param queues: as for `filter_clusters`; of several the first that has enough such hosts, ``default`` first if all may be used.
    :param submission: more of `execo_g5k.oar.OarSubmission`.
    :raises ValueError: as `get_g5k_hosts`; for n less than 1.

    What OAR has no property for is said by the names of the clusters and hosts that meet it.  The job type ``exotic`` is added only if
    there are not enough others.
    """
    if n < 1:
        raise ValueError(f"number of hosts: expected at least 1, found {n!r}")
    known = reference()
    condition = None if where is None else parse(where)
    types = _job_types(submission.pop("job_type", None))
    chosen_queue, exotic, chosen_site = _place(known, queues, condition, where, n, same, site, "exotic" in types)
    if exotic:
        types.append("exotic")
    sql = "" if condition is None else condition.sql(lambda comparison: _by_names(known, comparison, chosen_site, chosen_queue))
    if isinstance(condition, Junction) and condition.word == "and":
        sql = sql[1:-1]         # of `or` they stay: not all rules of all sites put what they add behind parentheses
    levels = f"/{same}=1" if same in ("switch", "cluster") else ""
    queue = submission.pop("queue", None) or (None if chosen_queue == "default" else chosen_queue)
    resources = f"{{{sql}}}{levels}/host={n}" if sql else f"{levels}/host={n}"
    return OarSubmission(resources, walltime, job_type=types or None, queue=queue, **submission), chosen_site


def _place(known: Reference, queues: Queues, condition: Condition | None, where: str | None, n: int, same: str | None, site: str | None,
           exotic: bool) -> tuple[str, bool, str]:
    """The queue and the site that have such hosts, and whether it takes a job type that is not there already: no job has two queues."""
    plain = parse("not exotic" if where is None else f"({where}) and not exotic")
    for queue in _queue_names(known, queues):
        for tried in (condition,) if exotic else (plain, condition):
            try:
                hosts, at = _at_one_site(known, queue, tried, where, n, same, site)
            except ValueError:
                continue
            return queue, tried is condition and not exotic and any(_Facts(known, host)["exotic"] for host in hosts), at
    _at_one_site(known, queues, condition, where, n, same, site)        # says what is missing
    raise ValueError(f"{n} hosts{f' with {where}' if where else ''} are there in several queues together, but in none of them")


def _queue_names(known: Reference, queues: Queues) -> list[str]:
    """Each for itself, the usual one first."""
    every = {queue for cluster in known.data["clusters"].values() for queue in queues_of(cluster)} - {"admin", "besteffort"}
    names = [queues] if isinstance(queues, str) else list(queues) if queues else sorted(every, key=lambda name: (name != "default", name))
    return list(dict.fromkeys("production" if name == "abaca" else name for name in names))


def _at_one_site(known: Reference, queues: Queues, condition: Condition | None, where: str | None, n: int, same: str | None,
                 site: str | None) -> tuple[list[str], str]:
    _, available = _chosen(known, queues, condition, where, n, same or "site", site)
    hosts, _ = _chosen(known, queues, condition, where, available, same or "site", site)
    return hosts, known.place_of_host[hosts[0]][0]


def _job_types(given: str | Iterable[str] | None) -> list[str]:
    return [] if given is None else [given] if isinstance(given, str) else list(given)


def _by_names(known: Reference, comparison: Condition, site: str, queues: Queues) -> str:
    """A comparison in SQL, by the clusters of a site that meet it as a whole, and single hosts of others."""
    hosts = set(_candidates(known, queues, comparison, site))
    clusters: dict[str, list[str]] = known.data["hierarchy"][site]
    whole = [cluster for cluster, members in clusters.items() if members and hosts.issuperset(members)]
    rest = sorted(hosts.difference(*(clusters[cluster] for cluster in whole)), key=natural)
    terms = []
    if whole:
        terms.append(f"cluster IN ({', '.join(map(quoted_for_oar, whole))})")
    if rest:
        terms.append(f"host IN ({', '.join(quoted_for_oar(f'{host}.{site}.grid5000.fr') for host in rest)})")
    if not terms:
        return "cluster = 'none'"
    return terms[0] if len(terms) == 1 else f"({' OR '.join(terms)})"
