"""Graphs of whole platforms: that of the box, and today's Grid'5000 where its data is at hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from platforms import PLATFORMS, configured, serve

from execo_g5k import config
from execo_g5k.api_utils import (
    get_api_data,
    get_g5k_clusters,
    get_g5k_hosts,
    get_g5k_sites,
    get_host_network_equipments,
    get_host_site,
    get_site_clusters,
    get_site_hosts,
)
from execo_g5k.topology import g5k_graph, treemap

nx = pytest.importorskip("networkx", reason="networkx is not installed")


@pytest.fixture(scope="module", params=PLATFORMS)
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder = tmp_path_factory.mktemp("cache")
    with serve(request.param) as uri, configured(uri, folder):
        yield uri, str(folder)


@pytest.fixture(autouse=True)
def settings(platform: tuple[str, str]) -> None:
    config.g5k_configuration.update(api_uri=platform[0], api_cache_dir=platform[1], api_timeout=20)


@pytest.fixture(scope="module")
def whole(platform: tuple[str, str]) -> Any:
    config.g5k_configuration.update(api_uri=platform[0], api_cache_dir=platform[1])
    get_api_data()
    begun = time.monotonic()
    gr = g5k_graph("grid5000")
    assert time.monotonic() - begun < 10
    return gr


def test_the_whole_platform_is_there(whole: Any) -> None:
    assert {name for name, _ in whole.get_hosts()} == set(get_g5k_hosts(None))
    assert set(whole.get_clusters()) == set(get_g5k_clusters(None))
    assert set(whole.get_sites()) == set(get_g5k_sites())
    for site in get_g5k_sites():
        assert whole.get_site_router(site)[0] == f"gw.{site}"
        assert set(whole.get_clusters(site)) == set(get_site_clusters(site, None))
    kinds = {attributes["kind"] for _, attributes in whole.nodes(data=True)}
    assert {"node", "switch", "router", "renater"} <= kinds <= {"node", "switch", "router", "renater", "linecard"}
    assert all(edge["bandwidth"] > 0 for *_, edge in whole.edges(data=True))


def test_each_host_is_plugged_into_the_equipment_of_its_own_site(whole: Any) -> None:
    for host, attributes in whole.get_hosts():
        site = get_host_site(host)
        assert attributes["cores"] > 0
        assert attributes["power"] > 0
        assert all(peer.endswith(f".{site}") for peer in whole.neighbors(host))
        plugged = {peer.rpartition(".")[0].partition("-lc")[0] for peer in whole.neighbors(host)}
        assert plugged == set(get_host_network_equipments(host))


def test_each_site_alone_is_connected(whole: Any) -> None:
    for site in get_g5k_sites():
        gr = g5k_graph([site])
        assert nx.is_connected(gr), site
        assert {name for name, _ in gr.get_hosts()} == set(get_site_hosts(site, None))
        router, _ = gr.get_site_router(site)
        for host, _ in gr.get_hosts():
            assert 1e8 <= (gr.get_bandwidth(host, router) or 0) <= 1e12


def test_any_two_sites_are_connected_or_it_is_said_which_is_not(whole: Any) -> None:
    routers = {site: whole.get_site_router(site)[0] for site in get_g5k_sites()}
    linked = {site for site, router in routers.items() if any(peer.startswith("renater-") for peer in whole.neighbors(router))}
    assert len(linked) > 1
    first = min(linked)
    for site, router in routers.items():
        if site in linked:
            path = whole.get_path(routers[first], router)
            assert all(name.startswith("renater-") for name in path[1:-1])
        else:
            with pytest.raises(nx.NetworkXNoPath, match=rf"backbone: .*{site}"):
                whole.get_path(routers[first], router)


@pytest.mark.leaks("matplotlib keeps the fonts open that it has used")
def test_all_of_it_can_be_drawn(whole: Any) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    for compact in (False, True):
        figure = treemap(whole, compact=compact)
        places = [tuple(at) for points in figure.axes[0].collections for at in points.get_offsets().tolist()]   # type: ignore[union-attr]
        assert len(set(places)) == len(places)
        assert (len(places) < len(whole)) is compact
