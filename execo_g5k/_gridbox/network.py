"""Network equipments, servers and power devices of the reference, from the tables."""

from __future__ import annotations

from .machines import DOMAIN, kavlan_networks, place_of
from .tables import CLUSTERS, GIGABIT, Cluster, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

PORTS = "ethernet1/%LINECARD%/%PORT%"


def _equipment(site: Site, uid: str, kind: str, linecards: list[Json], **more: Any) -> Json:
    return {"uid": uid, "type": "network_equipment", "kind": kind, "site": site.name, "model": "Box 1000", "managed_by_us": True,
            "linecards": linecards, **more}


def _card(rate: int, ports: list[Json], **more: Any) -> Json:
    """A card; port number 0 exists on none."""
    return {"rate": rate * GIGABIT, "kind": "node", "snmp_pattern": PORTS, "kavlan_pattern": "%PORT%", "switchport_mode": "access",
            "ports": [{}, *ports], **more}


def _port(uid: str, kind: str = "node", **more: Any) -> Json:
    return {"uid": uid, "kind": kind, **more}


def _machines(switch: str, site: str) -> list[Json]:
    """Ports of all machines that a switch ever had, in the order of its places: retired ones are still there."""
    ports: list[Json] = []
    for cluster in CLUSTERS:
        if cluster.site == site:
            for number in range(1, cluster.size + 1):
                where, place = place_of(cluster, number)
                if where == switch:
                    ports.append(_port(f"{cluster.name}-{number}", port="eth0", snmp_name=f"ethernet1/1/{place + 1}",
                                       switchport_mode="access"))
    return ports


def _trunk(uid: str, kind: str, port: str | None = None, **more: Any) -> Json:
    return _port(uid, kind, switchport_mode="trunk", **({"port": port} if port else {}), **more)


def _channel(name: str, interface: str) -> Json:
    return _port(name, "channel", snmp_name=interface, switchport_mode="trunk")


def _bundle(name: str, uid: str, kind: str, rate: int) -> Json:
    """A channel, by its name here, which is that on the other side."""
    return {name: {"uid": uid, "kind": kind, "port": name, "rate": rate * GIGABIT, "switchport_mode": "trunk"}}


def _vlans(site: Site) -> Json:
    described: Json = {
        "vlan100": {"administrative": True, "addresses": [f"172.16.{16 * site.index + 15}.254"]},
        "vlan101": {"administrative": True, "addresses": [f"172.17.{16 * site.index + 15}.254"]},
    }
    for vlan, network in kavlan_networks(site).items():
        described[f"vlan{700 + vlan}"] = {"name": f"kavlan-{vlan}", "addresses": [str(network.broadcast_address - 1)]}
    return described


def _gw(site: Site, linecards: list[Json], **more: Any) -> Json:
    return _equipment(site, "gw", "router", [{"ports": []}, *linecards], alias=[f"gw-{site.name}"],
                      ip=f"172.16.{16 * site.index + 15}.254", **more)


def _infiniband(site: Site, cluster: Cluster) -> Json:
    ports = [_port(f"{cluster.name}-{number}", port="ib0", snmp_name=f"1/{number}") for number in cluster.numbers]
    return _equipment(site, str(cluster.infiniband), "hpcswitch", [{}, {"rate": 56 * GIGABIT, "kind": "node", "ports": [{}, *ports]}])


def equipments(site: Site) -> Json:
    """{uid: equipment} of a site.  Names repeat from site to site."""
    backbone = _trunk(f"renater-{site.name}", "backbone", snmp_name="ethernet1/2/4")
    of = {name: _machines(name, site.name) for name in ("gw", "sw-1", "sw-2", "c6509")}
    if site.name == "lyon":
        rhone = next(cluster for cluster in CLUSTERS if cluster.name == "rhone")
        made = [
            _gw(site, [_card(25, of["gw"]),
                       _card(40, [_channel("lag1", "ethernet1/2/1"), _channel("lag1", "ethernet1/2/2"), {}, backbone])],
                backplane_bps=960 * GIGABIT, channels=_bundle("lag1", "sw-1", "switch", 80), vlans=_vlans(site)),
            _equipment(site, "sw-1", "switch",                  # says nothing of its backplane
                       [{}, _card(10, [*of["sw-1"], {}, _channel("lag1", "ethernet1/1/10"), _channel("lag1", "ethernet1/1/11"),
                                       _port("srv-1", "server")])],
                       ip="172.17.31.250", channels=_bundle("lag1", "gw", "router", 80)),
            _infiniband(site, rhone),
        ]
    elif site.name == "nancy":
        made = [
            _gw(site, [_card(100, [_trunk("sw-1", "switch", "ethernet1/1/48", snmp_name="ethernet1/1/1"),
                                   _trunk("sw-2", "switch", "ethernet1/1/48", snmp_name="ethernet1/1/2"), {}, backbone,
                                   _trunk("router-2", "router", "ethernet1/1/1")])], backplane_bps=2560 * GIGABIT),
            _equipment(site, "sw-1", "switch",
                       [{}, _card(25, [*of["sw-1"], _port("pve-1", "server"), {}, {},
                                       _trunk("gw", "router", "ethernet1/1/1", rate=100 * GIGABIT)])], backplane_bps=None),
            _equipment(site, "sw-2", "switch",
                       [{}, _card(25, [*of["sw-2"], _trunk("gw", "router", "ethernet1/1/2", rate=100 * GIGABIT)])],
                       backplane_bps=1280 * GIGABIT),
            # the VLANs of this site are on a router of their own
            _equipment(site, "router-2", "router", [{}, _card(100, [_trunk("gw", "router", "ethernet1/1/5")])], vlans=_vlans(site)),
        ]
    elif site.name == "rennes":
        made = [
            # its way to the backbone is not described here, only in the backbone
            _gw(site, [_card(10, [*of["gw"], _port("srv-1", "server"), _channel("port-channel50", "ethernet1/1/6")]),
                       _card(10, [_channel("port-channel50", "ethernet1/2/1")])],
                backplane_bps=640 * GIGABIT, channels=_bundle("port-channel50", "c6509", "switch", 20), vlans=_vlans(site)),
            _equipment(site, "c6509", "switch", [{}, _card(10, [*of["c6509"][:4], {}, _channel("port-channel50", "ethernet1/1/6")]),
                                                 _card(10, [*of["c6509"][4:], _channel("port-channel50", "ethernet1/2/5")])],
                       backplane_bps=720 * GIGABIT, channels=_bundle("port-channel50", "gw", "router", 20), ip="172.17.63.250"),
            _equipment(site, "sw-adm-1", "switch",
                       [{}, _card(1, [_port(f"vilaine-{number}-bmc", "other") for number in range(1, 9)])]),
        ]
    else:
        made = [_gw(site, [_card(25, [])])]
    return {one["uid"]: one for one in made}


def backbone() -> Json:
    """{uid: equipment} of the links between sites."""
    neighbours = {"lyon": ("paris",), "nancy": ("paris",), "rennes": ("paris",), "paris": ("lyon", "nancy", "rennes")}
    described: Json = {}
    for name, others in neighbours.items():
        ports: list[Json] = [{"uid": f"renater-{other}"} for other in others]
        if name != "paris":
            ports.append({"uid": f"gw-{name}", "kind": "router", "site_uid": name})
        described[f"renater-{name}"] = {"uid": f"renater-{name}", "type": "network_equipment", "kind": "virtual",
                                        "linecards": [{"rate": 10 * GIGABIT, "ports": ports}]}
    return described


def servers(site: Site) -> Json:
    return {"srv-1": {"uid": "srv-1", "type": "server", "kind": "physical", "alias": [f"api.{site.name}.{DOMAIN}"], "redfish": True,
                      "network_adapters": {"default": {"ip": f"172.16.{16 * site.index + 15}.9"}}}}


def power_devices(site: Site) -> Json:
    described: Json = {}
    for cluster in CLUSTERS:
        if cluster.site == site.name:
            names = ["wattmetre1"] * cluster.wattmeter + ["pdu-1", "pdu-2"] * cluster.power_strip
            for name in names:
                described[name] = {"uid": name, "type": "pdu", "vendor": "Box", "model": "P1", "ip": f"172.17.{16 * site.index + 15}.201",
                                   "ports": {str(number): f"{cluster.name}-{number}" for number in cluster.numbers}}
    return described


