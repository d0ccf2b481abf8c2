"""kavlan: nodes into VLANs, and VLANs of jobs."""

from __future__ import annotations

from execo.hostset import expand

from ..rest_vlans import NONE
from .call import USAGE, last, short_options
from .options import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .call import Call
    from .service import Kadeploy


def kavlan(kadeploy: Kadeploy, call: Call) -> int:
    """VLANs of a job, of nodes; nodes into a VLAN."""
    get, _ = short_options(call, "i:j:m:f:F:u:C:c:k:slgVrdevqh", (
        "vlan-id=", "oar-jobid=", "machine=", "filename=", "user=", "set-vlan", "get-nodelist", "get-vlan", "show-vlan-id", "disable-dhcp",
        "enable-dhcp", "verbose", "quiet", "help", "version"),
        {"i": "vlan-id", "j": "oar-jobid", "m": "machine", "f": "filename", "F": "filename", "u": "user", "s": "set-vlan",
         "l": "get-nodelist", "g": "get-vlan", "V": "show-vlan-id", "r": "show-vlan-id", "d": "disable-dhcp", "e": "enable-dhcp",
         "h": "help", "q": "quiet"})
    if get("help"):
        call.out(USAGE.format("kavlan"))
        return 0
    if get("show-vlan-id"):
        call.out("".join(f"{vlan}\n" for vlan in _vlans_of_job(kadeploy, call, get)))
        return 0
    nodes = [node for text in get("machine") for node in expand(text)]
    for file in get("filename"):
        nodes += call.read(file).split()
    nodes = list(dict.fromkeys(nodes))
    api = kadeploy.vlans.of(kadeploy.site)
    if get("get-vlan"):
        _check_machines(kadeploy, nodes)
        call.out("".join(f"{node} : {_shown(api.vlan_of(node))}\n" for node in nodes))
        return 0
    vlan = last(get("vlan-id")) or _vlans_of_job(kadeploy, call, get)[0]
    if vlan not in api.types:
        raise Failure(1, f"kavlan: Vlan {vlan} does not exist")
    if get("get-nodelist"):
        call.out("".join(f"{node}\n" for node in api.interfaces_in(vlan)))
    elif get("set-vlan"):
        _set_vlan(kadeploy, call, nodes, vlan, bool(get("quiet")))
    elif get("enable-dhcp") or get("disable-dhcp"):
        if vlan == NONE:
            raise Failure(1, f"kavlan: the DHCP server of {NONE} is for all")
        if problem := kadeploy.vlans.problem(kadeploy.site, kadeploy.oar.user, vlan, []):
            raise Failure(1, f"kavlan: {problem}")
        api.dhcp[vlan] = bool(get("enable-dhcp"))
        if not get("quiet"):
            call.out(f"the DHCP server of the vlan {vlan} is {'enabled' if api.dhcp[vlan] else 'disabled'}\n")
    else:
        raise Failure(1, "kavlan: no action: one of -s, -g, -l, -V, -e, -d")
    return 0


def _check_machines(kadeploy: Kadeploy, nodes: Sequence[str]) -> None:
    known = kadeploy.vlans.of(kadeploy.site).interfaces
    if not nodes:
        raise Failure(1, "kavlan: no node is given: -m or -f")
    if unknown := [node for node in nodes if node not in known]:
        raise Failure(1, f"kavlan: Unknown node '{unknown[0]}'")


def _set_vlan(kadeploy: Kadeploy, call: Call, nodes: Sequence[str], vlan: str, quiet: bool) -> None:
    _check_machines(kadeploy, nodes)
    vlans, site = kadeploy.vlans, kadeploy.site
    if problem := vlans.problem(site, kadeploy.oar.user, vlan, nodes):
        raise Failure(1, f"kavlan: {problem}")
    said = vlans.of(site).put(nodes, vlan)
    if not quiet:
        words = {"success": "changed to vlan", "unchanged": "already in vlan"}
        call.out("".join(f" ... node {node} {words[said[node]['status']]} {_shown(vlan)}\n" for node in nodes))
        call.out(f"all nodes are configured in the vlan {vlan}\n")


def _vlans_of_job(kadeploy: Kadeploy, call: Call, get: Callable[[str], list[str]]) -> list[str]:
    number = (get("oar-jobid") or [call.job])[-1]
    job = next((job for job in kadeploy.oar.jobs() if str(job["uid"]) == number), None)
    if job is None or job["state"] not in ("running", "launching"):
        raise Failure(1, f"kavlan: no job {number} that runs")
    vlans = [str(vlan) for vlan in job.get("resources_by_type", {}).get("vlans", ())]
    if not vlans:
        call.out("no vlan found\n")
        raise Failure(1, "kavlan: the job has no VLAN")
    return sorted(vlans, key=int)


def _shown(vlan: str) -> str:
    return vlan if vlan == NONE else f"KAVLAN-{vlan}"
