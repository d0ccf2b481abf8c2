"""Plannings of whole platforms: that of the box, and today's Grid'5000 where its data is at hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from platforms import PLATFORMS, configured, serve

from execo_g5k import config
from execo_g5k._planning.build import SPECIAL
from execo_g5k.api_utils import get_cluster_queues, get_g5k_clusters, get_g5k_sites, get_host_cluster, get_site_clusters
from execo_g5k.planning import (
    compute_coorm_slots,
    compute_slots,
    distribute_hosts,
    find_free_slot,
    get_jobs_specs,
    get_planning,
    max_resources,
)

Planning = dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=PLATFORMS)
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(request.param) as uri, configured(uri, tmp_path_factory.mktemp("cache")):
        yield uri


@pytest.fixture(autouse=True)
def settings(platform: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    config.g5k_configuration.update(api_uri=platform, planning_source="api", api_timeout=20)


def whole(**options: Any) -> Planning:
    planning = get_planning(queues=None, **options)
    assert planning is not None
    return planning


def test_all_sites_that_have_clusters_are_planned() -> None:
    planning = whole(vlan=True, subnet=True, storage=True, per="core")
    assert sorted(planning) == sorted(site for site in get_g5k_sites() if get_site_clusters(site, None))
    start_end = set()
    for clusters in planning.values():
        assert clusters["vlans"]
        assert clusters["subnets"]
        assert all(name not in ("vlans", "subnets", "storage") for name in get_g5k_clusters(None))
        for name, elements in clusters.items():
            for host, element in elements.items():
                assert name in SPECIAL or get_host_cluster(host) == name
                dates = sorted([*element["busy"], *element["free"]])
                assert all(a[1] == b[0] for a, b in pairwise(dates))
                start_end.add((dates[0][0], dates[-1][1]))
                for core in element.get("cores", {}).values():
                    # busy dates of a core are dates when its host is busy
                    assert all(any(a <= start and end <= b for a, b in element["busy"]) for start, end in core["busy"])
    assert len(start_end) == 1


def test_all_clusters_can_be_asked_for() -> None:
    group = re.compile(r"\{cluster='(\w+)'\}/nodes=1")
    for cluster in get_g5k_clusters(None):
        ((spec, site),) = get_jobs_specs({cluster: 1})
        assert group.fullmatch(str(spec.resources))
        assert cluster in get_site_clusters(site, None)
        queues = get_cluster_queues(cluster)
        assert spec.queue is None if "default" in queues else spec.queue in queues


def test_slots_of_all_clusters() -> None:
    planning = whole(vlan=True)
    slots = compute_slots(planning, 3600)
    most = max_resources(planning)
    assert set(most) | {"kavlan"} == set(slots[0][2])
    assert all(0 <= counts[name] <= most[name] for _, _, counts in slots for name in most)
    assert all(counts["grid5000"] == sum(counts[site] for site in planning) for _, _, counts in slots)
    assert compute_slots(planning, 3600) == slots
    start, _, resources = find_free_slot(slots, {"grid5000": 5, "kavlan": 1})
    assert resources is not None
    specs = get_jobs_specs(distribute_hosts(resources, {"grid5000": 5, "kavlan": 1}))
    assert sum(int(number) for spec, _ in specs for number in re.findall(r"nodes=(\d+)", str(spec.resources))) == 5
    assert sum(str(spec.resources).count("vlan=1") for spec, _ in specs) == 1
    assert compute_coorm_slots(planning)[-1][1] > start


def test_a_planning_of_each_site_alone_is_its_part_of_the_whole() -> None:
    period: Any = {"starttime": 1_790_000_000, "endtime": 1_800_000_000}
    planning = whole(**period)
    for site in planning:
        assert get_planning(site, queues=None, **period) == {site: planning[site]}
