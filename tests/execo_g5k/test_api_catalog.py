"""What there is on a platform: the one of the box, and today's Grid'5000 where its data is at hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platforms
import pytest

from execo import Host
from execo_g5k import g5k_configuration
from execo_g5k._api import reference
from execo_g5k.api_utils import (
    canonical_host_name,
    filter_clusters,
    get_api_data,
    get_cluster_attributes,
    get_cluster_hosts,
    get_cluster_jobtypes,
    get_cluster_network_equipments,
    get_cluster_queues,
    get_cluster_site,
    get_g5k_clusters,
    get_g5k_hosts,
    get_g5k_sites,
    get_host_attributes,
    get_host_cluster,
    get_host_interface,
    get_host_longname,
    get_host_network_equipments,
    get_host_shortname,
    get_host_site,
    get_host_switch,
    get_network_equipment_attributes,
    get_network_equipment_site,
    get_resource_attributes,
    get_site_attributes,
    get_site_clusters,
    get_site_hosts,
    get_site_network_equipments,
    group_hosts,
)
from execo_g5k.utils import get_fastest_host, get_kavlan_ip_mac, get_kavlan_network

# What is known of each platform by other means than this package.
FACTS: dict[str, dict[str, Any]] = {
    "box": {"sites": 4, "clusters": 4, "hosts": 30, "all clusters": 6, "all hosts": 40, "production": 1, "testing": 1, "site": "lyon",
            "cluster": "saone", "production cluster": "moselle", "exotic": {"rhone"}, "switches": {"saone-1": "sw-1", "rhone-1": "gw"},
            "kavlan": ("nancy", 4, ("10.8.0.0", "18"))},
    "today": {"sites": 12, "clusters": 35, "hosts": 539, "all clusters": 158, "all hosts": 939, "production": 121, "testing": 2,
              "site": "lyon", "cluster": "taurus", "production cluster": "grele",
              "exotic": set("drac sasquatch servan troll yeti vianden gemini hydra neowise pyxis sirius grouille ecotaxe engelbourg"
                            " ramstein estats".split()),
              "switches": {"gros-1": "sgros1", "ecotype-41": "ecot-prod"}, "kavlan": ("nancy", 4, ("10.16.0.0", "18"))},
}

ADDED = (("", "eth0"), ("-eth1", "eth1"), ("-kavlan-4", "eth0"), ("-ipv6", "eth0"), ("-eth2-kavlan-12", "eth2"), ("-eth1-ipv6", "eth1"),
         ("-kavlan-4-ipv6", "eth0"), ("-ib0", "ib0"))
"""What is added to the names of hosts, and the interface that is meant."""


@pytest.fixture(scope="module", params=platforms.PLATFORMS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    with platforms.serve(request.param) as uri:
        yield request.param, uri, tmp_path_factory.mktemp("cache")


@pytest.fixture
def facts(served: tuple[str, str, Path]) -> dict[str, Any]:
    """Of a platform that is configured."""
    platform, uri, folder = served
    g5k_configuration.update(api_uri=uri, api_cache_dir=str(folder), api_timeout=20)
    return FACTS[platform]


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_remembered() -> Iterator[None]:
    yield
    reference.forget()


def test_all_of_the_platform_is_there(facts: dict[str, Any]) -> None:
    assert len(get_g5k_sites()) == facts["sites"]
    assert len(get_g5k_clusters()) == facts["clusters"]
    assert len(get_g5k_hosts()) == len(set(get_g5k_hosts())) == facts["hosts"]
    for every in (None, False, ["default", "production", "testing"]):
        assert len(get_g5k_clusters(every)) == facts["all clusters"]
        assert len(get_g5k_hosts(every)) == facts["all hosts"]


def test_production_and_abaca_are_one_queue(facts: dict[str, Any]) -> None:
    assert len(get_g5k_clusters("production")) == len(get_g5k_clusters("abaca")) == facts["production"]
    assert get_g5k_clusters(["abaca"]) == get_g5k_clusters(("production",))
    assert len(get_g5k_clusters("testing")) == facts["testing"]
    assert get_g5k_clusters("nosuchqueue") == []


def test_a_site_without_clusters_is_a_site(facts: dict[str, Any]) -> None:
    assert "bordeaux" in get_g5k_sites()
    assert get_site_clusters("bordeaux", None) == []
    assert get_site_hosts("bordeaux", None) == []
    assert get_site_attributes("bordeaux")["scheduler"] == "slurm"
    assert get_site_network_equipments("bordeaux") is not None


def test_queues_and_job_types_are_known_of_all_clusters(facts: dict[str, Any]) -> None:
    assert set(get_cluster_queues(facts["production cluster"])) >= {"production", "abaca"}
    assert "default" in get_cluster_queues(facts["cluster"])
    assert all(get_cluster_queues(cluster) for cluster in get_g5k_clusters(None))
    assert {cluster for cluster in get_g5k_clusters(None) if get_cluster_jobtypes(cluster)} == facts["exotic"]
    assert get_cluster_jobtypes(next(iter(facts["exotic"]))) == ["exotic"]


def test_the_parts_make_the_whole(facts: dict[str, Any]) -> None:
    data = get_api_data()
    hosts = []
    for site in get_g5k_sites():
        assert get_site_attributes(site)["uid"] == site
        for cluster in get_site_clusters(site, None):
            assert get_cluster_attributes(cluster)["uid"] == cluster
            assert get_cluster_site(cluster) == site
            hosts += get_cluster_hosts(cluster)
        assert get_site_hosts(site, None) == [host for cluster in get_site_clusters(site, None) for host in get_cluster_hosts(cluster)]
    assert set(hosts) == set(data["hosts"]) == set(get_g5k_hosts(None))
    assert filter_clusters(data["clusters"], None) == list(data["clusters"])


def test_all_names_of_all_hosts_are_understood(facts: dict[str, Any]) -> None:
    data = get_api_data()
    for site, clusters in data["hierarchy"].items():
        for cluster, hosts in clusters.items():
            for host in hosts:
                long = f"{host}.{site}.grid5000.fr"
                for added, interface in ADDED:
                    for end in ("", f".{site}", f".{site}.grid5000.fr"):
                        name = host + added + end
                        assert canonical_host_name(name) == host + end
                        assert get_host_shortname(name) == host
                        assert get_host_cluster(name) == cluster
                        assert get_host_site(name) == site
                        assert get_host_interface(name) == interface
                        assert get_host_longname(name) == f"{host}{added}.{site}.grid5000.fr"
                assert get_host_attributes(Host(long, user="root"))["uid"] == host
    some = Host(long, user="root")
    assert canonical_host_name(Host(f"{host}-eth1.{site}", user="root")) == Host(f"{host}.{site}", user="root")
    assert some.address == long


@pytest.mark.parametrize("name", ["foo", "", "foo.bar", "1-2-3", "frontend.lyon.grid5000.fr", "a.b.c"])
def test_other_names_are_left_alone(facts: dict[str, Any], name: str) -> None:
    assert canonical_host_name(name) == name
    assert get_host_cluster(name) is None
    assert get_host_interface(name) is None
    assert get_host_shortname(name) == name.partition(".")[0]


def test_unknown_names(facts: dict[str, Any]) -> None:
    site, cluster = facts["site"], facts["cluster"]
    assert get_cluster_site("nope") is None
    assert get_host_site("nope-1") is None
    assert get_host_longname("nope-1") is None
    assert get_host_longname("foo.bar") == "foo.bar.grid5000.fr"
    assert get_host_site(f"nope-1.{site}.grid5000.fr") == site
    assert get_host_site(f"{cluster}-9999") == site
    assert get_host_cluster("nope-1") == "nope"
    assert get_network_equipment_site("nope") is None
    for unknown in (lambda: get_site_clusters("nope"), lambda: get_site_hosts("nope"), lambda: get_site_network_equipments("nope"),
                    lambda: get_cluster_hosts("nope"), lambda: get_cluster_queues("nope"), lambda: get_cluster_jobtypes("nope"),
                    lambda: get_cluster_network_equipments("nope"), lambda: get_host_network_equipments("nope-1"),
                    lambda: get_host_switch("nope-1"), lambda: get_g5k_hosts(site="nope")):
        with pytest.raises(ValueError, match=r"unknown g5k (site|cluster|host) nope"):
            unknown()
    for missing in (lambda: get_host_attributes("nope-1"), lambda: get_cluster_attributes("nope"), lambda: get_site_attributes("nope"),
                    lambda: get_network_equipment_attributes("nope"), lambda: filter_clusters(["nope"])):
        with pytest.raises(KeyError):
            missing()
    with pytest.raises(TypeError, match="host: expected a string or a Host, found 3"):
        get_host_site(3)  # type: ignore[arg-type]      # what is under test


def test_equipments_whose_names_repeat_are_told_apart_by_their_site(facts: dict[str, Any]) -> None:
    with_gw = [site for site in get_g5k_sites() if "gw" in get_site_network_equipments(site)]
    assert len(with_gw) >= 3
    for site in with_gw:
        assert get_network_equipment_site(f"gw.{site}") == get_network_equipment_site(f"gw.{site}.grid5000.fr") == site
        found = get_network_equipment_attributes(f"gw.{site}")
        assert found is get_network_equipment_attributes("gw", site=site) is get_api_data()["network"][site]["gw"]
    with pytest.raises(ValueError, match=r"gw in .*: say which, as in 'gw\.\w+'"):
        get_network_equipment_attributes("gw")
    with pytest.raises(ValueError, match="gw in"):
        get_network_equipment_site("gw")
    with pytest.raises(KeyError):
        get_network_equipment_attributes("nope.lyon")
    with pytest.raises(ValueError, match="not one of site"):
        get_network_equipment_attributes("gw.lyon", site="nancy")
    with pytest.raises(ValueError, match="unknown g5k site"):
        get_network_equipment_attributes("gw", site="nowhere")


def test_every_equipment_is_found(facts: dict[str, Any]) -> None:
    for site in get_g5k_sites():
        for name in get_site_network_equipments(site):
            assert get_network_equipment_attributes(name, site)["uid"] == name
            assert get_network_equipment_site(f"{name}.{site}") == site
    for equipment in get_api_data()["network"]["backbone"]:
        assert get_network_equipment_attributes(equipment["uid"]) is equipment
        assert get_network_equipment_site(equipment["uid"]) is None


def test_hosts_of_all_queues_are_connected_to_equipments_of_their_site(facts: dict[str, Any]) -> None:
    for host in get_g5k_hosts(None):
        site = get_host_site(host)
        assert site is not None
        names = get_host_network_equipments(host)
        assert names
        assert get_host_switch(host) in names
        for name in names:
            assert get_network_equipment_site(f"{name}.{site}") == site
    for cluster in get_g5k_clusters(None):
        assert get_cluster_network_equipments(cluster)
    for host, switch in facts["switches"].items():
        assert get_host_switch(host) == switch


def test_hosts_are_grouped_as_they_were_given(facts: dict[str, Any]) -> None:
    site, cluster = facts["site"], facts["cluster"]
    host = Host(f"{cluster}-2.{site}.grid5000.fr")
    assert group_hosts([f"{cluster}-1", host, "nope-1", "foo", f"{cluster}-3-kavlan-4"]) == {
        site: {cluster: [f"{cluster}-1", host, f"{cluster}-3-kavlan-4"]}, None: {"nope": ["nope-1"], None: ["foo"]}}


def test_a_resource_is_asked_for_each_time(facts: dict[str, Any]) -> None:
    assert get_resource_attributes(f"/sites/{facts['site']}")["uid"] == facts["site"]
    assert get_resource_attributes(f"sites/{facts['site']}/status")["nodes"]


def test_networks_of_vlans(facts: dict[str, Any]) -> None:
    site, vlan, network = facts["kavlan"]
    assert get_kavlan_network(vlan, site) == get_kavlan_network(str(vlan), site) == network
    assert get_kavlan_network(99, site) == get_kavlan_network(4, "bordeaux") == (None, None)
    with pytest.raises(ValueError, match="unknown g5k site"):
        get_kavlan_network(4, "nowhere")
    pairs = get_kavlan_ip_mac(vlan, site)
    start = network[0].removesuffix("0.0")
    assert len(pairs) == len({ip for ip, _ in pairs}) == len({mac for _, mac in pairs}) == 62 * 253
    assert pairs[0][0] == f"{start}2.1"
    assert pairs[252][0] == f"{start}2.253"
    assert pairs[253][0] == f"{start}3.1"
    assert pairs[-1][0] == f"{start}63.253"
    assert all(re.fullmatch("00:20:4e(:[0-9a-f]{2}){3}", mac) for _, mac in pairs)
    with pytest.raises(ValueError, match="has no VLAN 99"):
        get_kavlan_ip_mac(99, site)


def test_the_fastest_host(facts: dict[str, Any]) -> None:
    hosts = [get_cluster_hosts(cluster)[0] for cluster in get_g5k_clusters(None)]
    fastest = get_fastest_host(hosts)
    speed = {host: get_host_attributes(host)["performance"]["core_flops"] for host in hosts}
    assert speed[fastest] == max(speed.values())
    twin = Host(f"{fastest}.{get_host_site(fastest)}.grid5000.fr")
    assert get_fastest_host([fastest, twin]) is fastest
    assert get_fastest_host([twin, fastest]) is twin
    with pytest.raises(ValueError, match="at least one"):
        get_fastest_host([])
    with pytest.raises(KeyError):
        get_fastest_host(["nope-1"])
