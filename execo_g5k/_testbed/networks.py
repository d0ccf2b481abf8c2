"""VLANs and subnets of a reservation."""

from __future__ import annotations

from .._oar.jobs import get_oar_job_kavlan, get_oar_job_subnets
from ..utils import get_kavlan_ip_mac, get_kavlan_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from .._oar.submission import OarSubmission

GLOBAL = "kavlan-global"
VLANS = ("kavlan", "kavlan-local", GLOBAL)
SUBNETS = tuple(f"slash_{size}" for size in range(16, 23))


def checked_vlan(vlan: str | None) -> str | None:
    """:raises ValueError: for a type that there is not."""
    if vlan is not None and vlan not in VLANS:
        raise ValueError(f"G5kTestbed: vlan: expected one of {', '.join(VLANS)}, found {vlan!r}")
    return vlan


def checked_subnets(subnets: Mapping[str, int] | None) -> dict[str, int]:
    """:raises ValueError: for sizes that there are not, or no numbers."""
    wanted: dict[str, Any] = dict(subnets or {})
    for size, number in wanted.items():
        if size not in SUBNETS or isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"G5kTestbed: subnets: expected numbers of {', '.join(SUBNETS)}, found {subnets!r}")
    return wanted


def add_networks(specs: Sequence[tuple[OarSubmission, str]], vlan: str | None, subnets: Mapping[str, int]) -> None:
    """Each site has a VLAN and the subnets, in the first of its jobs; a global VLAN is for all sites."""
    seen: set[str] = set()
    for spec, site in specs:
        more = []
        if site not in seen:
            more += [f"{size}={number}" for size, number in subnets.items()]
            if vlan is not None and not (vlan == GLOBAL and seen):
                more.append(f"{{type='{vlan}'}}/vlan=1")
        seen.add(site)
        spec.resources = "+".join([*more, str(spec.resources)])


def get_vlans(jobs: Iterable[tuple[int, str]], vlan: str | None, params: Mapping[str, Any] | None) -> dict[str, int]:
    """{site: id}, of running jobs.

    :raises OarError: if OAR does not answer.
    :raises RuntimeError: if it names none.
    """
    if vlan is None:
        return {}
    jobs = list(jobs)
    found: dict[str, int] = {}
    for job_id, site in jobs:
        numbers = [] if site in found else get_oar_job_kavlan(job_id, site, params)
        if numbers:
            found[site] = numbers[0]
    if vlan == GLOBAL and found:
        found = dict.fromkeys((site for _, site in jobs), next(iter(found.values())))
    lacking = [f"job {job_id} on {site}" for job_id, site in jobs if site not in found]
    if lacking:
        raise RuntimeError(f"OAR names no VLAN of {', '.join(lacking)}")
    return found


def get_addresses(jobs: Iterable[tuple[int, str]], vlans: Mapping[str, int], vlan: str | None, subnets: Mapping[str, int],
                  params: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """(IP address, hardware address) for virtual machines: those of the VLANs, else of the subnets.

    :raises OarError: if OAR does not answer.
    """
    if vlan is not None:
        # a global one is described where it comes from
        described = [(number, site) for site, number in vlans.items() if get_kavlan_network(number, site)[0] is not None]
        return [pair for number, site in (described[:1] if vlan == GLOBAL else described) for pair in get_kavlan_ip_mac(number, site)]
    if not subnets:
        return []
    return [pair for job_id, site in jobs for pair in get_oar_job_subnets(job_id, site, params)[0]]
