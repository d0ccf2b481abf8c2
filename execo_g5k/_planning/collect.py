"""Plannings of sites, from the databases of OAR or from the REST API, all sites at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from execo.log import logger
from execo.time_utils import format_date, get_unixts

from .._clock import now
from .._oar.database import is_installed
from ..charter import get_next_charter_period
from ..config import g5k_configuration
from .build import site_planning
from .elements import hosts_by_site, names_of
from .source_api import ApiSource, vlans_of_equipment
from .source_postgresql import PostgresqlSource
from .state import SourceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Literal

    from execo.time_utils import Date

    from .elements import Element
    from .intervals import Interval
    from .state import SiteState, Source

SOON = 60
"""Seconds until the start of a planning that has none: a request takes a while."""
FOUR_WEEKS = 4 * 7 * 86400 + 60
SOURCES = ("postgresql", "api")


def _as_seconds(date: Date) -> float:
    """Unix seconds, an int if they are whole, as all that OAR knows."""
    seconds = float(get_unixts(date))
    return int(seconds) if seconds == int(seconds) else seconds


def period_of(starttime: Date | None, endtime: Date | None) -> tuple[float, float]:
    """The dates of a planning.

    :raises ValueError: if the end is not after the start.
    """
    start = int(now()) + SOON if starttime is None else _as_seconds(starttime)
    end = start + FOUR_WEEKS if endtime is None else _as_seconds(endtime)
    if end <= start:
        raise ValueError(f"planning: the end, {format_date(end)}, is not after the start, {format_date(start)}")
    return start, end


def get_charter_el_planning(start_time: Date, end_time: Date) -> list[Interval]:
    """Periods of the charter's day time between two dates."""
    periods = []
    at: float = _as_seconds(start_time)
    last = _as_seconds(end_time)
    while at < last:
        begins, ends = get_next_charter_period(at, last)
        if begins is None or ends is None:
            break
        periods.append((_as_seconds(begins), _as_seconds(ends)))
        at = ends
    return periods


def sources_of(source: str | None) -> tuple[str, ...]:
    """Which to ask, in this order.

    :raises ValueError: for an unknown one.
    """
    chosen = source or g5k_configuration.get("planning_source")
    if chosen is None:
        return SOURCES if is_installed() else ("api",)
    if chosen not in SOURCES:
        raise ValueError(f"source of a planning: expected 'postgresql', 'api' or None, found {chosen!r}")
    return (chosen,)


class _Sources:
    """Those that are asked, each made when it is needed."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._api = ApiSource() if "api" in names else None

    def state(self, site: str, cores: bool) -> SiteState | None:
        """None: no source answered, and the log says so."""
        for name in self._names:
            source: Source = self._api if name == "api" and self._api is not None else PostgresqlSource()
            try:
                return source.state(site, cores)
            except SourceError as error:
                rest = self._names[self._names.index(name) + 1:]
                if rest:
                    logger.warning("planning of %s: OAR's database cannot be read (%s), asking the REST API", site, str(error))
                else:
                    logger.warning("planning: site %s is left out: %s", site, str(error))
        return None

    def close(self) -> None:
        if self._api is not None:
            self._api.close()


def get_planning(elements: Element | Iterable[Element] = ("grid5000",), vlan: bool = False, subnet: bool = False, storage: bool = False,
                 out_of_chart: bool = False, starttime: Date | None = None, endtime: Date | None = None, ignore_besteffort: bool = True,
                 queues: str | Iterable[str] | Literal[False] | None = "default", per: Literal["host", "core"] = "host",
                 source: Literal["postgresql", "api"] | None = None) -> dict[str, dict[str, Any]] | None:
    """When the hosts of sites and clusters are busy and free.

    :param elements: ``"grid5000"``, sites, clusters, hosts: one or several.
    :param vlan: with ``'vlans'``: those that can be reserved, routed and global ones, as ``kavlan-4``.
    :param subnet: with ``'subnets'``: as ``10.158.0.0/22``.
    :param storage: with ``'storage'``: the reservable disks of these hosts, as ``disk1.gros-1.nancy.grid5000.fr``.
    :param out_of_chart: hosts are busy in the charter's day time.
    :param starttime: None: in a minute.
    :param endtime: None: four weeks after the start.
    :param ignore_besteffort: jobs that give way to others do not count.
    :param queues: of the clusters of ``"grid5000"`` and of sites; None: all.  A cluster or a host that is named is meant, whatever its
      queues.
    :param per: ``"core"``: each host has ``'cores'`` too, which are busy and free on their own, by number of the cpuset.  A host is busy
      when any of its cores is.
    :param source: the databases of OAR (extra `postgresql`), or the REST API; None: ``g5k_configuration['planning_source']`` if it is set,
      else the databases if psycopg is installed, and the API for sites where they cannot be reached.
    :returns: ``{site: {cluster: {host: {'busy': [(start, end), ...], 'free': [(start, end), ...]}}, 'vlans': {'kavlan-4': {...}}, ...}}``
      in Unix seconds; None if an element is unknown (the log names it).  Without the hosts that cannot be reserved: dead, suspected,
      absent, or in maintenance; and without the sites that do not answer (a warning names them).  Jobs end 121 s after their walltime.
    :raises ValueError: if the end is not after the start, or for an unknown `per` or `source`.
    """
    if per not in ("host", "core"):
        raise ValueError(f"per: expected 'host' or 'core', found {per!r}")
    names = names_of(elements)
    start, end = period_of(starttime, endtime)
    order = sources_of(source)
    wanted, unknown = hosts_by_site(names, queues)
    if unknown or not names:
        logger.error("planning: no site, cluster or host is called so: %s", ", ".join(unknown) if names else "(nothing was given)")
        return None
    charter = get_charter_el_planning(start, end) if out_of_chart else []

    def of_site(site: str) -> dict[str, Any] | None:
        state = sources.state(site, per == "core")
        if state is None:
            return None
        if vlan and not state.vlans:
            state.vlans.extend(vlans_of_equipment(site))
        return site_planning(state, wanted[site], start, end, ignore_besteffort=ignore_besteffort, charter=charter,
                             per_core=per == "core", vlan=vlan, subnet=subnet, storage=storage)

    # A site without clusters, or with a scheduler of another kind, has no OAR to ask.
    sites = [site for site, clusters in wanted.items() if clusters]
    if not sites:
        return {}
    sources = _Sources(order)
    try:
        with ThreadPoolExecutor(len(sites), thread_name_prefix="planning") as threads:
            plannings = list(threads.map(of_site, sites))
    finally:
        sources.close()
    return {site: planning for site, planning in zip(sites, plannings, strict=True) if planning is not None}
