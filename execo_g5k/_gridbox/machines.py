"""Clusters and nodes of the reference, from the tables."""

from __future__ import annotations

import ipaddress
import zlib

from .tables import CLUSTERS, GIB, GIGABIT, SITES, Cluster, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

DOMAIN = "grid5000.fr"
ROUTED = range(4, 10)
LOCAL = range(1, 4)


def fqdn(name: str, site: str) -> str:
    return f"{name}.{site}.{DOMAIN}"


def kavlan_networks(site: Site) -> dict[int, ipaddress.IPv4Network]:
    """Those of a site: three local ones, the same everywhere, six routed ones and its global one."""
    networks = {vlan: f"192.168.{192 + 16 * (vlan - 1)}.0/20" for vlan in LOCAL}
    networks |= {vlan: f"10.{4 * site.index + (vlan - 4) // 4}.{(vlan - 4) % 4 * 64}.0/18" for vlan in ROUTED}
    networks[site.global_kavlan] = f"10.{4 * site.index + 3}.192.0/18"
    return {vlan: ipaddress.IPv4Network(network) for vlan, network in networks.items()}


def ip6_prefix(site: Site, subnet: int) -> str:
    return f"2001:660:44{site.index:02d}:{0x400 + subnet:x}"


def kavlans(site: Site) -> Json:
    described: Json = {
        "default": {"network": f"172.16.{16 * site.index}.0/20", "gateway": f"172.16.{16 * site.index + 15}.254",
                    "network_ipv6": ip6_prefix(site, 0) + "::/64", "gateway_ipv6": ip6_prefix(site, 0) + "::ffff:ffff"},
    }
    for vlan, network in kavlan_networks(site).items():
        one = {"network": str(network), "gateway": str(network.broadcast_address - 1),
               "network_ipv6": f"{ip6_prefix(site, 0x80 + vlan)}::/64"}
        if vlan not in LOCAL:
            one["gateway_ipv6"] = ip6_prefix(site, 0x80 + vlan) + "::ffff:ffff"
        described[str(vlan)] = one
    return described


def _rank(cluster: Cluster) -> int:
    return [other.name for other in CLUSTERS if other.site == cluster.site].index(cluster.name)


def _site(cluster: Cluster) -> Site:
    return next(site for site in SITES if site.name == cluster.site)


def _mac(uid: str, device: str) -> str:
    return "02:" + ":".join(f"{byte:02x}" for byte in (zlib.crc32(f"{uid} {device}".encode()) & 0xFFFFFFFF).to_bytes(5, "big"))


def kavlan_addresses(cluster: Cluster, number: int, device: int) -> Json:
    """Addresses of an interface in the VLANs of its site, and in the global ones of all sites."""
    site = _site(cluster)
    networks = kavlan_networks(site) | {other.global_kavlan: kavlan_networks(other)[other.global_kavlan] for other in SITES}
    host = 256 * (1 + 4 * _rank(cluster) + device) + number
    return {f"kavlan-{vlan}": str(network.network_address + host + (2048 * site.index if vlan > 9 else 0))
            for vlan, network in sorted(networks.items())}


def place_of(cluster: Cluster, number: int) -> tuple[str, int]:
    """Switch that a machine is plugged in, and the number of those before it there."""
    place = number - 1
    for switch, machines in cluster.switches:
        if place < machines:
            earlier = CLUSTERS[:CLUSTERS.index(cluster)]
            taken = sum(count for other in earlier if other.site == cluster.site for name, count in other.switches if name == switch)
            return switch, taken + place
        place -= machines
    raise ValueError(f"{cluster.name}-{number}: its switches have no place for it")


def node(cluster: Cluster, number: int) -> Json:
    uid, site = f"{cluster.name}-{number}", _site(cluster)
    cores = cluster.cpus * cluster.cores
    described: Json = {
        "uid": uid,
        "type": "node",
        "architecture": {"nb_procs": cluster.cpus, "nb_cores": cores, "nb_threads": 2 * cores, "platform_type": cluster.cpu.platform,
                         "cpu_core_numbering": "round-robin" if cluster.cpus > 1 else "contiguous"},
        "processor": {"vendor": cluster.cpu.vendor, "model": cluster.cpu.model, "version": cluster.cpu.version,
                      "microarchitecture": cluster.cpu.microarchitecture, "clock_speed": cluster.cpu.clock, "cache_l1": None,
                      "cache_l1d": 32768, "cache_l1i": 32768, "cache_l2": 1 << 20, "cache_l3": 16 << 20, "ht_capable": True,
                      "instruction_set": "x86-64" if cluster.cpu.platform == "x86_64" else "aarch64",
                      "other_description": f"{cluster.cpu.model} {cluster.cpu.version}"},
        "main_memory": {"ram_size": cluster.ram * GIB},
        "memory_devices": [{"device": f"dimm_{bank + 1}", "size": cluster.ram * GIB // 4, "technology": "dram"} for bank in range(4)],
        "network_adapters": _adapters(cluster, number, uid, site),
        "storage_devices": [_disk(uid, index, cluster.reservable_disks) for index in range(1 + cluster.reservable_disks)],
        "performance": {"core_flops": 8 * cluster.cpu.clock, "node_flops": 8 * cluster.cpu.clock * cores},
        "supported_job_types": {"deploy": True, "besteffort": True, "virtual": cluster.cpu.virtual, "max_walltime": cluster.max_walltime,
                                "queues": sorted(cluster.queues)},
        "operating_system": {"ht_enabled": True, "cstate_driver": "intel_idle", "cstate_governor": "menu", "pstate_driver": "intel_cpufreq",
                             "pstate_governor": "performance", "turboboost_enabled": True},
        "software": {"standard-environment": "debian11-x64-std", "postinstall-version": "1.2026010100",
                     "forced-deployment-timestamp": 202601010000},
        "bios": {"vendor": cluster.model.split()[0], "version": "1.0", "release_date": f"01/15/{cluster.year}"},
        "bmc_version": "1.0.0",
        "chassis": {"manufacturer": cluster.model.split()[0], "name": cluster.model, "serial": f"BOX{zlib.crc32(uid.encode()):08X}",
                    "manufactured_at": f"{cluster.year}-01-15", "warranty_end": f"{cluster.year + 5}-01-15"},
        "management_tools": {"ipmitool": {"retries": 5}},
        "exotic": cluster.exotic,
        "redfish": cluster.year >= 2019,
        "nodeset": cluster.name,
        "kavlan": {device: kavlan_addresses(cluster, number, index) for index, device in enumerate(_ethernet(cluster))},
    }
    if cluster.gpus:
        described["gpu_devices"] = {f"nvidia{index}": _gpu(index) for index in range(cluster.gpus)}
    feeds = []
    if cluster.wattmeter:
        feeds.append({"uid": "wattmetre1", "port": number})
    if cluster.power_strip:
        feeds += [{"uid": f"pdu-{strip}", "port": number} for strip in (1, 2)]
    if feeds:
        described["pdu"] = feeds
    return described


def _ethernet(cluster: Cluster) -> list[str]:
    return ["eth0", "eth1"] if cluster.eth1 else ["eth0"]


def _adapters(cluster: Cluster, number: int, uid: str, site: Site) -> list[Json]:
    host = 256 * (16 * site.index + 1 + _rank(cluster)) + number
    described: list[Json] = []
    for index, device in enumerate(_ethernet(cluster)):
        main = device == "eth0"
        adapter = {
            "device": device, "name": f"eno{index + 1}", "interface": "Ethernet", "enabled": True, "management": False, "mountable": True,
            "mounted": main, "bridged": main, "kavlan": True, "mac": _mac(uid, device), "driver": "i40e", "vendor": "Intel",
            "model": "Ethernet Controller X710", "firmware_version": "9.20", "rate": cluster.rate * GIGABIT, "sriov": False,
            "network_address": fqdn(uid if main else f"{uid}-{device}", site.name),
        }
        if main:
            switch, place = place_of(cluster, number)
            adapter |= {"ip": str(ipaddress.IPv4Address("172.16.0.0") + host),
                        "ip6": f"{ip6_prefix(site, 0)}:{1 + _rank(cluster)}::{number:x}",
                        "switch": switch, "switch_port": f"ethernet1/1/{place + 1}"}
        described.append(adapter)
    last = f"eth{len(described)}"
    described.append({"device": last, "name": f"eno{len(described) + 1}", "interface": "Ethernet", "enabled": False, "management": False,
                      "mountable": False, "mounted": False, "kavlan": False, "mac": _mac(uid, last), "driver": "i40e", "vendor": "Intel",
                      "model": "Ethernet Controller X710"})
    if cluster.infiniband:
        guid = _mac(uid, "ib0").replace(":", "")
        described.append({"device": "ib0", "name": "ibp1s0", "interface": "InfiniBand", "enabled": True, "management": False,
                          "mountable": True, "mounted": True, "kavlan": False, "mac": _mac(uid, "ib0"),
                          "driver": "mlx5_core", "vendor": "Mellanox",
                          "model": "MT27500 Family [ConnectX-3]", "rate": 56 * GIGABIT, "guid": f"0x{guid}", "netmask": "255.255.240.0",
                          "ip": str(ipaddress.IPv4Address("172.18.0.0") + host), "network_address": fqdn(f"{uid}-ib0", site.name)})
    described.append({"device": "bmc", "interface": "Ethernet", "enabled": True, "management": True, "mountable": False, "mounted": False,
                      "kavlan": False, "mac": _mac(uid, "bmc"), "ip": str(ipaddress.IPv4Address("172.17.0.0") + host),
                      "network_address": fqdn(f"{uid}-bmc", site.name)})
    return described


def _disk(uid: str, index: int, reservable: int) -> Json:
    described: Json = {"id": f"disk{index}", "size": (480 if index == 0 else 960) * 10**9, "interface": "SATA",
                       "model": "SSDSC2KB", "vendor": "Intel", "storage": "SSD" if index < 2 else "HDD", "firmware_version": "0110",
                       "by_id": f"/dev/disk/by-id/wwn-0x{zlib.crc32(f'{uid} {index}'.encode()):016x}",
                       "by_path": f"/dev/disk/by-path/pci-0000:00:17.0-ata-{index + 1}"}
    if index and reservable:
        described["reservation"] = True
    return described


def _gpu(index: int) -> Json:
    return {"model": "A30", "vendor": "Nvidia", "device": f"/dev/nvidia{index}", "memory": 24 * GIB, "compute_capability": "8.0",
            "cores": 3584, "cpu_affinity": index, "microarchitecture": "Ampere", "power_default_limit": "165.00 W",
            "vbios_version": "92.00.66.00.02",
            "performance": {"fp-16": 10_300 * GIGABIT, "fp-32": 10_300 * GIGABIT, "fp-64": 5_200 * GIGABIT}}


def cluster(table: Cluster) -> Json:
    metrics: list[Json] = [
        {"name": "bmc_node_power_watt", "description": "Power consumption of node reported by BMC, in watt", "period": 5000,
         "source": {"protocol": "ipmisensor", "id": "Pwr Consumption"}},
        {"name": "prom_node_load1", "description": "Default subset of metrics from Prometheus Node Exporter", "period": 0,
         "optional_period": 15000, "source": {"protocol": "prometheus", "port": 9100, "id": "node_load1"}},
    ]
    if table.wattmeter:
        metrics.insert(0, {"name": "wattmetre_power_watt", "description": "Power consumption of node reported by wattmetre, in watt",
                           "period": 1000, "optional_period": 20, "source": {"protocol": "wattmetre"}})
    cores = table.cpus * table.cores
    return {
        "uid": table.name, "type": "cluster", "model": table.model, "queues": list(table.queues), "exotic": table.exotic, "kavlan": True,
        "redfish": table.year >= 2019, "boot_type": "uefi" if table.year >= 2019 else "bios",
        "created_at": f"Mon, 15 Jan {table.year} 00:00:00 GMT", "manufactured_at": f"{table.year}-01-15",
        "warranty_end": f"{table.year + 5}-01-15",
        "priority": 100 * table.year + 1, "keep_alive_nodes_count": 2, "nodes_count": table.size,
        "nodes_description": f"{table.cpus} CPUs {table.cpu.model} {table.cpu.version}, {cores} cores, {table.ram}GB RAM, "
                             f"{table.rate}Gb Ethernet" + (f", {table.gpus} GPUs" if table.gpus else ""),
        "metrics": metrics,
    }
