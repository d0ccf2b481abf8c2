"""The parts of the box without any process: its platform and how consistent it is, its clock, names, settings and status."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from execo.config import default_connection_params
from execo_g5k._gridbox import reach, settings
from execo_g5k._gridbox.clock import PROGRAM, BoxClock, date_in_paris
from execo_g5k._gridbox.machines import fqdn
from execo_g5k._gridbox.reference import Reference, make_reference
from execo_g5k._gridbox.rest_vlans import kavlan_interfaces
from execo_g5k.config import default_frontend_connection_params, g5k_configuration
from execo_g5k.gridbox import GridBox

Json = dict[str, Any]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return make_reference(other_scheduler=True)


def nodes_of(reference: Reference) -> list[tuple[str, str, Json]]:
    """(site, cluster, node) of all."""
    return [(site, cluster, node) for site, described in reference.sites.items()
            for cluster, nodes in described["nodes"].items() for node in nodes.values()]


# The platform

def test_it_has_three_sites_six_clusters_and_forty_nodes(reference: Reference) -> None:
    assert list(reference.sites) == ["bordeaux", "lyon", "nancy", "rennes"]
    assert sum(len(described["clusters"]) for described in reference.sites.values()) == 6
    assert len(nodes_of(reference)) == len(set(reference.hosts())) == 40
    assert "bordeaux" not in make_reference().sites
    assert (reference.sites["bordeaux"]["site"]["scheduler"], reference.sites["lyon"]["site"]["scheduler"]) == ("slurm", "oar")


def test_it_is_the_same_each_time() -> None:
    one, two = make_reference(), make_reference()
    assert json.dumps(one.sites) == json.dumps(two.sites)
    assert one.version("") == two.version("") != make_reference(2).version("")


def test_fewer_nodes_are_those_with_the_lowest_numbers() -> None:
    small = make_reference(3, sites=["nancy"])
    assert small.hosts() == [f"{name}-{number}.nancy.grid5000.fr" for name in ("meurthe", "moselle") for number in (1, 2, 3)]
    assert make_reference(100).hosts() == make_reference().hosts()


@pytest.mark.parametrize(("keywords", "text"), [
    ({"nodes_per_cluster": 0}, "found 0"), ({"sites": ["paris", "lyon"]}, "found paris"), ({"sites": []}, "found none")])
def test_a_platform_that_cannot_be_made(keywords: Json, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_reference(**keywords)


def test_queues_and_exotic_clusters_are_as_today(reference: Reference) -> None:
    queues = {name: set(cluster["queues"]) for described in reference.sites.values() for name, cluster in described["clusters"].items()}
    assert sorted(map(sorted, queues.values())) == [["abaca", "admin", "production"], *[["admin", "default"]] * 4, ["admin", "testing"]]
    clusters = [cluster for described in reference.sites.values() for cluster in described["clusters"].values()]
    assert [cluster["uid"] for cluster in clusters if cluster["exotic"]] == ["rhone"]


def test_what_the_api_always_tells_is_there(reference: Reference) -> None:
    for _, _, node in nodes_of(reference):
        assert set(node) >= {
            "uid", "type", "architecture", "processor", "main_memory", "memory_devices", "network_adapters", "storage_devices",
            "performance", "supported_job_types", "operating_system", "software", "bios", "bmc_version", "chassis", "management_tools",
            "exotic", "redfish", "nodeset"}
        assert set(node["architecture"]) >= {"nb_procs", "nb_cores", "nb_threads", "platform_type", "cpu_core_numbering"}
        for adapter in node["network_adapters"]:
            assert set(adapter) >= {"device", "enabled", "interface", "kavlan", "mac", "management", "mountable", "mounted"}
    for described in reference.sites.values():
        assert set(described["site"]) >= {"uid", "name", "description", "location", "latitude", "longitude", "frontend_ip", "ipv6"}
        for cluster in described["clusters"].values():
            assert set(cluster) >= {
                "uid", "model", "queues", "exotic", "kavlan", "created_at", "priority", "nodes_count", "metrics", "boot_type"}


def test_addresses_and_hardware_addresses_are_unique(reference: Reference) -> None:
    for key in ("mac", "ip", "ip6", "network_address"):
        found = [adapter[key] for _, _, node in nodes_of(reference) for adapter in node["network_adapters"] if key in adapter]
        assert len(set(found)) == len(found) >= 40, key


def test_addresses_in_vlans_are_in_their_networks_and_unique(reference: Reference) -> None:
    networks: dict[tuple[str, str], ipaddress.IPv4Network] = {}
    gateways: list[str] = []
    everywhere: dict[str, ipaddress.IPv4Network] = {}
    for site, described in reference.sites.items():
        for vlan, kavlan in described["site"].get("kavlans", {}).items():
            network = ipaddress.IPv4Network(kavlan["network"])
            assert ipaddress.IPv4Address(kavlan["gateway"]) in network
            if vlan != "default":
                networks[site, vlan] = network
                gateways.append(kavlan["gateway"])
                if int(vlan) > 9:
                    everywhere[vlan] = network
    routed = [network for (_, vlan), network in networks.items() if int(vlan) > 3]
    assert not any(one.overlaps(other) for index, one in enumerate(routed) for other in routed[:index])
    seen: set[tuple[str, str]] = set()
    for site, _, node in nodes_of(reference):
        assert set(node["kavlan"]) <= {adapter["device"] for adapter in node["network_adapters"] if adapter["kavlan"]}
        for addresses in node["kavlan"].values():
            for name, address in addresses.items():
                vlan = name.removeprefix("kavlan-")
                network = networks.get((site, vlan)) or everywhere[vlan]
                assert ipaddress.IPv4Address(address) in network
                assert address not in gateways
                where = site if int(vlan) <= 3 else ""          # local ones are apart
                assert (where, address) not in seen
                seen.add((where, address))


def test_each_node_is_plugged_in_where_it_says(reference: Reference) -> None:
    for site, _, node in nodes_of(reference):
        (adapter,) = (adapter for adapter in node["network_adapters"] if "switch" in adapter)
        switch = reference.sites[site]["network_equipments"][adapter["switch"]]
        ports = [port for card in switch["linecards"] for port in card.get("ports", ())]
        (port,) = (port for port in ports if port.get("uid") == node["uid"])
        assert (port["port"], port["snmp_name"]) == (adapter["device"], adapter["switch_port"])


def test_the_network_has_the_peculiarities_of_today(reference: Reference) -> None:
    equipments = {(site, uid): one for site, described in reference.sites.items() for uid, one in described["network_equipments"].items()}
    ports = [(site, port) for (site, _), one in equipments.items() for card in one["linecards"] for port in card.get("ports", ()) if port]
    nodes = {(site, node["uid"]) for site, _, node in nodes_of(reference)}
    assert {site for site, uid in equipments if uid == "gw"} == set(reference.sites)
    assert len({site for site, uid in equipments if uid == "sw-1"}) == 2                           # names repeat
    assert "backplane_bps" not in equipments["lyon", "sw-1"]
    assert equipments["nancy", "sw-1"]["backplane_bps"] is None
    assert {site for (site, uid), one in equipments.items() if "vlans" in one and uid != "gw"} == {"nancy"}
    for (site, uid), one in equipments.items():
        for name, channel in one.get("channels", {}).items():
            assert channel["port"] in equipments[site, channel["uid"]]["channels"], (site, uid, name)
    cards = [index for index, card in enumerate(equipments["rennes", "gw"]["linecards"])
             if any(port.get("uid") == "port-channel50" for port in card.get("ports", ()))]
    assert len(cards) == 2
    assert {("nancy", "meurthe-5"), ("nancy", "meurthe-9")} <= {(site, port["uid"]) for site, port in ports} - nodes      # retired
    assert {port["kind"] for _, port in ports} >= {"node", "switch", "router", "server", "other", "channel", "backbone"}
    assert {site for site, port in ports if port["kind"] == "backbone"} == {"lyon", "nancy"}
    for (site, uid), one in equipments.items():
        for card in one["linecards"]:
            for port in card.get("ports", ()):
                if port.get("kind") in ("switch", "router"):
                    assert (site, port["uid"]) in equipments, (site, uid, port)
                if port.get("kind") == "channel":
                    assert port["uid"] in one["channels"]
    for one in reference.backbone.values():
        assert one["kind"] == "virtual"
        for port in one["linecards"][0]["ports"]:
            assert port["uid"] in reference.backbone or ("gw-" + port["site_uid"] == port["uid"] and port["site_uid"] in reference.sites)


def test_power_devices_feed_nodes_that_say_so(reference: Reference) -> None:
    fed = [(site, feed["uid"], str(feed["port"]), node["uid"]) for site, _, node in nodes_of(reference) for feed in node.get("pdu", ())]
    assert len(fed) == 8 + 2 * 12
    for site, device, port, uid in fed:
        assert reference.sites[site]["pdus"][device]["ports"][port] == uid


def test_the_resources_of_oar_are_those_of_the_reference(reference: Reference) -> None:
    for site, described in reference.sites.items():
        rows = reference.oar_rows(site)
        assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
        cores = [row for row in rows if row["type"] == "default"]
        assert len({row["core"] for row in cores}) == len(cores)
        for cluster, nodes in described["nodes"].items():
            for uid, node in nodes.items():
                mine = [row for row in cores if row["network_address"] == fqdn(uid, site)]
                assert [row["cpuset"] for row in mine] == [str(core) for core in range(node["architecture"]["nb_cores"])]
                assert len({row["cpu"] for row in mine}) == node["architecture"]["nb_procs"]
                assert len({row["gpu"] for row in mine if "gpu" in row}) == len(node.get("gpu_devices", {})) == mine[0]["gpu_count"]
                assert mine[0]["cluster"] == cluster
                disks = [row for row in rows if row["type"] == "disk" and row["host"] == fqdn(uid, site)]
                reservable = [disk for disk in node["storage_devices"] if disk.get("reservation")]
                assert [row["disk"] for row in disks] == [f"{disk['id']}.{uid}" for disk in reservable]
        vlans = {row["vlan"]: row["type"] for row in rows if row["type"].startswith("kavlan")}
        assert set(vlans) == set(described["site"].get("kavlans", {})) - {"default"}
        subnets = [ipaddress.IPv4Network(f"{row['subnet_address']}/{row['subnet_prefix']}") for row in rows if row["type"] == "subnet"]
        if subnets:
            assert all(subnet.subnet_of(ipaddress.IPv4Network(described["site"]["virt_ip_range"])) for subnet in subnets)
            assert len({row["slash_16"] for row in rows if row["type"] == "subnet"}) == 1
    assert {row["maintenance"] for row in reference.oar_rows("rennes") if row["cluster"] == "ille"} == {"YES"}
    assert {row["production"] for row in reference.oar_rows("nancy") if row["cluster"] == "moselle"} == {"YES"}
    assert reference.oar_rows("bordeaux") == []


def test_interfaces_that_can_be_in_a_vlan(reference: Reference) -> None:
    interfaces = kavlan_interfaces(reference.sites["lyon"])
    assert interfaces["saone-1-eth1.lyon.grid5000.fr"] == interfaces["saone-1.lyon.grid5000.fr"] == "saone-1.lyon.grid5000.fr"
    assert not any("bmc" in name or "ib0" in name for name in interfaces)


# The clock

@pytest.mark.parametrize(("text", "utc"), [
    ("2026-03-23 18:30", "2026-03-23T17:30:00+00:00"), ("2026-07-01 00:00:01", "2026-06-30T22:00:01+00:00"),
    (" 2026-01-01 ", "2025-12-31T23:00:00+00:00")])
def test_dates_are_those_of_paris(text: str, utc: str) -> None:
    assert date_in_paris(text) == BoxClock(text, rate=0)() == datetime.datetime.fromisoformat(utc).timestamp()


@pytest.mark.parametrize("text", ["", "18:30", "2026-03-23T18:30", "23/03/2026", "2026-02-30"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected 'YYYY-MM-DD hh:mm:ss'"):
        BoxClock(text)


def test_a_clock_runs_at_its_rate() -> None:
    clock, before = BoxClock("2026-03-23 18:30", rate=1000), time.monotonic()
    first = clock()
    time.sleep(0.02)                # what is tried is that time passes
    second, after = clock(), time.monotonic()
    assert 20 <= second - first <= 1000 * (after - before)
    assert repr(BoxClock("2026-03-23 18:30", rate=0)) == "<BoxClock 2026-03-23 18:30:00, rate 0>"
    assert abs(BoxClock()() - time.time()) < 5


def test_a_clock_moves_on_by_order_and_never_back() -> None:
    clock = BoxClock(1000, rate=0)
    clock.advance(86400)
    assert clock() == 87400
    with pytest.raises(ValueError, match="forward only"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="rate"):
        BoxClock(rate=-1)


def test_another_process_has_the_same_date(tmp_path: Path) -> None:
    clock = BoxClock("2026-03-23 18:30", rate=0)
    clock.share(tmp_path / "clock.json")
    program = PROGRAM.format(file=str(tmp_path / "clock.json")) + "print(clock())"
    dates = []
    for _ in range(2):
        dates.append(float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout))
        clock.advance(60)
    assert dates == [clock() - 120, clock() - 60]


# Names

def config_of(text: str, name: str, tmp_path: Path) -> dict[str, str]:
    """What ssh understands of a configuration, for one name."""
    file = tmp_path / "config"
    file.write_text(text)
    told = subprocess.run(["ssh", "-G", "-F", str(file), name], capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in told.splitlines() if " " in line)


@pytest.mark.requires("ssh")
def test_ssh_knows_nodes_and_frontends_by_all_their_names(tmp_path: Path) -> None:
    nodes = {"saone-1.lyon.grid5000.fr": "10.0.0.1", "saone-10.lyon.grid5000.fr": "10.0.0.10"}
    frontends = [reach.Frontend("lyon", "jdoe", ["/tmp/with space/speak", "100%"])]
    text = reach.ssh_config(nodes, 2222, "me", str(tmp_path / "key"), frontends)
    for name in ("saone-1.lyon.grid5000.fr", "saone-1", "saone-1.lyon", "saone-1-eth1.lyon.grid5000.fr",
                 "saone-1-kavlan-4.lyon.grid5000.fr", "saone-1-kavlan-4", "saone-1-eth1-kavlan-4.lyon"):
        read = config_of(text, name, tmp_path)
        assert (read["hostname"], read["port"], read["user"], "proxycommand" in read) == ("10.0.0.1", "2222", "me", False), name
    assert config_of(text, "saone-10", tmp_path)["hostname"] == "10.0.0.10"
    for name in ("lyon", "lyon.grid5000.fr", "frontend.lyon.grid5000.fr", "flyon.lyon.grid5000.fr", "flyon"):
        read = config_of(text, name, tmp_path)
        assert (read["proxycommand"], read["user"]) == ("'/tmp/with space/speak' 100%%", "jdoe"), name
    for name in ("saone-1-bmc.lyon.grid5000.fr", "saone-2.lyon.grid5000.fr", "access.grid5000.fr", "nancy.grid5000.fr", "x.y.grid5000.org"):
        assert "not in the box" in config_of(text, name, tmp_path)["proxycommand"]


@pytest.mark.parametrize(("tool", "words", "left"), [
    ("ssh", "-tt -F x -o Port=2 -o User=root -l me -o BatchMode=yes h echo -l -o User=root",
     "-tt -F x -o Port=2 -o BatchMode=yes h echo -l -o User=root"),
    ("ssh", "h", "h"), ("ssh", "-V", "-V"), ("ssh", "-o", "-o"), ("ssh", "-o User=root", ""),
    ("scp", "-rp -p -l 8 -o User=root a h:b", "-rp -p -l 8 a h:b"),
])
def test_a_user_that_is_not_here_is_left_out(tool: str, words: str, left: str, tmp_path: Path) -> None:
    show = tmp_path / "show"
    show.write_text("#!/bin/sh\nprintf '%s|' \"$@\"\n")
    show.chmod(0o755)
    script = tmp_path / "tool"
    script.write_text(reach.without_user(tool, str(show)))
    done = subprocess.run(["sh", str(script), *words.split(), "a  b*'", ""], capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{word}|" for word in [*left.split(), "a  b*'", ""])


def test_the_table_of_hosts_has_short_names() -> None:
    assert reach.host_table({"saone-1.lyon.grid5000.fr": "10.0.0.1"}) == "10.0.0.1 saone-1.lyon.grid5000.fr saone-1.lyon saone-1\n"


def test_a_file_name_that_openssh_cannot_read_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read"):
        reach.ssh_config({}, 22, "me", '/tmp/a"b', [])


# Settings

def made(tmp_path: Path) -> settings.Settings:
    return settings.make_settings(tmp_path / "config", tmp_path / "tools", "http://127.0.0.1:1/3.0/", "lyon", tmp_path,
                                  {"a.lyon.grid5000.fr": "127.1.2.3"})


def test_settings_are_in_force_and_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/before")
    monkeypatch.delenv("BOX", raising=False)
    default_connection_params["user"] = "jdoe"
    default_frontend_connection_params.update(user="jdoe", ssh_options=("-J", "access.grid5000.fr"))
    g5k_configuration["default_frontend"] = "nancy"
    before = {name: dict(live) for name, live in settings.LIVE.items()}
    overlay = settings.Overlay()
    overlay.apply(made(tmp_path), lambda: 7.0, {"PATH": "/box", "BOX": "yes"})
    assert (default_connection_params["user"], default_frontend_connection_params["user"]) == (None, None)
    assert default_connection_params["ssh_options"][:2] == ("-F", str(tmp_path / "config"))
    assert "access.grid5000.fr" not in default_frontend_connection_params["ssh_options"]
    assert (g5k_configuration["default_frontend"], g5k_configuration["clock"]()) == ("lyon", 7.0)
    overlay.undo()
    overlay.undo()
    assert {name: dict(live) for name, live in settings.LIVE.items()} == before

    assert (os.environ["PATH"], "BOX" in os.environ) == ("/before", False)


def test_the_file_for_other_programs_says_the_same(tmp_path: Path) -> None:
    clock = BoxClock(5000, rate=0)
    clock.share(tmp_path / "clock.json")
    (tmp_path / ".execo.conf.py").write_text(settings.configuration_file(made(tmp_path), tmp_path / "clock.json"))
    program = ("import json; from execo.config import *; from execo_g5k.config import *; "
               "print(default_connection_params['ssh_options'][1], default_frontend_connection_params['host_rewrite_func']('lyon'), "
               "g5k_configuration['api_uri'], g5k_configuration['clock'](), g5k_configuration['direct_hosts'])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={
        "HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))})
    assert (done.stdout, done.stderr) == (
        f"{tmp_path}/config lyon.grid5000.fr http://127.0.0.1:1/3.0/ 5000.0 {{'a.lyon.grid5000.fr': '127.1.2.3'}}\n", "")


# Arguments of GridBox

@pytest.mark.parametrize(("keywords", "text"), [
    ({"oar": "slurm"}, "expected one of"), ({"isolation": "docker"}, "expected one of"),
    ({"oar": "real", "clock": BoxClock()}, "clock of this machine"), ({"oar": "real", "charter": True}, "usage policy"),
    ({"sites": ["paris"]}, "found paris")])
def test_a_box_that_cannot_be(keywords: Json, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        GridBox(**keywords)


def test_a_clock_must_be_a_function() -> None:
    with pytest.raises(TypeError, match="expected a function"):
        GridBox(clock="2026-03-23 18:30")      # type: ignore[arg-type]       # what is tried
