"""How hosts are distributed, and what OAR is asked for."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planning import DAY, START, job, rows_of, served

from execo import Host
from execo_g5k._gridbox.reference import make_reference
from execo_g5k.planning import distribute_hosts, get_hosts_jobs, get_jobs_specs, show_resources

GROUP = r"(?:\{[^{}]+\})?/?(?:\w+=\d+)(?:/\w+=\d+)*"
REQUEST = re.compile(rf"{GROUP}(?:\+{GROUP})*")
"""What `oarsub -l` takes, without walltime."""


@pytest.fixture(autouse=True)
def platform(tmp_path: Path) -> Iterator[None]:
    reference = make_reference()
    jobs = {"lyon": [job(1, rows_of(reference, "saone-1", "saone-2"), START - 100, 7200)],
            "nancy": [job(2, rows_of(reference, "meurthe-1", cores=1), START + 7200, DAY)]}
    with served(jobs, tmp_path, reference):
        yield


AVAILABLE = {"grid5000": 18, "lyon": 8, "saone": 6, "rhone": 2, "rennes": 8, "vilaine": 8, "nancy": 2, "meurthe": 2, "kavlan": 3}


@pytest.mark.parametrize(("wanted", "options", "result"), [
    ({"lyon": 0}, {}, {"lyon": 8}),
    ({"grid5000": 4}, {}, {"lyon": 2, "rennes": 1, "nancy": 1}),
    ({"grid5000": 0}, {}, {"lyon": 8, "rennes": 8, "nancy": 2}),
    ({"grid5000": 18}, {}, {"lyon": 8, "rennes": 8, "nancy": 2}),
    ({"grid5000": 0, "saone": 1}, {}, {"saone": 1, "lyon": 7, "rennes": 8, "nancy": 2}),
    ({"grid5000": 8, "saone": 6}, {}, {"saone": 6, "lyon": 2, "rennes": 4, "nancy": 2}),
    ({"saone": 0, "lyon": 2}, {}, {"saone": 6, "lyon": 2}),
    ({"lyon": 0, "saone": 6}, {}, {"saone": 6, "lyon": 2}),
    ({"lyon": 1, "grid5000": 4}, {}, {"lyon": 3, "rennes": 1, "nancy": 1}),
    ({"saone": 9}, {}, {"saone": 9}),
    ({"saone-3": 1, "saone": 0}, {}, {"saone-3": 1, "saone": 5}),
    ({"lyon": 0}, {"excluded_elements": ["saone"]}, {"lyon": 2}),
    ({"grid5000": 0}, {"excluded_elements": "lyon"}, {"rennes": 8, "nancy": 2}),
    ({"lyon": 4}, {"ratio": 0.5}, {"lyon": 2}),
    ({"grid5000": 0}, {"ratio": 0.4}, {"lyon": 3, "rennes": 3, "nancy": 0}),
    ({"lyon": 0, "kavlan": 1}, {}, {"lyon": 8, "kavlan": 3}),
    ({"lyon": 4, "kavlan": None}, {"ratio": 0.5}, {"lyon": 2, "kavlan": 3}),
], ids=str)
def test_distribution(wanted: dict[str, Any], options: dict[str, Any], result: dict[str, Any]) -> None:
    given = copy.deepcopy((AVAILABLE, wanted))
    assert distribute_hosts(AVAILABLE, wanted, **options) == result
    assert given == (AVAILABLE, wanted)


def test_a_kavlan_of_several_sites_is_a_list_also_with_a_ratio() -> None:
    available = {**AVAILABLE, "kavlan": ["lyon", "nancy"]}
    assert distribute_hosts(available, {"lyon": 0, "kavlan": 1}, ratio=0.5) == {"lyon": 4, "kavlan": ["lyon", "nancy"]}
    result = distribute_hosts(available, {"lyon": 0, "kavlan": ["nancy", "rennes"]})
    assert result["kavlan"] == ["nancy"]
    result["kavlan"].append("mine")
    assert available["kavlan"] == ["lyon", "nancy"]


@pytest.mark.parametrize(("available", "wanted", "options", "words"), [
    (AVAILABLE, {"grid5000": 19}, {}, "19 hosts of grid5000 are wanted, 18 are available"),
    (AVAILABLE, {"grid5000": 11}, {"excluded_elements": ["lyon"]}, "10 are available"),
    (AVAILABLE, {"unknown": 1}, {}, "unknown"),
    (AVAILABLE, {"saone": 1}, {"excluded_elements": ["lyon"]}, "saone"),
    (AVAILABLE, {"saone": -1}, {}, "saone"),
    (AVAILABLE, {"saone": 1}, {"ratio": 0}, "ratio"),
    (AVAILABLE, {"saone": 1}, {"ratio": 2}, "ratio"),
    ({**AVAILABLE, "kavlan": []}, {"saone": 1, "kavlan": 1}, {}, "kavlan"),
    ({**AVAILABLE, "kavlan": ["lyon"]}, {"saone": 1, "kavlan": ["nancy"]}, {}, "kavlan"),
], ids=str)
def test_what_cannot_be_distributed_is_refused(available: dict[str, Any], wanted: dict[str, Any], options: dict[str, Any],
                                               words: str) -> None:
    with pytest.raises(ValueError, match=words):
        distribute_hosts(available, wanted, **options)


def requests(*arguments: Any, **options: Any) -> list[Any]:
    """(resources, job_type, queue, site) of the jobs, all valid."""
    jobs = get_jobs_specs(*arguments, **options)
    for spec, _ in jobs:
        assert REQUEST.fullmatch(str(spec.resources)), spec.resources
    return [(spec.resources, spec.job_type, spec.queue, site) for spec, site in jobs]


@pytest.mark.parametrize(("resources", "excluded", "expected"), [
    ({"saone": 2}, None, [("{cluster='saone'}/nodes=2", None, None, "lyon")]),
    ({"lyon": 3}, None, [("nodes=3", None, None, "lyon")]),
    ({"lyon": 3, "saone": 1}, None, [("{cluster='saone'}/nodes=1+nodes=3", None, None, "lyon")]),
    ({"saone-1": 1, "saone-2.lyon.grid5000.fr": 1, Host("vilaine-1"): 1}, None, [
        ("{host IN ('saone-1.lyon.grid5000.fr', 'saone-2.lyon.grid5000.fr')}/nodes=2", None, None, "lyon"),
        ("{host IN ('vilaine-1.rennes.grid5000.fr')}/nodes=1", None, None, "rennes")]),
    # a cluster that OAR gives only to who asks for it in so many words
    ({"rhone": 1}, None, [("{cluster='rhone'}/nodes=1", "exotic", None, "lyon")]),
    ({"rhone-1": 1, "saone": 1}, None, [
        ("{host IN ('rhone-1.lyon.grid5000.fr')}/nodes=1+{cluster='saone'}/nodes=1", "exotic", None, "lyon")]),
    ({"moselle": 2}, None, [("{cluster='moselle'}/nodes=2", None, "production", "nancy")]),
    ({"ille": 1}, None, [("{cluster='ille'}/nodes=1", None, "testing", "rennes")]),
    # one job has one queue
    ({"moselle": 2, "meurthe": 1, "nancy": 3}, None, [("{cluster='moselle'}/nodes=2", None, "production", "nancy"),
                                                      ("{cluster='meurthe'}/nodes=1+nodes=3", None, None, "nancy")]),
    ({"lyon": 2}, ["saone-1.lyon.grid5000.fr", "rhone"],
     [("{host NOT IN ('saone-1.lyon.grid5000.fr') AND cluster NOT IN ('rhone')}/nodes=2", None, None, "lyon")]),
    ({"lyon": 2}, ["rennes", "vilaine-1", "moselle"], [("nodes=2", None, None, "lyon")]),
    ({"saone": 1, "lyon": 1}, ["saone-1", "rhone-1"], [
        ("+".join(["{cluster='saone' AND host NOT IN ('saone-1.lyon.grid5000.fr')}/nodes=1",
                   "{host NOT IN ('saone-1.lyon.grid5000.fr', 'rhone-1.lyon.grid5000.fr')}/nodes=1"]), None, None, "lyon")]),
    ({"lyon": 1}, "saone", [("{cluster NOT IN ('saone')}/nodes=1", "exotic", None, "lyon")]),
    ({"saone": 1, "rhone": 1, "rennes": 1}, ["lyon"], [("nodes=1", None, None, "rennes")]),
    ({"saone": 1, "saone-2": 1, "rhone": 1}, ["saone"], [("{cluster='rhone'}/nodes=1", "exotic", None, "lyon")]),
    ({"saone": 1, "kavlan": 1}, None, [("{cluster='saone'}/nodes=1+{type='kavlan'}/vlan=1", "deploy", None, "lyon")]),
    ({"rhone": 1, "kavlan": 3}, None, [("{cluster='rhone'}/nodes=1+{type='kavlan'}/vlan=1", ["exotic", "deploy"], None, "lyon")]),
    ({"saone": 1, "vilaine": 1, "kavlan": 1}, None, [
        ("{cluster='saone'}/nodes=1+{type='kavlan-global'}/vlan=1", "deploy", None, "lyon"),
        ("{cluster='vilaine'}/nodes=1", None, None, "rennes")]),
    ({"saone": 1, "vilaine": 1, "kavlan": ["rennes", "lyon"]}, None, [
        ("{cluster='saone'}/nodes=1", None, None, "lyon"),
        ("{cluster='vilaine'}/nodes=1+{type='kavlan-global'}/vlan=1", "deploy", None, "rennes")]),
    ({"saone": 1, "vilaine": 1, "kavlan": "nancy"}, None, [
        ("{cluster='saone'}/nodes=1", None, None, "lyon"), ("{cluster='vilaine'}/nodes=1", None, None, "rennes"),
        ("{type='kavlan-global'}/vlan=1", "deploy", None, "nancy")]),
    ({"lyon": 0, "kavlan": 1}, None, []),
], ids=str)
def test_requests(resources: dict[Any, Any], excluded: Any, expected: list[Any]) -> None:
    given = copy.deepcopy((resources, excluded))
    assert requests(resources, excluded) == expected
    assert given == (resources, excluded)


def test_jobs_have_a_name_and_no_walltime() -> None:
    ((spec, _),) = get_jobs_specs({"lyon": 1}, name="mine")
    assert (spec.name, spec.walltime) == ("mine", None)


def test_hosts_of_the_grid_are_left_out_in_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "execo")
    logging.getLogger("execo").addHandler(caplog.handler)
    try:
        assert get_jobs_specs({"grid5000": 3}) == []
    finally:
        logging.getLogger("execo").removeHandler(caplog.handler)
    assert "distribute_hosts" in caplog.text


@pytest.mark.parametrize(("resources", "excluded", "words"), [
    ({"unknown": 1}, None, "'unknown'"), ({"saone-99": 1}, None, "'saone-99'"), ({"lyon": "2"}, None, "lyon"),
    ({"lyon": 1}, ["saone-99"], "'saone-99'"), ({"saone-1.rennes.grid5000.fr": 1}, None, "saone-1.rennes"),
    ({"saone": 1, "vilaine": 1, "kavlan": ["paris"]}, None, "paris"),
], ids=str)
def test_requests_for_what_does_not_exist_are_refused(resources: dict[str, Any], excluded: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        get_jobs_specs(resources, excluded)


def test_jobs_for_given_hosts_begin_when_all_are_free() -> None:
    jobs = get_hosts_jobs([Host("saone-1.lyon.grid5000.fr"), "saone-3", "meurthe-1", "rhone-2"], "2:00:00")
    end = START - 100 + 7200 + 121          # of the job on saone-1; by then, meurthe-1 has another
    after = START + 7200 + DAY + 121
    assert [(spec.resources, spec.reservation_date, spec.walltime, spec.job_type, site) for spec, site in jobs] == [
        ("{host in ('saone-1.lyon.grid5000.fr','saone-3.lyon.grid5000.fr','rhone-2.lyon.grid5000.fr')}/nodes=3", after, "2:00:00", "exotic",
         "lyon"),
        ("{host in ('meurthe-1.nancy.grid5000.fr')}/nodes=1", after, "2:00:00", None, "nancy")]
    ((spec, _),) = get_hosts_jobs("saone-1", 60)
    assert spec.reservation_date == end


def test_jobs_for_given_hosts_are_of_their_queue() -> None:
    ((spec, site),) = get_hosts_jobs(["moselle-2"], 60)
    assert (spec.queue, site, spec.reservation_date) == ("production", "nancy", START + 60)


def test_jobs_for_given_hosts_that_are_never_free_are_none() -> None:
    assert get_hosts_jobs("saone-1", 40 * DAY) == []
    assert get_hosts_jobs("ille-1", 60) == []           # in maintenance
    with pytest.raises(ValueError, match="saone-99"):
        get_hosts_jobs(["saone-99"], 60)
    with pytest.raises(ValueError, match="walltime"):
        get_hosts_jobs(["saone-1"], 0)


@pytest.fixture
def shown() -> Iterator[list[str]]:
    """What is logged at level INFO."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelname == "INFO" and "API" not in record.getMessage():
                lines.append(record.getMessage())

    logger, handler = logging.getLogger("execo"), Keep()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_resources_are_shown_by_site(shown: list[str]) -> None:
    show_resources({"lyon": 2, "saone": 1, "grid5000": 3})
    show_resources({"moselle": 1, "meurthe": 2}, msg="Mine", max_resources={"meurthe": 4})
    show_resources({"lyon": 2, "kavlan": ["lyon"]}, max_resources={"lyon": 4, "grid5000": 5})
    show_resources({})
    assert shown == [
        "Resources\nlyon                 2 saone: 1 \nGrid5000            3",
        "Mine\nnancy                meurthe: 2/4 moselle: 1 \nTotal               3",
        "Resources\nlyon                 2/4 \nTotal               2",
        "Resources",
    ]
