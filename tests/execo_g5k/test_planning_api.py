"""Plannings from the REST API."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from planning import AFTER_END, DAY, END, START, job, rows_of, served

from execo import Host
from execo_g5k import config
from execo_g5k._gridbox.reference import Reference, make_reference
from execo_g5k._planning.collect import period_of, sources_of
from execo_g5k._planning.source_api import job_of_item
from execo_g5k._planning.state import Job
from execo_g5k.planning import compute_slots, get_charter_el_planning, get_planning, max_resources

SAONE_1, SAONE_2, SAONE_3 = (f"saone-{number}.lyon.grid5000.fr" for number in (1, 2, 3))


@pytest.fixture
def reference() -> Reference:
    return make_reference(other_scheduler=True)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What is logged from level WARNING on."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                lines.append(f"{record.levelname} {record.getMessage()}")

    logger, handler = logging.getLogger("execo"), Keep()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def planned(elements: Any, **options: Any) -> dict[str, dict[str, Any]]:
    planning = get_planning(elements, **{"starttime": START, "endtime": END, **options})
    assert planning is not None
    return planning


def busy(element: dict[str, Any]) -> list[tuple[float, float]]:
    """Of an element, whose free dates are the others."""
    dates = sorted([*element["busy"], *element["free"]])
    assert dates[0][0] == START
    assert dates[-1][1] == END
    assert all(a[1] == b[0] for a, b in pairwise(dates))
    return list(element["busy"])


def test_jobs_keep_hosts_busy_until_they_are_cleaned(reference: Reference, tmp_path: Path) -> None:
    jobs = {"lyon": [
        job(1, rows_of(reference, "saone-1"), START - 1000, 4600),
        job(2, rows_of(reference, "saone-1", "saone-2"), START + 7200),
        job(3, rows_of(reference, "saone-1"), START + 3000, 1000, queue="admin"),      # meets the first
        job(4, rows_of(reference, "saone-2", cores=1), START + DAY, 10 * DAY),          # one core is enough
        job(5, rows_of(reference, "saone-3"), START - 100, 10 ** 6, queue="besteffort", types=["besteffort"]),
        job(6, rows_of(reference, "saone-3"), START - 9000, 3600, state="terminated"),
        {**job(7, rows_of(reference, "saone-3"), START + 100), "scheduled_at": None},   # OAR cannot tell when
        job(8, rows_of(reference, "saone-3"), END + 100),
        # an advance reservation has its date at once
        {**job(9, rows_of(reference, "rhone-1"), START + 500, 500), "started_at": START + 500, "scheduled_at": None},
    ]}
    with served(jobs, tmp_path, reference):
        clusters = planned(["lyon"])["lyon"]
        besteffort = planned(["saone-3"], ignore_besteffort=False)["lyon"]["saone"][SAONE_3]
    assert busy(clusters["saone"][SAONE_1]) == [(START, START + 4000 + AFTER_END), (START + 7200, START + 10800 + AFTER_END)]
    assert busy(clusters["saone"][SAONE_2]) == [(START + 7200, START + 10800 + AFTER_END), (START + DAY, END)]
    assert busy(clusters["saone"][SAONE_3]) == []
    assert busy(clusters["rhone"]["rhone-1.lyon.grid5000.fr"]) == [(START + 500, START + 1000 + AFTER_END)]
    assert busy(besteffort) == [(START, END)]


def test_no_job_is_lost_over_the_servers_limit_of_a_page(reference: Reference, tmp_path: Path) -> None:
    # The oldest, which run, are on the last page.
    running = [job(number, rows_of(reference, "saone-1" if number == 1 else "saone-2"), START - 10, DAY) for number in (1, 2)]
    later = [job(number, rows_of(reference, "vilaine-1"), END + number, 60) for number in range(3, 1300)]
    with served({"lyon": running + later}, tmp_path, reference) as api:
        planning = planned(["lyon"])
        asked = [path for _, path, _ in api.log if "/jobs" in path]
    assert busy(planning["lyon"]["saone"][SAONE_1]) == busy(planning["lyon"]["saone"][SAONE_2]) == [(START, START - 10 + DAY + AFTER_END)]
    assert len(asked) == 3


def test_a_site_takes_two_requests(reference: Reference, tmp_path: Path) -> None:
    jobs = {site: [job(number, rows_of(reference, name), START - 10) for number in range(1, 40)]
            for site, name in (("lyon", "saone-1"), ("nancy", "meurthe-1"), ("rennes", "vilaine-1"))}
    with served(jobs, tmp_path, reference) as api:
        planned("grid5000")
        del api.log[:]
        planned("grid5000", vlan=True, subnet=True, storage=True)
        assert len(api.log) == 6


def test_vlans_subnets_and_disks_are_filled_in(reference: Reference, tmp_path: Path) -> None:
    held = rows_of(reference, "meurthe-1", "nancy/kavlan-4", "nancy/kavlan-14", "nancy/disk1.meurthe-1", "nancy/disk1.meurthe-2")
    subnets = [row for row in reference.oar_rows("nancy") if row["type"] == "subnet"][:2]
    local = [row for row in reference.oar_rows("nancy") if row.get("vlan") == "1"]
    with served({"nancy": [job(1, [*held, *subnets, *local], START, 400)]}, tmp_path, reference):
        planning = planned(["meurthe"], vlan=True, subnet=True, storage=True)["nancy"]
        of_host = planned(["meurthe-2"], storage=True)["nancy"]
        plain = planned(["meurthe"])["nancy"]
    taken = [(START, START + 400 + AFTER_END)]
    assert list(planning["vlans"]) == ["kavlan-4", "kavlan-5", "kavlan-6", "kavlan-7", "kavlan-8", "kavlan-9", "kavlan-14"]
    assert [name for name, element in planning["vlans"].items() if busy(element)] == ["kavlan-4", "kavlan-14"]
    assert busy(planning["vlans"]["kavlan-4"]) == taken
    names = [f"{row['subnet_address']}/22" for row in subnets]
    assert len(planning["subnets"]) == 16
    assert {name: busy(element) for name, element in planning["subnets"].items() if busy(element)} == dict.fromkeys(names, taken)
    assert len(planning["storage"]) == 24
    assert {name for name, element in planning["storage"].items() if busy(element)} == {
        "disk1.meurthe-1.nancy.grid5000.fr", "disk1.meurthe-2.nancy.grid5000.fr"}
    assert list(of_host["storage"]) == ["disk1.meurthe-2.nancy.grid5000.fr", "disk2.meurthe-2.nancy.grid5000.fr"]
    assert list(plain) == ["meurthe"]


def test_a_vlan_that_the_site_does_not_list_spoils_nothing(reference: Reference, tmp_path: Path) -> None:
    held = [*rows_of(reference, "saone-1"), {"type": "kavlan", "vlan": "8"}, {"type": "kavlan", "vlan": "77"}]
    with served({"lyon": [job(1, held, START, 400)]}, tmp_path, reference):
        planning = planned(["saone-1"], vlan=True)["lyon"]
    assert busy(planning["saone"][SAONE_1]) == [(START, START + 400 + AFTER_END)]
    assert "kavlan-77" not in planning["vlans"]


def test_cores_are_planned_on_their_own(reference: Reference, tmp_path: Path) -> None:
    with served({"lyon": [job(1, rows_of(reference, "saone-1", cores=3), START, 400)]}, tmp_path, reference):
        element = planned(["saone-1"], per="core")["lyon"]["saone"][SAONE_1]
    assert busy(element) == [(START, START + 400 + AFTER_END)]
    assert list(element["cores"]) == [str(number) for number in range(8)]
    assert [bool(busy(core)) for core in element["cores"].values()] == [True] * 3 + [False] * 5


def test_hosts_that_oar_does_not_give_are_not_planned(reference: Reference, tmp_path: Path) -> None:
    states = {"saone-1": ("Dead", 0), "saone-2": ("Suspected", 0), "saone-3": ("Absent", 2147483647), "saone-4": ("Absent", 2147483646)}
    rows = reference.oar_rows("lyon")
    for row in rows:
        if row["type"] == "default" and (name := row["host"].split(".")[0]) in states:
            row["state"], row["available_upto"] = states[name]
        if row["host"].startswith("saone-5."):
            row["maintenance"] = "YES"
    reference.oar_rows = lambda site, rows=rows, real=reference.oar_rows: rows if site == "lyon" else real(site)  # type: ignore[method-assign,misc]
    with served({}, tmp_path, reference):
        planning = planned(["lyon", "ille", "saone-1"])
    # the fourth was powered off to save energy: a job powers it on
    assert [name.split(".")[0] for name in planning["lyon"]["saone"]] == ["saone-4", "saone-6", "saone-7", "saone-8"]
    assert planning["rennes"] == {}         # a cluster under test


@pytest.mark.parametrize(("elements", "options", "numbers"), [
    (("grid5000",), {}, {"grid5000": 30, "lyon": 10, "saone": 8, "rhone": 2, "nancy": 12, "meurthe": 12, "rennes": 8, "vilaine": 8}),
    ("grid5000", {"queues": "production"}, {"grid5000": 6, "lyon": 0, "nancy": 6, "moselle": 6, "rennes": 0}),
    ("nancy", {"queues": None}, {"grid5000": 18, "nancy": 18, "meurthe": 12, "moselle": 6}),
    (["moselle"], {}, {"grid5000": 6, "nancy": 6, "moselle": 6}),
    (["moselle-3", "saone-1.lyon", Host("saone-2.lyon.grid5000.fr")], {}, {"grid5000": 3, "lyon": 2, "saone": 2, "nancy": 1, "moselle": 1}),
    (["lyon", "saone", "saone-1"], {}, {"grid5000": 10, "lyon": 10, "saone": 8, "rhone": 2}),
    (["bordeaux"], {}, {"grid5000": 0}),
], ids=str)
def test_which_hosts_are_meant(elements: Any, options: dict[str, Any], numbers: dict[str, int], reference: Reference,
                               tmp_path: Path) -> None:
    with served({}, tmp_path, reference):
        numbers_found = max_resources(planned(elements, **options))
    assert {name: number for name, number in numbers_found.items() if number} == {
        name: number for name, number in numbers.items() if number}


@pytest.mark.parametrize("elements", [["lyon", "unknown"], ["saone-99"], ["saone-1.rennes.grid5000.fr"], [], [""]], ids=str)
def test_unknown_elements_are_said_and_there_is_no_planning(elements: Any, reference: Reference, tmp_path: Path,
                                                            warnings: list[str]) -> None:
    with served({}, tmp_path, reference):
        assert get_planning(elements) is None
    (line,) = warnings
    assert line.startswith("ERROR planning: ")
    assert all(name in line for name in elements if name != "lyon")


def test_the_planning_begins_in_a_minute_and_lasts_four_weeks(reference: Reference, tmp_path: Path) -> None:
    with served({}, tmp_path, reference):
        planning = get_planning(["saone-1"])
        assert planning is not None
        assert planning["lyon"]["saone"][SAONE_1]["free"] == [(START + 60, START + 60 + 28 * DAY + 60)]


def test_dates_of_a_planning() -> None:
    assert period_of("2026-09-21 14:13:20+00:00", None) == (START, START + 28 * DAY + 60)
    assert period_of(START + 0.5, START + 1) == (START + 0.5, START + 1)
    for end in (START, START - 1):
        with pytest.raises(ValueError, match="not after the start"):
            period_of(START, end)


def test_out_of_chart_hosts_are_busy_in_the_charters_day_time(reference: Reference, tmp_path: Path) -> None:
    with served({"lyon": [job(1, rows_of(reference, "saone-1"), START, DAY)]}, tmp_path, reference):
        planning = planned(["saone-1", "saone-2"], out_of_chart=True)["lyon"]["saone"]
    evening = START + 10_000                # 19:00 in Paris
    days = [(START, evening), *((evening + n * DAY - 36_000, min(END, evening + n * DAY)) for n in (1, 2, 3))]
    assert get_charter_el_planning(START, END) == days
    assert busy(planning[SAONE_2]) == days
    assert busy(planning[SAONE_1]) == [(START, evening + DAY), *days[2:]]
    assert get_charter_el_planning(START, START) == []


def test_a_site_that_does_not_answer_is_left_out_in_words(reference: Reference, tmp_path: Path, warnings: list[str]) -> None:
    with served({}, tmp_path, reference) as api:
        planned(["lyon"])
        api.fail_next(404, 10, "sites/nancy/jobs")
        planning = planned("grid5000")
    assert sorted(planning) == ["lyon", "rennes"]
    (line,) = warnings
    assert line.startswith("WARNING planning: site nancy is left out: ")
    assert "404" in line


def test_a_failure_that_passes_is_not_seen(reference: Reference, tmp_path: Path, warnings: list[str]) -> None:
    with served({"nancy": [job(1, rows_of(reference, "meurthe-1"), START)]}, tmp_path, reference) as api:
        planned(["lyon"])
        api.fail_next(502, 1, "sites/nancy/jobs")
        api.truncate_next(1, "sites/nancy/internal")
        planning = planned("nancy")
    assert busy(planning["nancy"]["meurthe"]["meurthe-1.nancy.grid5000.fr"]) == [(START, START + 3600 + AFTER_END)]
    assert warnings == []


@pytest.mark.parametrize("answer", [[], {}, {"items": None}, {"items": [{"type": "default"}], "total": 1}, {"items": [1], "total": 1}],
                         ids=str)
@pytest.mark.parametrize("service", ["jobs", "internal"])
def test_an_answer_that_is_none_leaves_the_site_out(answer: Any, service: str, reference: Reference, tmp_path: Path,
                                                    warnings: list[str]) -> None:
    from execo_g5k._gridbox.http import Answer

    with served({}, tmp_path, reference) as api:
        planned(["lyon"])
        api.extensions[service] = lambda request, site: Answer(answer)
        assert planned(["lyon"]) == {}
    assert [line for line in warnings if "lyon" in line]


def test_a_server_that_lists_jobs_without_resources_is_asked_for_each(reference: Reference, tmp_path: Path) -> None:
    from execo_g5k._gridbox.http import Answer, Request

    jobs = {number: job(number, rows_of(reference, "saone-1"), START + number * 10_000, 1000) for number in (1, 2)}

    def old(request: Request, site: str) -> Answer:
        if len(request.path) == 3:
            return Answer({"items": [{"uid": number, "queue": "default"} for number in jobs], "total": len(jobs), "offset": 0})
        return Answer(jobs[int(request.path[3])])

    with served({}, tmp_path, reference) as api:
        api.extensions["jobs"] = old
        planning = planned(["saone-1"])
    assert len(busy(planning["lyon"]["saone"][SAONE_1])) == 2


def test_a_job_of_the_api_without_a_start_is_none() -> None:
    item = {"uid": 1, "queue": "default", "walltime": 60, "started_at": 0, "assigned_nodes": ["a", "a", "b"],
            "resources_by_type": {"cores": ["a/0", "a/1", "b/0"], "vlans": [4]}}
    assert job_of_item(item, cores=True) is None
    expected = Job(1, "default", 5, 60, ("a", "b"), ["a/0", "a/1", "b/0"], ["4"])
    assert job_of_item({**item, "scheduled_at": 5}, cores=True) == expected
    bare = {**item, "scheduled_at": 5, "started_at": 3, "resources_by_type": {}}
    assert job_of_item(bare, cores=False) == Job(1, "default", 3, 60, ("a", "b"), (), [])


def test_wrong_words_are_refused() -> None:
    with pytest.raises(ValueError, match="'thread'"):
        get_planning("lyon", per="thread")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'oracle'"):
        get_planning("lyon", source="oracle")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="42"):
        get_planning([42])  # type: ignore[list-item]


def test_the_source_is_the_database_where_its_library_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execo_g5k._planning.collect.is_installed", lambda: True)
    assert sources_of(None) == ("postgresql", "api")
    assert sources_of("api") == ("api",)
    config.g5k_configuration["planning_source"] = "postgresql"
    assert sources_of(None) == ("postgresql",)
    del config.g5k_configuration["planning_source"]
    monkeypatch.setattr("execo_g5k._planning.collect.is_installed", lambda: False)
    assert sources_of(None) == ("api",)


def test_without_the_library_of_the_databases_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, reference: Reference,
                                                                tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with served({}, tmp_path, reference), pytest.raises(ImportError, match=r"execo_g5k\[postgresql\]"):
        get_planning("lyon", source="postgresql")


@contextmanager
def _a_frontend_that_fails(words: str) -> Iterator[Callable[..., Any]]:
    class Fails:
        def __init__(self, *arguments: object) -> None:
            self.arguments = arguments

        def __enter__(self) -> tuple[str, int]:
            raise ConnectionRefusedError(words)

        def __exit__(self, *exception: object) -> None:
            """Never entered."""

    yield Fails


def test_a_site_whose_database_cannot_be_reached_is_read_from_the_api(reference: Reference, tmp_path: Path, warnings: list[str],
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    with _a_frontend_that_fails("nobody there") as fails, served({}, tmp_path, reference):
        monkeypatch.setattr("execo_g5k._oar.database.G5kAutoPortForwarder", fails)
        del config.g5k_configuration["planning_source"]
        assert list(planned(["lyon"])) == ["lyon"]
        assert [line for line in warnings if "nobody there" in line and line.startswith("WARNING planning of lyon")]
        del warnings[:]
        assert planned(["lyon"], source="postgresql") == {}
    assert [line for line in warnings if "left out" in line]


def test_slots_of_a_planning(reference: Reference, tmp_path: Path) -> None:
    with served({"lyon": [job(1, rows_of(reference, "saone-1"), START, 1000)]}, tmp_path, reference):
        slots = compute_slots(planned(["saone"], vlan=True, subnet=True, storage=True), 3600)
    assert [(slot[0], slot[2]["saone"], slot[2]["kavlan"]) for slot in slots] == [(START, 7, 6), (START + 1000 + AFTER_END, 8, 6)]
