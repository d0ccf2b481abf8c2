"""The notes of grid reservations: whole or absent, never one over the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from execo_g5k import g5k_configuration
from execo_g5k._oar import registry

ROOT = Path(__file__).resolve().parents[2]
GRID = registry.Grid(((1, "nancy"), (2, None)), 1.5, 3.0, 60.0, "/a key")


def test_a_note_comes_back() -> None:
    assert registry.grid_ids() == []
    assert [registry.add(GRID), registry.add(GRID)] == [1, 2]
    assert registry.get(1) == GRID
    registry.forget(1)
    registry.forget(1)
    assert registry.grid_ids() == [2]
    assert registry.add(GRID) == 3


def test_the_usual_place_is_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    del g5k_configuration["grid_dir"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry.add(GRID) == 1
    assert [path.name for path in (tmp_path / ".execo" / "oargrid").iterdir()] == ["1.json"]


def test_programs_that_note_at_once_get_ids_of_their_own() -> None:
    code = ("import sys\nfrom execo_g5k import g5k_configuration\nfrom execo_g5k._oar import registry\n"
            "g5k_configuration['grid_dir'] = sys.argv[1]\n"
            "for job in range(20): print(registry.add(registry.Grid(((job + 1, None),), 0.0, None, None)))\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, g5k_configuration["grid_dir"]]
    programs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    ids = [int(line) for program in programs for line in program.communicate(timeout=60)[0].split()]
    assert sorted(ids) == list(range(1, 61))
    assert registry.grid_ids() == sorted(ids)


@pytest.mark.parametrize("damage", [
    "", "{", "[]", '{"version": 2}', '{"version": 1}', '{"version": 1, "jobs": [1]}', '{"version": 1, "jobs": 3}'])
def test_a_damaged_note_is_named(damage: str) -> None:
    registry.add(GRID)
    (registry.folder() / "1.json").write_text(damage)
    with pytest.raises(ValueError, match=r"1\.json is damaged"):
        registry.get(1)


def test_an_unknown_id_is_named_with_those_that_there_are() -> None:
    registry.add(GRID)
    with pytest.raises(ValueError, match=r"no grid reservation 7 .*\[1\]"):
        registry.get(7)
