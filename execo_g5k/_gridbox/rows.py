"""The resources of a site as its OAR lists them, from the reference."""

from __future__ import annotations

from .machines import fqdn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

SUBNETS = 16
"""Of the 256 /22 that a site has, those that the box offers."""
FOREVER = 2147483647


def _yes(fact: object) -> str:
    return "YES" if fact else "NO"


def number_of(uid: str) -> int:
    return int(uid.rpartition("-")[2])


class _Counter:
    def __init__(self) -> None:
        self.id = self.cpu = self.core = self.gpu = 0


def oar_rows(described: Json) -> list[Json]:
    """One for each core, reservable disk, VLAN and /22 subnet of a site, with ids from 1.

    :param described: the site, as `execo_g5k._gridbox.reference.Reference.sites` holds it.
    """
    site, count = described["site"], _Counter()
    rows: list[Json] = []

    def add(row: Json) -> None:
        count.id += 1
        rows.append({"id": count.id, "resource_id": count.id, **row})

    for name, nodes in described["nodes"].items():
        for uid in sorted(nodes, key=number_of):
            common = _node_properties(described["clusters"][name], nodes[uid], site["uid"])
            for row in _cores(common, nodes[uid], count):
                add(row)
            for disk in nodes[uid]["storage_devices"]:
                if disk.get("reservation"):
                    add({**common, "type": "disk", "network_address": "", "available_upto": 0, "cpuset": "0",
                         "disk": f"{disk['id']}.{uid}", "diskpath": disk["by_path"]})
    for vlan in sorted((vlan for vlan in site.get("kavlans", {}) if vlan != "default"), key=int):
        kind = "kavlan-local" if int(vlan) <= 3 else "kavlan" if int(vlan) <= 9 else "kavlan-global"
        add({**_nowhere(kind), "vlan": vlan})
    if "virt_ip_range" in site:
        first, second = site["virt_ip_range"].split(".")[:2]
        for block in range(SUBNETS):
            add({**_nowhere("subnet"), "subnet_address": f"{first}.{second}.{4 * block}.0", "subnet_prefix": 22,
                 # the larger blocks that it is part of
                 **{f"slash_{size}": 1 + (block >> (22 - size)) for size in range(16, 23)}})
    return rows


def _nowhere(kind: str) -> Json:
    return {"type": kind, "state": "Alive", "state_num": 1, "network_address": "", "host": "", "cluster": "", "maintenance": "NO",
            "available_upto": FOREVER, "besteffort": "YES", "deploy": "YES", "exotic": "NO", "production": "NO", "cpuset": "0"}


def _node_properties(cluster: Json, node: Json, site: str) -> Json:
    """As Grid'5000 generates them from its reference."""
    shape, host = node["architecture"], fqdn(node["uid"], site)
    queues, gpus = set(cluster["queues"]), node.get("gpu_devices", {})
    ethernet = [adapter for adapter in node["network_adapters"] if adapter["interface"] == "Ethernet" and adapter["mountable"]]
    infiniband = [adapter for adapter in node["network_adapters"] if adapter["interface"] == "InfiniBand"]
    ram, first_disk = node["main_memory"]["ram_size"] >> 20, node["storage_devices"][0]
    gpu = gpus.get("nvidia0", {})
    return {
        "type": "default", "state": "Alive", "state_num": 1, "network_address": host, "host": host, "ip": ethernet[0]["ip"],
        "cluster": cluster["uid"], "site": site, "nodeset": node["nodeset"], "nodemodel": cluster["model"], "switch": ethernet[0]["switch"],
        "deploy": _yes(node["supported_job_types"]["deploy"]), "besteffort": _yes(node["supported_job_types"]["besteffort"]),
        "exotic": _yes(node["exotic"]), "production": _yes("production" in queues), "maintenance": _yes("testing" in queues),
        "max_walltime": node["supported_job_types"]["max_walltime"], "virtual": node["supported_job_types"].get("virtual") or "none",
        "cpuarch": shape["platform_type"], "cpu_count": shape["nb_procs"], "core_count": shape["nb_cores"],
        "thread_count": shape["nb_threads"], "cpucore": shape["nb_cores"] // shape["nb_procs"],
        "cputype": f"{node['processor']['model']} {node['processor']['version']}",
        "cpufreq": str(node["processor"]["clock_speed"] / 10**9), "memnode": ram, "memcpu": ram // shape["nb_procs"],
        "memcore": ram // shape["nb_cores"], "disktype": f"{first_disk['interface']}/{first_disk['storage']}",
        "disk_reservation_count": sum("reservation" in disk for disk in node["storage_devices"]), "chassis": node["chassis"]["name"],
        "eth_count": len(ethernet), "eth_kavlan_count": sum(adapter["kavlan"] for adapter in ethernet),
        "eth_rate": ethernet[0]["rate"] // 10**9,
        "ib": "FDR" if infiniband else "NO", "ib_count": len(infiniband), "ib_rate": infiniband[0]["rate"] // 10**9 if infiniband else 0,
        "opa_count": 0, "opa_rate": 0, "mic": "NO", "wattmeter": _yes(any("watt" in feed["uid"] for feed in node.get("pdu", ()))),
        "gpu_count": len(gpus), "gpu_model": gpu.get("model", ""), "gpu_mem": gpu.get("memory", 0) >> 20,
        "gpu_compute_capability": gpu.get("compute_capability", "0.0"),
        "gpu_compute_capability_major": int(gpu.get("compute_capability", "0").partition(".")[0]),
        "cluster_priority": cluster["priority"], "available_upto": FOREVER,
    }


def _cores(common: Json, node: Json, count: _Counter) -> list[Json]:
    cores, cpus, gpus = node["architecture"]["nb_cores"], node["architecture"]["nb_procs"], len(node.get("gpu_devices", {}))
    first_gpu = count.gpu
    count.gpu += gpus
    rows = []
    for index in range(cores):
        if index % (cores // cpus) == 0:
            count.cpu += 1
        count.core += 1
        row = {**common, "cpu": count.cpu, "core": count.core, "cpuset": str(index)}
        if gpus:
            own = index * gpus // cores
            row |= {"gpu": first_gpu + 1 + own, "gpudevice": str(own)}
        rows.append(row)
    return rows
