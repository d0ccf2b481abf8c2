"""Charts: files of pictures, without a display, for any number of sites."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planning import host, served

from execo_g5k._planning.drawing import colors_of
from execo_g5k.planning import compute_slots, draw_gantt, draw_slots

pytestmark = [pytest.mark.requires("matplotlib"), pytest.mark.leaks("matplotlib keeps the fonts open that it has used")]

PNG = b"\x89PNG\r\n"
Planning = dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    with served({}, tmp_path / "cache"):
        yield


def many_sites(number: int) -> Planning:
    def cluster(site: int) -> dict[str, Any]:
        return {f"cluster{site}-{h}.site{site}.grid5000.fr": host([(100 * h, 100 * h + 500)], 0, 90_000) for h in range(3)}

    return {f"site{s}": {f"cluster{s}": cluster(s), "vlans": {"kavlan-4": host([], 0, 90_000)}, "subnets": {}, "storage": {}}
            for s in range(number)}


@pytest.mark.parametrize("number", [1, 13])
def test_a_planning_of_any_number_of_sites_is_drawn_with_its_vlans(number: int, tmp_path: Path) -> None:
    planning = many_sites(number)
    draw_gantt(planning, outfile=str(tmp_path / "gantt.png"))
    assert (tmp_path / "gantt.png").read_bytes().startswith(PNG)
    assert planning == many_sites(number)


def test_a_planning_is_drawn_in_the_colours_that_are_given(tmp_path: Path) -> None:
    draw_gantt(many_sites(1), colors={"site0": "#ff0000"}, outfile="red.svg")
    draw_gantt(many_sites(1), colors={"cluster0": "#0000ff", "vlans": "#00ff00"}, outfile="blue.svg")
    assert "#ff0000" in Path("red.svg").read_text()
    blue = Path("blue.svg").read_text()
    assert "#0000ff" in blue
    assert "#ff0000" not in blue


def test_files_are_named_after_the_sites_and_the_date(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "execo")
    planning = {"lyon": {"saone": {"saone-1.lyon.grid5000.fr": host([(100, 200)])}}}
    draw_gantt(planning)
    draw_slots(compute_slots(planning, 50))
    draw_gantt(planning, save=False)
    names = sorted(path.name for path in Path().glob("*.png"))
    assert [name[:17] for name in names] == ["gantt_lyon_1970-0", "slots_1970-01-01 "]
    assert all(Path(name).read_bytes().startswith(PNG) for name in names)


def test_slots_are_drawn_by_site(tmp_path: Path) -> None:
    planning = {site: {cluster: {f"{cluster}-1.{site}.grid5000.fr": host([(100, 200)])}}
                for site, cluster in (("lyon", "saone"), ("nancy", "meurthe"), ("rennes", "vilaine"))}
    slots = compute_slots(planning, 50)
    draw_slots(slots, colors={"lyon": "#123456"}, outfile="slots.svg")
    drawn = Path("slots.svg").read_text()
    assert "#123456" in drawn
    assert slots == compute_slots(planning, 50)


def test_nothing_is_drawn_too() -> None:
    draw_gantt({}, outfile="gantt.png")
    draw_slots([], outfile="slots.png")
    assert Path("gantt.png").read_bytes().startswith(PNG)
    assert Path("slots.png").read_bytes().startswith(PNG)


def test_any_number_of_names_has_different_colours() -> None:
    names = [f"site{number}" for number in range(60)]
    chosen = colors_of(names, {"site3": "red"})
    assert chosen["site3"] == "red"
    assert len(set(map(str, chosen.values()))) == 60


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"execo_g5k\[plot\]"):
        draw_gantt({})
