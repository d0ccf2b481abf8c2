"""The first date that suits all sites: what submissions need, and when it is free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planning import DAY, START, host, job, rows_of, served

from execo_g5k._gridbox.reference import make_reference
from execo_g5k._oar.grid import GridJobs
from execo_g5k._planning import common
from execo_g5k._planning.common import Need, common_dates, needs_of, together
from execo_g5k.oar import OarSubmission

SAONE, RHONE = [f"saone-{number}.lyon.grid5000.fr" for number in (1, 2, 3)], ["rhone-1.lyon.grid5000.fr"]
CLUSTERS = {"saone": SAONE, "rhone": RHONE}


@pytest.fixture(autouse=True)
def platform(tmp_path: Path) -> Iterator[None]:
    reference = make_reference()
    everything = rows_of(reference, *(f"saone-{number}" for number in range(1, 9)))
    jobs = {"lyon": [job(1, everything[8:], START - 10, 7200)], "nancy": [job(2, rows_of(reference, "moselle-1"), START - 10, DAY)]}
    with served(jobs, tmp_path, reference):
        yield


@pytest.mark.parametrize(("resources", "options", "needs"), [
    ("nodes=2", {}, [(SAONE, 2)]),
    (None, {}, [(SAONE, 1)]),
    ("nodes=2", {"job_type": ["deploy", "exotic"]}, [(SAONE + RHONE, 2)]),
    ("{cluster='saone'}/nodes=2+nodes=1", {}, [(SAONE, 2), (SAONE, 1)]),
    (["{cluster = 'rhone'}/host=1/core=2", "slash_22=1"], {"job_type": "exotic"}, [(RHONE, 1)]),
    ("{host IN ('saone-1.lyon.grid5000.fr', 'saone-2.lyon.grid5000.fr')}/nodes=2", {}, [(SAONE[:2], 2)]),
    ("{host = 'saone-1.lyon.grid5000.fr'}/nodes=1,{type='kavlan'}/vlan=1,walltime=2:0:0", {}, [(SAONE[:1], 1)]),
    ("{cluster='saone' AND host NOT IN ('saone-1.lyon.grid5000.fr')}/nodes=1", {}, [(SAONE[1:], 1)]),
    ("{cluster NOT IN ('saone')}/nodes=1", {"job_type": "exotic"}, [(RHONE, 1)]),
    ("core=3", {"sql_properties": "cluster='saone'"}, [(SAONE, 1)]),
    ("{(type='disk' or type='default') AND cluster='saone'}/host=1", {}, [(SAONE, 1)]),
    ("{cluster='saone' OR cluster='rhone'}/nodes=1", {"job_type": "exotic"}, [(SAONE + RHONE, 1)]),
    ("nodes=ALL", {}, [(SAONE, 1)]),
    ("{cluster='elsewhere'}/nodes=1", {}, [([], 1)]),
    ("{type='kavlan-global'}/vlan=1", {}, []),
], ids=str)
def test_what_a_submission_needs(resources: Any, options: dict[str, Any], needs: list[tuple[list[str], int]]) -> None:
    found = needs_of(OarSubmission(resources, **options), CLUSTERS)
    assert found == [Need(frozenset(hosts), number) for hosts, number in needs]


def test_dates_that_suit_all() -> None:
    elements = (host([(0, 300)]), host([(100, 200)]), host([(600, 1000)]))
    planning = {"lyon": {"saone": dict(zip(SAONE, elements, strict=True)), "vlans": {}}}
    assert list(common_dates(planning, [Need(frozenset(SAONE), 2)], 100)) == [0, 200, 300, 600]
    assert list(common_dates(planning, [Need(frozenset(SAONE[:2]), 2)], 100)) == [300, 600]
    assert list(common_dates(planning, together([Need(frozenset(SAONE[:2]), 1), Need(frozenset(SAONE), 2)]), 100)) == [300]
    assert list(common_dates(planning, [Need(frozenset(), 1)], 100)) == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Dates for which the sites were asked; they refuse all but the last."""
    dates: list[float] = []

    def refuses(specs: Any, reservation_date: float, **options: Any) -> GridJobs:
        dates.append(reservation_date)
        return GridJobs([(1, "lyon")]) if len(dates) == 3 else GridJobs()

    monkeypatch.setattr(common, "oarsubgrid", refuses)
    return dates


def test_the_next_dates_are_tried_when_a_site_refuses(asked: list[float]) -> None:
    specs = [(OarSubmission("{cluster='saone'}/nodes=1"), "lyon"), (OarSubmission("nodes=1", queue="production"), "nancy")]
    assert common.oarsubgrid_first_slot(specs, 3600) == [(1, "lyon")]
    assert asked == sorted(set(asked))
    assert asked[0] == START + 60


def test_all_of_a_cluster_are_free_after_the_jobs_there(asked: list[float]) -> None:
    specs = [(OarSubmission("nodes=4"), "lyon"), (OarSubmission("{cluster='saone'}/nodes=4"), "lyon")]
    assert common.oarsubgrid_first_slot(specs, 3600, tries=1) == []
    assert asked == [START - 10 + 7200 + 121]
    assert common.oarsubgrid_first_slot([(OarSubmission("nodes=9", 60), "lyon")]) == []
    assert len(asked) == 1
    assert common.oarsubgrid_first_slot([(OarSubmission("nodes=10", 60), "lyon")], job_type="exotic", tries=1) == []
    assert asked == [START - 10 + 7200 + 121] * 2
    assert common.oarsubgrid_first_slot([]) == []


def test_a_site_without_planning_suits_nobody(asked: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "get_planning", lambda *arguments, **options: {})
    assert common.oarsubgrid_first_slot([(OarSubmission("nodes=1", 60), "lyon")]) == []
    assert asked == []
