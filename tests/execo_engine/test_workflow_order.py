"""In which order combinations run, with which seeds; replays and dry runs."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from campaigns import SIX, Campaign, counts, run

from execo import Host
from execo_engine.sweep import ParameterSpace, SweepDirectory
from execo_engine.testbeds import StaticTestbed
from execo_engine.workflow import SweepEngine


def test_parameters_and_testbed_may_be_methods_that_see_the_options(tmp_path: Path) -> None:
    class Late(SweepEngine):
        check_hosts = False

        def __init__(self) -> None:
            super().__init__()
            self.args_parser.add_argument("n", type=int)

        def parameters(self) -> Any:
            assert self.args is not None
            return range(self.args.n)

        def testbed(self) -> Any:
            return StaticTestbed(["h1"])

        def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> Mapping[str, Any] | None:
            return None

    run(Late(), tmp_path, "3")
    assert counts(tmp_path)["done"] == 3


@pytest.mark.parametrize("hosts_needed", [None, lambda combination: 1 + combination["p0"] % 2])
def test_a_plan_that_nobody_could_list_is_begun_and_continued(hosts_needed: Any, tmp_path: Path) -> None:
    class Endless(Campaign):
        parameters: Any = ParameterSpace({f"p{number}": list(range(10)) for number in range(150)})

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            if len(self.begun) == 6:
                signal.raise_signal(signal.SIGTERM)

    if hosts_needed is not None:
        Endless.hosts_needed = lambda _, combination: hosts_needed(combination)  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(SystemExit):
            run(Endless(), tmp_path, "--seed", "1")
    with SweepDirectory(str(tmp_path / "sweep")) as sweep:
        assert len(sweep.records("done")) >= 10
        assert sweep.records("inprogress") == []


def test_a_seed_gives_an_order_and_a_continued_campaign_keeps_it(tmp_path: Path) -> None:
    def order(folder: Path, *options: str) -> list[Any]:
        campaign = Campaign()
        campaign.testbed = StaticTestbed(["h1"])
        run(campaign, folder, *options)
        return campaign.begun

    in_order = order(tmp_path / "a")
    seven = order(tmp_path / "b", "--seed", "7")
    assert in_order == list(ParameterSpace(SIX))
    assert order(tmp_path / "c", "--seed", "7") == seven != in_order
    assert sorted(map(str, seven)) == sorted(map(str, in_order))
    continued = Campaign()
    run(continued, tmp_path / "b")
    assert continued.seed == 7
    assert json.loads((tmp_path / "b" / "notebook-2.json").read_text())["order"] == "random"


def test_a_combination_has_the_same_seed_whenever_it_runs() -> None:
    campaign, other = Campaign(), Campaign()
    other.seed = 1
    seeds = {campaign.combination_seed(one) for one in ParameterSpace(SIX)}
    assert len(seeds) == 6
    assert campaign.combination_seed({"size": 1, "kind": "a"}) == campaign.combination_seed({"kind": "a", "size": 1})
    assert other.combination_seed({"size": 1, "kind": "a"}) not in seeds


def test_a_replay_has_the_order_the_hosts_and_the_seed_of_the_run(tmp_path: Path) -> None:
    class Slow(Campaign):
        where: dict[Any, str]

        def measure(self, combination: Any, hosts: list[Host], directory: Path) -> Any:
            self.__dict__.setdefault("where", {})[combination] = hosts[0].address
            return {}

    first = Slow()
    first.testbed = StaticTestbed(["h3"])
    run(first, tmp_path / "first", "--seed", "5")
    second = Slow()
    second.testbed = StaticTestbed(["h1", "h2", "h3"])
    second.hosts_needed = lambda _: 1           # type: ignore[method-assign]
    run(second, tmp_path / "second", "--replay", str(tmp_path / "first"))
    assert second.begun[0] == first.begun[0]
    assert second.seed == 5
    assert second.where[second.begun[0]] == "h3"


def test_a_replay_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not the directory of a campaign"):
        run(Campaign(), tmp_path / "new", "--replay", str(tmp_path))
    assert not (tmp_path / "new").exists()


def test_a_dry_run_shows_the_plan_and_leaves_nothing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Declared(Campaign):
        def duration(self, combination: Any) -> Any:
            return 10

    monkeypatch.chdir(tmp_path)
    campaign = Declared()
    campaign.start(["--dry-run"])
    assert capsys.readouterr().out == (
        "Declared: 6 combinations\n  kind: a, b\n  size: 1, 2, 3\nin order on StaticTestbed(2 hosts)\n"
        "about 30s on 2 hosts, in 1 reservation\n")
    assert list(tmp_path.iterdir()) == []
    assert campaign.begun == []


def test_a_dry_run_of_a_campaign_knows_what_is_done_and_how_long_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(Campaign(), tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    again = Campaign()
    again.parameters = {"kind": ["a", "b", "c"], "size": [1, 2, 3]}
    capsys.readouterr()
    run(again, tmp_path, "--dry-run")
    said = capsys.readouterr().out
    assert "9 combinations, 6 of them are finished" in said
    assert "about 0" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == before
