"""What OAR on a site knows: its resources and the jobs that hold or will hold them, whichever source tells it.  Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Protocol

    class Source(Protocol):
        """Where the states of sites come from."""

        def state(self, site: str, cores: bool) -> SiteState:
            """What OAR of a site knows now.

            :param cores: with the cores of jobs, not their hosts alone.
            :raises SourceError: if it cannot be asked.
            """

STANDBY = 2147483646
"""`available_upto` of a resource that is Absent because it was powered off to save energy: OAR powers it on for a job."""
FIRST_ROUTED, FIRST_GLOBAL = 4, 10
"""VLAN ids: below, local to a site and not planned; from the second on, one for each site that spans all sites."""


class SourceError(Exception):
    """A source of planning data does not answer, or not with what is expected."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a job holds, from `start` on; dates are Unix seconds."""

    job_id: int
    queue: str
    start: float
    walltime: float
    hosts: Sequence[str] = ()
    """Addresses."""
    cores: Sequence[str] = ()
    """``address/cpuset``; empty if they were not asked for."""
    vlans: Sequence[str] = ()
    subnets: Sequence[str] = ()
    disks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SiteState:
    """What can be reserved, and the jobs that have not ended and have a start, or a predicted one."""

    hosts: dict[str, list[str]] = field(default_factory=dict)
    """{address: its cores, as numbers of cpusets}."""
    vlans: list[str] = field(default_factory=list)
    subnets: list[str] = field(default_factory=list)
    disks: dict[str, str] = field(default_factory=dict)
    """{``disk1.gros-1.nancy.grid5000.fr``: address of its host}."""
    jobs: list[Job] = field(default_factory=list)


def vlan_name(vlan: str) -> str:
    return f"kavlan-{vlan}"


def subnet_name(address: str, prefix: object) -> str:
    return f"{address}/{prefix}"


def disk_name(disk: str, host: str) -> str:
    """``disk1.gros-1.nancy.grid5000.fr``, as the REST API calls what OAR calls ``disk1.gros-1`` on ``gros-1.nancy.grid5000.fr``."""
    return f"{disk.partition('.')[0]}.{host}"


def can_be_reserved(row: Mapping[str, Any]) -> bool:
    """Whether OAR gives a resource to jobs to come: not if it is dead, suspected, in maintenance, or absent but for energy saving."""
    state = row["state"]
    return (state == "Alive" or (state == "Absent" and row.get("available_upto") == STANDBY)) and row.get("maintenance") != "YES"


def _planned_vlan(row: Mapping[str, Any]) -> str | None:
    vlan = row.get("vlan")
    text = "" if vlan is None else str(vlan)
    return text if text.isdecimal() and int(text) >= FIRST_ROUTED else None


def state_of_rows(rows: Iterable[Mapping[str, Any]], jobs: list[Job]) -> SiteState:
    """The state of a site.

    :param rows: of OAR's table of resources, by column; columns that a site does not have may be missing.
    """
    state = SiteState(jobs=jobs)
    hosts = state.hosts
    for row in rows:
        if not can_be_reserved(row):
            continue
        kind = row["type"]
        if kind == "default":
            address = row["network_address"]
            if address in hosts:
                hosts[address].append(row.get("cpuset", ""))
            elif address:
                hosts[address] = [row.get("cpuset", "")]
        elif kind == "disk" and row.get("disk") and row.get("host"):
            state.disks[disk_name(row["disk"], row["host"])] = row["host"]
        elif kind == "subnet" and row.get("subnet_address"):
            state.subnets.append(subnet_name(row["subnet_address"], row.get("subnet_prefix")))
        elif kind.startswith("kavlan") and (vlan := _planned_vlan(row)) is not None:
            state.vlans.append(vlan)
    for address, cores in hosts.items():
        hosts[address] = [str(core) for core in cores if core != ""]        # some servers give numbers
    return state
