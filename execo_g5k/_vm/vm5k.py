"""What scripts of vm5k, the home of these functions after execo 2.2, call beside them: reservations, room for VMs, hosts that reboot."""

from __future__ import annotations

import time
from xml.etree import ElementTree

from execo.action import Remote
from execo.host import Host
from execo.log import logger, style
from execo.time_utils import get_seconds, sleep

from .._planning.state import FIRST_GLOBAL
from .actions import _hosts, get_capacities, start_vms
from .description import checked_vms
from .placement import VCPUS_BY_CORE, place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from execo.time_utils import Duration

    from .description import VM
    from .domain import Hypervisor
    from .placement import Capacities
    from .remote import VMAction

    Params = Mapping[str, Any] | None

PAUSE = 1.0
"""Seconds between two looks at hosts."""
LOGIN_TIMEOUT = 10
"""Seconds that a host has to let us in."""


# reservations


def get_oar_job_vm5k_resources(jobs: Iterable[tuple[int, str]], frontend_connection_params: Params = None) -> dict[str, dict[str, Any]]:
    """What jobs have for VMs, after waiting for their start.

    :param jobs: pairs (job id, site).
    :returns: ``{site: {"hosts": [address, ...], "ip_mac": [(ip, mac), ...], "kavlan": id or None}}``; the addresses are those of the VLAN,
      else of the subnets.  A global VLAN, with its addresses, is in ``"global": {"kavlan": id, "ip_mac": [...]}``, and not with its site.
    :raises OarError: if a job has ended, or OAR does not answer.
    """
    from ..oar import get_oar_job_kavlan, get_oar_job_nodes, get_oar_job_subnets
    from ..utils import get_kavlan_ip_mac

    found: dict[str, dict[str, Any]] = {}
    for job_id, site in jobs:
        hosts = [host.address for host in get_oar_job_nodes(job_id, site, frontend_connection_params)]
        here = found.setdefault(site, {"hosts": [], "ip_mac": [], "kavlan": None})
        here["hosts"] += [address for address in hosts if address not in here["hosts"]]
        vlans = get_oar_job_kavlan(job_id, site, frontend_connection_params)
        if vlans:
            place_of_it = found.setdefault("global", {}) if vlans[0] >= FIRST_GLOBAL else here
            place_of_it.update(kavlan=vlans[0], ip_mac=get_kavlan_ip_mac(vlans[0], site))
        elif here["kavlan"] is None:
            here["ip_mac"] += get_oar_job_subnets(job_id, site, frontend_connection_params)[0]
    return found


def get_oargrid_job_vm5k_resources(oargrid_job_id: int, frontend_connection_params: Params = None) -> dict[str, dict[str, Any]]:
    """As `get_oar_job_vm5k_resources`, of all jobs that `oarsubgrid` submitted together."""
    from ..oar import get_oar_grid_jobs

    jobs = [(job_id, str(site)) for job_id, site in get_oar_grid_jobs(oargrid_job_id)]
    return get_oar_job_vm5k_resources(jobs, frontend_connection_params)


# room


def get_CPU_RAM_FLOPS(hosts: Iterable[Host | str] | Host | str) -> dict[str, dict[str, float]]:
    """``{address: {"CPU": cores, "RAM": MiB, "FLOPS": of all its cores}, "TOTAL": sums}`` of nodes of Grid'5000, from its reference API."""
    from ..api_utils import get_host_attributes

    found: dict[str, dict[str, float]] = {}
    for address, (cores, memory) in get_capacities(hosts).items():
        flops = get_host_attributes(address).get("performance", {}).get("node_flops") or 0
        found[address] = {"CPU": cores, "RAM": memory, "FLOPS": flops}
    found["TOTAL"] = {key: sum(host[key] for host in found.values()) for key in ("CPU", "RAM", "FLOPS")}
    return found


def get_max_vms(hosts: Iterable[Host | str] | Host | str, mem: int = 512, n_cpu: int = 1, capacities: Capacities | None = None) -> int:
    """How many VMs of this size `distribute_vms` finds room for.

    :param mem: MiB.
    :param capacities: as for `distribute_vms`.
    """
    if mem < 1 or n_cpu < 1:
        raise ValueError(f"expected mem and n_cpu of 1 or more, found {mem!r} and {n_cpu!r}")
    addresses = [host.address for host in _hosts(hosts)]
    known = get_capacities(addresses) if capacities is None else capacities
    return sum(int(min(known[address][0] * VCPUS_BY_CORE // n_cpu, known[address][1] // mem)) for address in addresses)


def get_vms_slot(vms: Iterable[VM], elements: Iterable[str] | str, slots: Iterable[Sequence[Any]],
                 excluded_elements: Iterable[str] | str | None = None) -> tuple[float, float, dict[str, int]] | tuple[None, None, None]:
    """The first slot in which the free hosts have room for all VMs.

    :param elements: sites and clusters, or ``"grid5000"``.
    :param slots: of `execo_g5k.planning.compute_slots`.
    :param excluded_elements: sites and clusters that are not to be used.
    :returns: (start, end, {cluster: hosts that are needed}); (None, None, None) if there is no such slot.  The VMs are not changed.
    :raises ValueError: for an unknown element.
    """
    guests = [dict(vm) for vm in checked_vms(vms, placed=False)]
    excluded = set(_clusters(excluded_elements)) if excluded_elements is not None else set()
    rooms = {cluster: _least(cluster) for cluster in _clusters(elements) if cluster not in excluded}
    cpus, memory = sum(vm["n_cpu"] for vm in guests), sum(vm["mem"] for vm in guests)
    for start, end, free in slots:
        there = {cluster: int(free.get(cluster, 0)) for cluster in rooms}
        if (sum(number * rooms[cluster][0] for cluster, number in there.items()) * VCPUS_BY_CORE < cpus
                or sum(number * rooms[cluster][1] for cluster, number in there.items()) < memory):
            continue
        hosts = {f"{cluster}-{index + 1}": cluster for cluster, number in there.items() for index in range(number)}
        try:
            place(guests, hosts, {host: rooms[cluster] for host, cluster in hosts.items()}, "concentrated")
        except ValueError:          # there is enough in all, but not on single hosts
            continue
        used = [hosts[host] for host in dict.fromkeys(vm["host"] for vm in guests)]
        return start, end, {cluster: used.count(cluster) for cluster in dict.fromkeys(used)}
    return None, None, None


def _clusters(elements: Iterable[str] | str) -> list[str]:
    from ..api_utils import get_g5k_clusters, get_g5k_sites, get_site_clusters

    found: list[str] = []
    for element in [elements] if isinstance(elements, str) else elements:
        if element == "grid5000":
            found += get_g5k_clusters()
        elif element in get_g5k_sites():
            found += get_site_clusters(element)
        elif element in get_g5k_clusters(None):
            found.append(element)
        else:
            raise ValueError(f"expected sites, clusters or 'grid5000', found {element!r}")
    return list(dict.fromkeys(found))


def _least(cluster: str) -> tuple[float, float]:
    """(cores, MiB) that each host of a cluster has."""
    from ..api_utils import get_cluster_hosts

    rooms = get_capacities(get_cluster_hosts(cluster)).values()
    return min(cores for cores, _memory in rooms), min(memory for _cores, memory in rooms)


# VMs


def activate_vms(vms: Iterable[VM], dest: Host | str, connection_params: Params = None) -> Remote:
    """Send pings from inside of each VM, so that switches and ARP tables learn where they are; runs at once.

    :param dest: to which.
    :param connection_params: how the VMs are reached from here.
    :raises ValueError: for a VM without ip.
    """
    guests = checked_vms(vms, placed=False)
    if homeless := [vm["id"] for vm in guests if vm.get("ip") is None]:
        raise ValueError(f"VMs without ip: {', '.join(homeless)}")
    return Remote(f"ping -c 3 {Host(dest).address}", [str(vm["ip"]) for vm in guests], connection_params).run()


def restart_vms(vms: Iterable[VM], hypervisor: Hypervisor | None = None, connection_params: Params = None) -> VMAction:
    """Start those that do not run; runs at once."""
    return start_vms(vms, hypervisor, connection_params).run()


# hosts


def wait_hosts_up(hosts: Iterable[Host | str] | Host | str, timeout: Duration = 300, connection_params: Params = None) -> bool:
    """Whether one can log in to all of them within the time; the log names the others."""
    return _wait_hosts("up", hosts, timeout, connection_params, lambda said: said is not None)


def wait_hosts_down(hosts: Iterable[Host | str] | Host | str, timeout: Duration = 300, connection_params: Params = None) -> bool:
    """Whether one can log in to none of them any more within the time; the log names the others."""
    return _wait_hosts("down", hosts, timeout, connection_params, lambda said: said is None)


def reboot_hosts(hosts: Iterable[Host | str] | Host | str, timeout: Duration = 600, connection_params: Params = None,
                 command: str = "reboot") -> bool:
    """Reboot them, and wait until one can log in again: whether that was so, of all, within the time; the log names the others.

    :param command: that reboots a host.
    """
    machines = _hosts(hosts)
    before = _boots(machines, connection_params)
    # From a process of its own, so that the connection ends first, and in good order; with a terminal, its end is a hangup.
    Remote(f"trap '' HUP; (sleep 1; {command}) >/dev/null 2>&1 </dev/null &", machines, connection_params,
           {"timeout": LOGIN_TIMEOUT, "nolog_exit_code": True, "nolog_error": True}).run()
    end = time.monotonic() + get_seconds(timeout)
    waiting = [host for host in machines if before[host.address] is not None]
    if strangers := [host.address for host in machines if host not in waiting]:
        logger.warning("reboot: no login on %s", ", ".join(strangers))
    waiting = _wait(waiting, end, connection_params, lambda host, said: said is not None and said != before[host.address])
    if waiting:
        logger.warning("reboot: not back within %s s: %s", timeout, ", ".join(host.address for host in waiting))
    return not waiting and not strangers


def _wait_hosts(what: str, hosts: Iterable[Host | str] | Host | str, timeout: Duration, connection_params: Params,
                done: Callable[[str | None], bool]) -> bool:
    end = time.monotonic() + get_seconds(timeout)
    waiting = _wait(_hosts(hosts), end, connection_params, lambda _host, said: done(said))
    if waiting:
        logger.warning("not %s within %s s: %s", what, timeout, ", ".join(host.address for host in waiting))
    return not waiting


def _wait(hosts: list[Host], end: float, connection_params: Params, done: Callable[[Host, str | None], bool]) -> list[Host]:
    """Those of which it is not so until then; they are asked at least once."""
    while hosts:
        boots = _boots(hosts, connection_params)
        hosts = [host for host in hosts if not done(host, boots[host.address])]
        if not hosts or time.monotonic() + PAUSE > end:
            break
        sleep(PAUSE)
    return hosts


def _boots(hosts: Sequence[Host], connection_params: Params) -> dict[str, str | None]:
    """{address: what is different after each boot; None: no login}."""
    # In a container, the number of the boot is that of the machine: there the start of its first process tells.
    ask = Remote("cat /proc/sys/kernel/random/boot_id; sed 's/.*)//' /proc/1/stat | cut -d ' ' -f 21", hosts, connection_params,
                 {"timeout": LOGIN_TIMEOUT, "nolog_exit_code": True, "nolog_error": True, "nolog_timeout": True}).run()
    return {process.host.address: process.stdout.strip() if process.ok else None for process in ask.processes}


# words


def print_step(step_desc: str | None = None) -> None:
    """Log the name of a step, so that it is seen."""
    logger.info("%s", style.emph(f"* {step_desc} *" if step_desc else "* next step *"))


def prettify(elem: ElementTree.Element) -> str:
    """The text of an element of XML, indented; the element stays as it is."""
    copy = ElementTree.fromstring(ElementTree.tostring(elem))
    ElementTree.indent(copy)
    return ElementTree.tostring(copy, encoding="unicode") + "\n"
