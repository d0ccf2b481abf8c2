"""Slots, against a model that looks at the whole planning for each of them; and what is chosen of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning import host, served

from execo import Host
from execo_g5k._planning.intervals import merged
from execo_g5k.planning import (
    compute_coorm_slots,
    compute_slots,
    find_coorm_slot,
    find_first_slot,
    find_free_slot,
    find_max_slot,
    max_resources,
)

Planning = dict[str, dict[str, Any]]
NOTHING = (None, None, None)


def example() -> Planning:
    return {
        "lyon": {"saone": {"saone-1.lyon.grid5000.fr": host([(100, 200)]), "saone-2.lyon.grid5000.fr": host([])},
                 "rhone": {"rhone-1.lyon.grid5000.fr": host([(0, 500)])}},
        "rennes": {"vilaine": {"vilaine-1.rennes.grid5000.fr": host([(50, 60)])}},
    }


def with_vlans() -> Planning:
    planning = example()
    planning["lyon"]["vlans"] = {"kavlan-4": host([(0, 300)]), "kavlan-5": host([(0, 400)]), "kavlan-13": host([(0, 250)])}
    planning["rennes"]["vlans"] = {"kavlan-4": host([]), "kavlan-16": host([(0, 500)])}
    return planning


def naive_slots(planning: Planning, walltime: float) -> list[list[Any]]:
    """What the contract says, word by word."""
    special = ("vlans", "subnets", "storage")
    dates = {date for clusters in planning.values() for elements in clusters.values() for element in elements.values()
             for kind in ("busy", "free") for interval in element[kind] for date in interval}
    slots = []
    for start in sorted(dates)[:-1]:
        counts: dict[str, Any] = {"grid5000": 0}
        for site, clusters in planning.items():
            counts[site] = 0
            for cluster, hosts in clusters.items():
                if cluster in special:
                    continue
                counts[cluster] = 0
                for name, element in hosts.items():
                    counts[name] = int(any(a <= start and b >= start + walltime for a, b in element["free"]))
                    for part in (cluster, site, "grid5000"):
                        counts[part] += counts[name]
        slots.append([start, start + walltime, counts])
    return slots


DATES = st.integers(0, 60)
BUSY = st.lists(st.tuples(DATES, DATES), max_size=5).map(lambda intervals: host(merged(intervals), 0, 60))


@st.composite
def plannings(draw: st.DrawFn) -> Planning:
    return {f"site{s}": {f"cluster{s}{c}": {f"cluster{s}{c}-{h}.site{s}.grid5000.fr": draw(BUSY) for h in range(draw(st.integers(0, 3)))}
                         for c in range(draw(st.integers(0, 2)))} for s in range(draw(st.integers(0, 3)))}


@given(plannings(), st.integers(0, 70))
def test_slots_are_those_of_the_naive_model(planning: Planning, walltime: int) -> None:
    before = copy.deepcopy(planning)
    assert compute_slots(planning, walltime, include_hosts=True) == naive_slots(planning, walltime)
    assert planning == before


@given(plannings(), st.integers(1, 30), st.dictionaries(st.sampled_from(["site0", "cluster00", "grid5000", "cluster10"]), st.integers(0, 4),
                                                        min_size=1, max_size=1))
def test_the_free_slot_is_the_first_that_is_large_enough(planning: Planning, walltime: int, wanted: dict[str, int]) -> None:
    slots = compute_slots(planning, walltime)
    ((name, number),) = wanted.items()
    large = [slot for slot in slots if name in slot[2] and slot[2][name] >= number]
    assert find_free_slot(slots, wanted) == (large[0] if large else NOTHING)
    some = [slot for slot in slots if slot[2].get(name, 0) > 0]
    assert find_first_slot(slots, wanted) == (some[0] if some else NOTHING)
    assert find_max_slot(slots, wanted) == (max(some, key=lambda slot: slot[2][name]) if some else NOTHING)


def test_slots_by_hand() -> None:
    assert compute_slots(example(), "0:01:30") == [
        [0, 90, {"grid5000": 2, "lyon": 2, "saone": 2, "rhone": 0, "rennes": 0, "vilaine": 0}],
        [50, 140, {"grid5000": 1, "lyon": 1, "saone": 1, "rhone": 0, "rennes": 0, "vilaine": 0}],
        [60, 150, {"grid5000": 2, "lyon": 1, "saone": 1, "rhone": 0, "rennes": 1, "vilaine": 1}],
        [100, 190, {"grid5000": 2, "lyon": 1, "saone": 1, "rhone": 0, "rennes": 1, "vilaine": 1}],
        [200, 290, {"grid5000": 3, "lyon": 2, "saone": 2, "rhone": 0, "rennes": 1, "vilaine": 1}],
        [500, 590, {"grid5000": 4, "lyon": 3, "saone": 2, "rhone": 1, "rennes": 1, "vilaine": 1}],
    ]
    assert compute_slots({}, 10) == []


@pytest.mark.parametrize("excluded", ["saone", ["saone"], ["saone-1", "saone-2.lyon.grid5000.fr"], [Host("saone-1"), "saone-2"]], ids=str)
def test_excluded_elements_do_not_count_and_stay_in_the_planning(excluded: Any) -> None:
    planning = example()
    slots = compute_slots(planning, 90, excluded)
    assert [slot[2]["lyon"] for slot in slots] == [0] * (len(slots) - 1) + [1]
    assert planning == example()
    assert "saone" not in compute_slots(planning, 90, "lyon")[0][2]


def test_vlans_of_several_sites_are_the_sites_whose_global_one_is_free() -> None:
    assert [(slot[0], slot[2]["kavlan"]) for slot in compute_slots(with_vlans(), 90)] == [
        (0, []), (50, []), (60, []), (100, []), (200, []), (250, ["lyon"]), (300, ["lyon"]), (400, ["lyon"]), (500, ["lyon", "rennes"])]


def test_vlans_of_one_site_are_the_number_of_routed_ones_that_are_free() -> None:
    planning = {"lyon": with_vlans()["lyon"]}
    assert [(slot[0], slot[2]["kavlan"]) for slot in compute_slots(planning, 90)] == [
        (0, 0), (100, 0), (200, 0), (250, 0), (300, 1), (400, 2), (500, 2)]


@pytest.mark.parametrize("walltime", [-1, None])
def test_a_walltime_that_is_none_is_refused(walltime: Any) -> None:
    with pytest.raises(ValueError, match="walltime"):
        compute_slots(example(), walltime)


def test_no_planning_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="did not know an element"):
        compute_slots(None, 10)  # type: ignore[arg-type]


@pytest.mark.parametrize("find", [find_first_slot, find_max_slot, find_free_slot])
def test_a_kavlan_of_a_planning_without_vlans_is_refused(find: Any) -> None:
    with pytest.raises(ValueError, match="vlan=True"):
        find(compute_slots(example(), 90), {"lyon": 1, "kavlan": 1})


@pytest.mark.parametrize(("wanted", "first", "most", "free"), [
    ({"grid5000": 3}, 0, 500, 200),
    ({"saone": 1, "kavlan": 1}, 250, 250, 250),
    ({"lyon": 2, "kavlan": 1}, 250, 500, 250),
    ({"saone": 2, "kavlan": "rennes"}, 500, 500, 500),
    ({"saone": 2, "kavlan": ["lyon"]}, 250, 250, 250),
    ({"kavlan": 1}, None, None, 250),
    ({"grid5000": 9}, 0, 500, None),
    ({"unknown": 1}, None, None, None),
    ({Host("saone"): 1}, 0, 0, 0),
], ids=str)
def test_which_slot_is_chosen(wanted: dict[Any, Any], first: float | None, most: float | None, free: float | None) -> None:
    slots = compute_slots(with_vlans(), 90)
    before = copy.deepcopy((slots, wanted))
    assert find_first_slot(slots, wanted)[0] == first
    assert find_max_slot(slots, wanted)[0] == most
    assert find_free_slot(slots, wanted)[0] == free
    assert (slots, wanted) == before


@pytest.mark.parametrize("number", [-1, 1.5, "2", True, None])
def test_numbers_that_are_none_are_refused(number: Any) -> None:
    for find in (find_first_slot, find_max_slot, find_free_slot):
        with pytest.raises(ValueError, match="saone"):
            find(compute_slots(example(), 90), {"saone": number})


def test_max_resources_counts_hosts_not_vlans() -> None:
    planning = with_vlans()
    assert max_resources(planning) == {"grid5000": 4, "lyon": 3, "saone": 2, "rhone": 1, "rennes": 1, "vilaine": 1}
    assert planning == with_vlans()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[None]:
    with served({}, tmp_path):
        yield


@pytest.mark.usefixtures("platform")
def test_hosts_of_a_site_and_of_the_grid_are_wanted_beside_those_of_its_clusters() -> None:
    slots = compute_slots(example(), 90, include_hosts=True)
    assert find_free_slot(slots, {"lyon": 1, "saone": 1})[0] == 0
    assert find_free_slot(slots, {"lyon": 1, "saone": 2})[0] == 500
    assert find_free_slot(slots, {"grid5000": 3, "saone": 1})[0] == 500
    assert find_free_slot(slots, {"saone": 1, "saone-1.lyon.grid5000.fr": 1})[0] == 0
    assert find_free_slot(slots, {"saone": 2, "saone-1.lyon.grid5000.fr": 1}) == NOTHING


@pytest.mark.usefixtures("platform")
def test_cores_are_free_from_one_date_to_the_next() -> None:
    planning = with_vlans()
    del planning["rennes"]["vlans"]
    slots = compute_coorm_slots(planning)
    assert planning["lyon"] == with_vlans()["lyon"]
    # 8 cores of each saone, 16 of a rhone, 4 of a vilaine
    assert [(start, stop, count["saone"], count["rhone"], count["rennes"], count["grid5000"]) for start, stop, count in slots] == [
        (0, 50, 16, 0, 4, 20), (50, 60, 16, 0, 0, 16), (60, 100, 16, 0, 4, 20), (100, 200, 8, 0, 4, 12), (200, 250, 16, 0, 4, 20),
        (250, 300, 16, 0, 4, 20), (300, 400, 16, 0, 4, 20), (400, 500, 16, 0, 4, 20), (500, 1000, 16, 16, 4, 36)]
    assert "vlans" not in slots[0][2]
    assert find_coorm_slot(slots, {"lyon": 17})[:2] == (500, 1000)
    assert find_coorm_slot(slots, {"vilaine": 4})[:2] == (0, 50)
    assert find_coorm_slot(slots, {"vilaine": 5}) == NOTHING
    assert find_coorm_slot(slots, {"unknown": 1}) == NOTHING
    assert compute_coorm_slots({}) == []
    assert {count["saone"] for _, _, count in compute_coorm_slots(planning, ["saone-1", "rhone"])} == {8}
