"""The platform of the box: three sites, six clusters, forty nodes, all invented; peculiarities are those of Grid'5000 in 2026."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
GIGABIT = 10**9


@dataclass(frozen=True)
class Site:
    """A site; `index` numbers its networks."""

    name: str
    index: int
    global_kavlan: int
    latitude: float
    longitude: float


@dataclass(frozen=True)
class Cpu:
    vendor: str
    model: str
    version: str
    microarchitecture: str
    clock: int
    """Hz."""
    platform: str = "x86_64"
    virtual: str | bool = "ivt"


@dataclass(frozen=True)
class Cluster:
    """Its nodes are numbered from 1 to `size`, but those in `gone` have been retired."""

    name: str
    site: str
    size: int
    queues: tuple[str, ...]
    model: str
    year: int
    cpu: Cpu
    cpus: int
    """For each node."""
    cores: int
    """For each CPU."""
    ram: int
    """GiB."""
    rate: int
    """Gbit/s of eth0."""
    switches: tuple[tuple[str, int], ...]
    """(name, how many machines are plugged in), in the order of the numbers of the nodes."""
    gone: tuple[int, ...] = ()
    exotic: bool = False
    gpus: int = 0
    reservable_disks: int = 0
    infiniband: str | None = None
    """Name of the switch."""
    wattmeter: bool = False
    power_strip: bool = False
    eth1: bool = False
    """A second interface, in the VLANs too."""
    max_walltime: int = 0
    """Seconds; 0: none."""

    @property
    def numbers(self) -> list[int]:
        return [number for number in range(1, self.size + 1) if number not in self.gone]


SITES = (
    Site("lyon", 1, 13, 45.76, 4.84),
    Site("nancy", 2, 14, 48.69, 6.18),
    Site("rennes", 3, 16, 48.11, -1.68),
)
OTHER_SCHEDULER = Site("bordeaux", 4, 23, 44.81, -0.59)
"""Has neither clusters nor VLANs; its scheduler is Slurm."""

_OLD = Cpu("Intel", "Intel Xeon", "E5-2620 v4", "Broadwell", 2_100_000_000)
_NEW = Cpu("Intel", "Intel Xeon", "Gold 5218", "Cascade Lake-SP", 2_300_000_000)
_AMD = Cpu("AMD", "AMD EPYC", "7313", "Zen 3", 3_000_000_000, virtual="amd-v")
_ARM = Cpu("Cavium", "ThunderX2", "99xx", "Vulcan", 2_000_000_000, "aarch64", "arm64")

DEFAULT, PRODUCTION, TESTING = ("default", "admin"), ("production", "abaca", "admin"), ("testing", "admin")

CLUSTERS = (
    Cluster("saone", "lyon", 8, DEFAULT, "Dell PowerEdge R730", 2016, _OLD, 2, 4, 32, 10, (("sw-1", 8),),
            wattmeter=True, eth1=True),
    Cluster("rhone", "lyon", 2, DEFAULT, "GIGABYTE R181-T90", 2020, _ARM, 1, 16, 256, 25, (("gw", 2),),
            exotic=True, gpus=1, infiniband="ib-1"),
    Cluster("meurthe", "nancy", 14, DEFAULT, "Dell PowerEdge R640", 2019, _NEW, 1, 4, 96, 25, (("sw-1", 10), ("sw-2", 4)),
            gone=(5, 9), reservable_disks=2, power_strip=True, eth1=True),
    Cluster("moselle", "nancy", 6, PRODUCTION, "Dell PowerEdge R7525", 2022, _AMD, 2, 4, 128, 25, (("sw-2", 6),),
            gpus=2, max_walltime=86400),
    Cluster("vilaine", "rennes", 8, DEFAULT, "Dell PowerEdge R630", 2015, _OLD, 2, 2, 64, 10, (("c6509", 8),), reservable_disks=1),
    Cluster("ille", "rennes", 4, TESTING, "HPE ProLiant DL385", 2026, _AMD, 1, 4, 64, 10, (("gw", 4),)),
)
