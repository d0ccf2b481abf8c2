"""The graph of hosts and equipment, on a small network with today's peculiarities, and its figure."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from execo.host import Host

nx = pytest.importorskip("networkx", reason="networkx is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from execo_g5k._topology import graph as graph_module  # noqa: E402     # after networkx is known to be there
from execo_g5k._topology.links import Port, narrow_linecards, ports, site_links  # noqa: E402
from execo_g5k.topology import arbitrary_latency, g5k_graph, treemap  # noqa: E402

G = 10 ** 9


def _host(*adapters: tuple[str, str, int, bool], cores: int = 8) -> dict[str, Any]:
    """(device, switch, rate, mounted) of each adapter; one for management is always there."""
    described = [{"device": device, "switch": switch, "rate": rate, "mounted": mounted, "mountable": True, "management": False,
                  "interface": "Ethernet"} for device, switch, rate, mounted in adapters]
    bmc = {"device": "bmc", "switch": "sw-adm", "rate": G, "mounted": False, "mountable": False, "management": True,
           "interface": "Ethernet"}
    return {"network_adapters": [*described, bmc], "performance": {"core_flops": 38400000000}, "architecture": {"nb_cores": cores}}


def _equipment(uid: str, kind: str, cards: list[list[dict[str, Any]]], rate: int = 10 * G, **more: Any) -> dict[str, Any]:
    return {"uid": uid, "kind": kind, "linecards": [{"ports": []}, *({"rate": rate, "ports": card} for card in cards)], **more}


def _node(uid: str, device: str = "eth0", **more: Any) -> dict[str, Any]:
    return {"uid": uid, "kind": "node", "port": device, **more}


NORTH = {
    # no backplane at all
    "gw": _equipment("gw", "router", [[{"uid": "renater-north", "kind": "backbone"}, {"uid": "lag1", "kind": "channel"},
                                       {"uid": "lag1", "kind": "channel"}, {"uid": "srv-data", "kind": "server"}, {}]],
                     alias=["gw-north", {"name": "gw-adm", "ip": "172.17.0.1"}], channels={"lag1": {"uid": "sw-1", "kind": "switch"}}),
    # null, and a channel whose ports are on two linecards
    "sw-1": _equipment("sw-1", "switch", [[{"uid": "po1", "kind": "channel"}, _node("alpha-1"), _node("alpha-2"), _node("gone-7"),
                                           _node("beta-1", "eth1")],
                                          [{"uid": "po1", "kind": "channel"}, _node("alpha-3", rate=G), {"uid": "sw-2", "kind": "switch"}]],
                       backplane_bps=None, channels={"po1": {"uid": "gw", "kind": "router", "rate": 20 * G}}),
    # only sw-1 says that this one is there
    "sw-2": _equipment("sw-2", "switch", [[_node("beta-1"), _node("beta-2")]], 25 * G, backplane_bps=1440 * G),
    # a switch that nothing leads to
    "island": _equipment("island", "hpcswitch", [[_node("alpha-1", "ib0")]]),
}
SOUTH = {
    # the router of each site has the same name; nothing here says that it is in the backbone
    "gw": _equipment("gw", "router", [[{"uid": "sw-1", "kind": "switch", "rate": 40 * G}]], alias=["gw-south"], backplane_bps=640 * G),
    "sw-1": {"uid": "sw-1", "kind": "switch", "backplane_bps": 1000 * G, "linecards": [
        {"ports": []},
        {"rate": 10 * G, "backplane_bps": 30 * G, "ports": [_node("gamma-1"), _node("gamma-2")]},
        {"rate": 10 * G, "backplane_bps": 1000 * G, "ports": [_node("gamma-3"), {"uid": "gw", "kind": "router", "rate": 40 * G}]}]},
}
LONELY = {"gw": _equipment("gw", "router", [[_node("delta-1"), {"uid": "renater-lonely", "kind": "backbone"}]])}
BACKBONE = [
    _equipment("renater-north", "virtual", [[{"uid": "renater-middle"}, {"uid": "gw-north", "kind": "router", "site_uid": "north"}]]),
    _equipment("renater-middle", "virtual", [[{"uid": "renater-north"}, {"uid": "renater-south"}, {"uid": "renater-far"}]]),
    _equipment("renater-south", "virtual", [[{"uid": "renater-middle"}, {"uid": "gw-south", "kind": "router", "site_uid": "south"}]]),
    _equipment("renater-far", "virtual", [[{"uid": "renater-middle"}]]),
]
DATA: dict[str, Any] = {
    "sites": {"north": {}, "south": {}, "lonely": {}, "empty": {}},
    "clusters": {"alpha": {"queues": ["default"]}, "beta": {"queues": ["abaca", "production"]}, "gamma": {}, "gam": {}, "delta": {}},
    "hierarchy": {"north": {"alpha": ["alpha-1", "alpha-2", "alpha-3"], "beta": ["beta-1", "beta-2"]},
                  "south": {"gamma": ["gamma-1", "gamma-2", "gamma-3"], "gam": ["gam-1"]}, "lonely": {"delta": ["delta-1"]}, "empty": {}},
    "hosts": {
        "alpha-1": _host(("eth0", "sw-1", 10 * G, True)), "alpha-2": _host(("eth0", "sw-1", 10 * G, True)),
        "alpha-3": _host(("eth0", "sw-1", 10 * G, True)),
        "beta-1": _host(("eth0", "sw-2", 25 * G, True), ("eth1", "sw-1", 10 * G, False)), "beta-2": _host(("eth0", "sw-2", 10 * G, True)),
        "gamma-1": _host(("eth0", "sw-1", 10 * G, True)), "gamma-2": _host(("eth0", "sw-1", 10 * G, True)),
        "gamma-3": _host(("eth0", "sw-1", 10 * G, True)), "gam-1": _host(("eth0", "not-described", 10 * G, True)),
        "delta-1": _host(("eth0", "gw", 10 * G, True)),
    },
    "network": {"backbone": BACKBONE, "north": NORTH, "south": SOUTH, "lonely": LONELY},
}


@pytest.fixture(autouse=True)
def _small_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    data = copy.deepcopy(DATA)
    monkeypatch.setattr(graph_module, "get_api_data", lambda: data)


def edge(gr: Any, one: str, other: str) -> dict[str, Any]:
    """The only edge between two nodes."""
    (attributes,) = gr[one][other].values()
    return dict(attributes)


def names(nodes: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [name for name, _ in nodes]


# Ports and links

def test_channels_are_followed_and_unused_ports_passed_over() -> None:
    assert ports(NORTH["gw"]) == [Port(1, uid, kind, None, None, 10 * G) for uid, kind in (
        ("renater-north", "backbone"), ("srv-data", "server"), ("sw-1", "switch"), ("sw-1", "switch"))]


def test_a_link_is_as_wide_as_its_narrower_end_and_one_description_is_enough() -> None:
    links = {link.ends: link for link in site_links(NORTH)}
    assert set(links) == {("gw", "sw-1"), ("sw-1", "sw-2")}
    assert links["gw", "sw-1"].bandwidth == 20 * G
    assert links["gw", "sw-1"].linecards == (frozenset({1}), frozenset({1, 2}))           # the original refused such a channel
    assert links["sw-1", "sw-2"].bandwidth == 10 * G


def test_a_linecard_counts_only_if_it_is_narrower_than_its_equipment() -> None:
    assert narrow_linecards(SOUTH["sw-1"]) == {1: 30 * G}
    assert narrow_linecards(NORTH["sw-1"]) == {}


# Graphs

def test_an_empty_graph_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_module, "get_api_data", lambda: pytest.fail("asked"))
    assert len(g5k_graph()) == 0


def test_a_site_with_missing_and_null_backplanes_and_a_production_cluster() -> None:
    gr = g5k_graph("north")
    assert isinstance(gr, nx.MultiGraph)
    assert sorted(gr) == ["alpha-1", "alpha-2", "alpha-3", "beta-1", "beta-2", "gw.north", "renater-north", "sw-1.north", "sw-2.north"]
    assert nx.is_connected(gr)
    assert gr.nodes["alpha-1"] == {"kind": "node", "power": 38400000000, "cores": 8}
    assert gr.nodes["gw.north"] == {"kind": "router", "backplane": None}
    assert gr.nodes["sw-1.north"] == {"kind": "switch", "backplane": None}
    assert gr.nodes["sw-2.north"] == {"kind": "switch", "backplane": 1440 * G}
    assert edge(gr, "sw-1.north", "gw.north") == {"bandwidth": 20 * G, "active": True}
    assert edge(gr, "alpha-3", "sw-1.north")["bandwidth"] == G          # as its port, not as its adapter
    assert edge(gr, "beta-1", "sw-1.north") == {"bandwidth": 10 * G, "active": False}
    assert gr.has_edge("beta-1", "sw-2.north", key="beta-1-eth0_sw-2.north")
    assert gr.get_clusters() == ["alpha", "beta"]


def test_a_host_brings_what_it_is_connected_to_and_may_be_named_in_any_way() -> None:
    gr = g5k_graph(["alpha-2.north.grid5000.fr", Host("alpha-1-kavlan-4.north.grid5000.fr")])
    assert sorted(gr) == ["alpha-1", "alpha-2", "gw.north", "renater-north", "sw-1.north", "sw-2.north"]
    before = sorted(gr.edges(keys=True))
    gr.add_host("alpha-1")
    assert sorted(gr.edges(keys=True)) == before


def test_a_description_of_ones_own_may_be_given() -> None:
    gr = g5k_graph()
    gr.add_host("alpha-1", _host(("eth9", "sw-2", 25 * G, True), cores=64))
    assert gr.nodes["alpha-1"]["cores"] == 64
    assert edge(gr, "alpha-1", "sw-2.north") == {"bandwidth": 25 * G, "active": True}


def test_a_host_on_a_narrow_linecard_is_behind_it() -> None:
    gr = g5k_graph("gamma")
    assert gr.nodes["sw-1-lc1.south"] == {"kind": "linecard", "backplane": 30 * G}
    assert edge(gr, "gamma-1", "sw-1-lc1.south")["bandwidth"] == 10 * G
    assert edge(gr, "sw-1-lc1.south", "sw-1.south")["bandwidth"] == 30 * G
    assert edge(gr, "gamma-3", "sw-1.south")["bandwidth"] == 10 * G


def test_a_host_at_a_switch_that_nobody_describes_is_alone() -> None:
    gr = g5k_graph("gam-1")
    assert list(gr) == ["gam-1"]
    assert gr.get_path("gam-1", "gam-1") == ["gam-1"]


def test_several_sites_have_the_backbone_between_them_and_no_more() -> None:
    gr = g5k_graph(["north", "gamma-1"])
    assert names(gr.get_backbone()) == ["renater-middle", "renater-north", "renater-south"]
    assert edge(gr, "renater-middle", "renater-north") == {"bandwidth": 10 * G, "active": True, "latency": arbitrary_latency}
    assert gr.get_path("alpha-1", "gamma-1") == ["alpha-1", "sw-1.north", "gw.north", "renater-north", "renater-middle", "renater-south",
                                                 "gw.south", "sw-1.south", "sw-1-lc1.south", "gamma-1"]
    assert gr.get_bandwidth("alpha-1", Host("gamma-1.south.grid5000.fr")) == 10 * G
    assert gr.get_latency("alpha-1", "gamma-1") == 2 * arbitrary_latency
    assert gr.get_sites() == ["north", "south"]
    assert gr.get_site_router("south") == ("gw.south", {"kind": "router", "backplane": 640 * G})


def test_the_whole_platform_also_has_sites_that_nothing_connects_and_one_without_clusters() -> None:
    gr = g5k_graph("grid5000")
    assert gr.get_sites() == ["lonely", "north", "south"]
    assert gr.get_clusters() == ["alpha", "beta", "delta", "gam", "gamma"]
    with pytest.raises(nx.NetworkXNoPath, match=r"no way from delta-1 to alpha-1 .* without a described link to the backbone: lonely"):
        gr.get_path("delta-1", "alpha-1")


def test_paths_use_what_is_mounted_only() -> None:
    gr = g5k_graph(["beta-1", "alpha-1"])
    assert gr.get_path("beta-1", "alpha-1") == ["beta-1", "sw-2.north", "sw-1.north", "alpha-1"]


@pytest.mark.parametrize("element", ["nowhere", "alpha-99"])
def test_an_unknown_element_is_refused_by_name(element: str) -> None:
    with pytest.raises(ValueError, match=element):
        g5k_graph(["north", element])


def test_unknown_things_are_refused_by_name() -> None:
    gr = g5k_graph("north")
    for call, word in ((lambda: gr.add_cluster("omega"), "omega"), (lambda: gr.add_site("omega"), "omega"),
                       (lambda: gr.add_equip("omega", "north"), "omega"), (lambda: gr.add_equip("gw", "omega"), "omega"),
                       (lambda: gr.rm_host("gamma-1"), "gamma-1"), (lambda: gr.rm_cluster("gamma"), "gamma"),
                       (lambda: gr.rm_site("south"), "south"), (lambda: gr.rm_equip("gw.south"), "gw.south"),
                       (lambda: gr.rm_equip("alpha-1"), "alpha-1"), (lambda: gr.get_site_router("south"), "south"),
                       (lambda: gr.get_host_neighbours("gamma-1"), "gamma-1"), (lambda: gr.get_equip_hosts("gw.south"), "gw.south"),
                       (lambda: gr.get_host_adapters("omega-1"), "omega-1"), (lambda: gr.get_path("alpha-1", "gamma-1"), "gamma-1")):
        with pytest.raises(ValueError, match=word):
            call()


# Methods that failed in the original

def test_hosts_of_a_cluster_are_those_of_that_cluster() -> None:
    gr = g5k_graph(["north", "south"])
    assert names(gr.get_hosts(cluster="gam")) == ["gam-1"]
    assert names(gr.get_hosts(site="south")) == ["gam-1", "gamma-1", "gamma-2", "gamma-3"]
    assert names(gr.get_hosts("alpha", "south")) == []
    assert gr.get_clusters("south") == ["gam", "gamma"]
    assert gr.get_clusters("north") == ["alpha", "beta"]


def test_hosts_of_equipment_and_neighbours() -> None:
    gr = g5k_graph(["north", "south"])
    assert gr.get_equip_hosts("sw-1.north") == ["alpha-1", "alpha-2", "alpha-3", "beta-1"]
    assert gr.get_equip_hosts("sw-1.south") == ["gamma-1", "gamma-2", "gamma-3"]
    assert gr.get_equip_hosts("sw-1-lc1.south") == ["gamma-1", "gamma-2"]
    assert gr.get_host_neighbours("alpha-1.north.grid5000.fr") == ["alpha-2", "alpha-3", "beta-1"]
    assert gr.get_host_neighbours("gamma-1") == ["gamma-2"]
    assert [adapter["device"] for adapter in gr.get_host_adapters("beta-1")] == ["eth0", "eth1"]


def test_hosts_and_clusters_are_removed() -> None:
    gr = g5k_graph("north")
    gr.rm_host("alpha-1")
    gr.rm_cluster("beta")
    assert names(gr.get_hosts()) == ["alpha-2", "alpha-3"]
    assert "sw-2.north" in gr
    with pytest.raises(ValueError, match="alpha-1"):
        gr.rm_host("alpha-1")


def test_equipment_goes_with_its_linecards() -> None:
    gr = g5k_graph("south")
    gr.rm_equip("sw-1.south")
    assert sorted(gr) == ["gam-1", "gamma-1", "gamma-2", "gamma-3", "gw.south", "renater-south"]


def test_a_site_and_the_backbone_go_and_come_again() -> None:
    gr = g5k_graph(["north", "south"])
    whole = {key for *_, key in gr.edges(keys=True)}
    gr.rm_site("south")
    assert gr.get_sites() == ["north"]
    assert "renater-south" not in gr
    gr.add_site("south")
    gr.add_backbone()
    assert {key for *_, key in gr.edges(keys=True)} == whole
    gr.rm_backbone()
    assert gr.get_backbone() == []
    with pytest.raises(nx.NetworkXNoPath):
        gr.get_path("alpha-1", "gamma-1")


def test_nodes_of_ones_own_may_be_added() -> None:
    gr = g5k_graph("north")
    gr.add_node("laptop")
    gr.add_node("mine-1", kind="node")
    gr.add_edge("mine-1", "sw-1.north", bandwidth=G)
    gr.add_edge("laptop", "mine-1", bandwidth=G)
    assert gr.get_sites() == ["north"]
    assert gr.get_clusters() == ["alpha", "beta"]
    assert "mine-1" in names(gr.get_hosts())
    assert "mine-1" not in names(gr.get_hosts(site="north"))
    assert gr.get_host_neighbours("mine-1") == ["alpha-1", "alpha-2", "alpha-3", "beta-1"]
    assert gr.get_path("laptop", "alpha-1") == ["laptop", "mine-1", "sw-1.north", "alpha-1"]
    assert gr.get_bandwidth("laptop", "alpha-1") == G


def test_networkx_copies_and_pickles_it() -> None:
    gr = g5k_graph("north")
    for other in (gr.copy(), gr.subgraph(["alpha-1", "sw-1.north"]).copy(), pickle.loads(pickle.dumps(gr)), g5k_graph(gr)):
        assert type(other) is g5k_graph
        assert edge(other, "alpha-1", "sw-1.north") == edge(gr, "alpha-1", "sw-1.north")
    assert g5k_graph.__module__ == "execo_g5k.topology"


# Without the extra

def test_without_networkx_the_name_can_be_imported_and_its_use_names_the_extra() -> None:
    script = """
import sys
from importlib import util
found = util.find_spec
util.find_spec = lambda name, *more: None if name in ("networkx", "matplotlib") else found(name, *more)
from execo_g5k.topology import *
assert "networkx" not in sys.modules and "matplotlib" not in sys.modules
for use, extra in ((lambda: g5k_graph("north"), "topology"), (lambda: treemap(None), "topology")):
    try:
        use()
    except ImportError as error:
        assert f"pip install 'execo_g5k[{extra}]'" in str(error), error
    else:
        raise SystemExit("no error")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# Figures

def places(figure: Any) -> list[tuple[float, ...]]:
    """Where its nodes are."""
    return [tuple(round(at, 3) for at in place) for points in figure.axes[0].collections for place in points.get_offsets().tolist()]


def texts(figure: Any) -> set[str]:
    return {text.get_text() for text in figure.axes[0].texts}


@pytest.mark.leaks("matplotlib keeps the fonts open that it has used")
def test_a_figure_names_everything_and_can_be_written(tmp_path: Path) -> None:
    figure = treemap(g5k_graph(["north", "south"]))
    figure.savefig(tmp_path / "network.png")
    assert (tmp_path / "network.png").stat().st_size > 10000
    assert {"alpha-1", "sw-1", "gw.north", "gw.south", "North", "Middle"} <= texts(figure)
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {"switch", "router", "10 Gbit/s"}


def test_in_a_compact_figure_hosts_that_are_plugged_in_alike_are_one() -> None:
    shown = texts(treemap(g5k_graph(["north", "south"]), compact=True))
    assert {"alpha ×3", "gam", "beta", "beta (beta-2+)"} <= shown
    assert "alpha-1" not in shown


@pytest.mark.parametrize("layout", ["dot", "circular", lambda gr: {name: (number, 0) for number, name in enumerate(gr)}])
def test_other_layouts(layout: Any) -> None:
    assert len(set(places(treemap(g5k_graph("north"), layout=layout)))) == 9


def test_no_two_nodes_of_separate_trees_are_at_one_place() -> None:
    found = places(treemap(g5k_graph("grid5000")))
    assert len(found) == len(set(found)) == len(g5k_graph("grid5000"))


def test_legends_and_labels_may_be_given() -> None:
    figure: Any = treemap(g5k_graph("north"), {"switch": {"color": "#ff0000"}}, {1.0: {"width": 7, "color": "#00ff00"}},
                     {"node": {"nodes": ["alpha-1"], "str_func": str.upper}})
    assert texts(figure) == {"ALPHA-1"}
    assert {(line.get_linewidth(), line.get_color()) for line in figure.axes[0].lines} == {(7, "#00ff00")}
    assert any((points.get_facecolors()[0] == (1, 0, 0, 1)).all() for points in figure.axes[0].collections)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="no node"):
        treemap(g5k_graph())
    with pytest.raises(ValueError, match="no layout 'pretty'"):
        treemap(g5k_graph("north"), layout="pretty")
    with pytest.raises(ValueError, match="no place for"):
        treemap(g5k_graph("north"), layout=lambda gr: {})
