"""Which virtual machine runs on which host: pure."""

from __future__ import annotations

import random

from execo.host import Host

from .description import checked_vms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeAlias

    from .description import VM

    Capacities: TypeAlias = Mapping[str, tuple[float, float]]

VCPUS_BY_CORE = 3
"""So many virtual processors share a core."""
DISTRIBUTIONS = ("round-robin", "concentrated", "random", "n_by_hosts")


def place(vms: Iterable[VM], hosts: Iterable[Host | str], capacities: Capacities, distribution: str = "round-robin",
          rng: random.Random | None = None) -> list[VM]:
    """Set the host of each VM, within memory and cores of the hosts.

    :param capacities: {address: (cores, MiB of memory)} of each host; not asked for by "n_by_hosts".
    :returns: those that have a host: all, but with "n_by_hosts" len(vms) // len(hosts) for each host, and the rest dropped.
    :raises ValueError: if they do not fit, naming the first VM that does not; no VM was changed then.
    """
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"distribution: expected one of {', '.join(DISTRIBUTIONS)}, found {distribution!r}")
    guests = checked_vms(vms, placed=False)
    addresses = list(dict.fromkeys(Host(host).address for host in hosts))
    if not addresses:
        raise ValueError(f"no host for {len(guests)} VMs")
    if distribution == "n_by_hosts":
        each = len(guests) // len(addresses)
        chosen = [address for address in addresses for _ in range(each)]
    else:
        if missing := [address for address in addresses if address not in capacities]:
            raise ValueError(f"capacities: nothing about {', '.join(missing)}")
        chosen = _fit(guests, {address: capacities[address] for address in addresses}, distribution, rng or random.Random())
    for vm, address in zip(guests, chosen, strict=False):
        vm["host"] = address
    return guests[:len(chosen)]


def _fit(vms: list[VM], capacities: Capacities, distribution: str, rng: random.Random) -> list[str]:
    room = {address: [cores * VCPUS_BY_CORE, memory] for address, (cores, memory) in capacities.items()}
    addresses = list(room)
    chosen: list[str] = []
    turn = 0
    for vm in vms:
        needs: Any = (vm["n_cpu"], vm["mem"])
        fits: Callable[[str], bool] = lambda address: all(has >= need for has, need in zip(room[address], needs, strict=True))  # noqa: B023, E731
        if distribution == "random":
            candidates = [address for address in addresses if fits(address)]
            found = rng.choice(candidates) if candidates else None
        else:
            # "concentrated" stays on a host until something does not fit; what is smaller may still go to an earlier one.
            start = turn if distribution == "round-robin" else 0
            order = [(start + step) % len(addresses) for step in range(len(addresses))]
            at = next((index for index in order if fits(addresses[index])), None)
            found = None if at is None else addresses[at]
            turn = turn if at is None else at + 1
        if found is None:
            raise ValueError(f"no room for {len(vms)} VMs on {len(addresses)} hosts: {vm['id']} ({vm['n_cpu']} cpu, {vm['mem']} MiB)"
                             f" is the first that fits nowhere, after {len(chosen)} others")
        room[found] = [has - need for has, need in zip(room[found], needs, strict=True)]
        chosen.append(found)
    return chosen
