"""`sweep`, `geom`, `igeom`, `HashableDict`, `sweep_stats`."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from execo_engine.sweep import HashableDict, ParamSweeper, geom, igeom, sweep, sweep_stats


@pytest.mark.parametrize("parameters, combinations", [
    ({}, [{}]),
    ({"a": [1, 2], "b": "xy"}, [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]),
    ({"a": [], "b": [1]}, [{"b": 1}]),
    ({"a": {}, "b": [1]}, [{"b": 1}]),
    ({"a": (1, 1)}, [{"a": 1}, {"a": 1}]),
    ({"a": {"x": {"p": [1, 2]}, "y": {"q": [3], "r": [5, 6]}}, "b": [7]},
     [{"a": "x", "p": 1, "b": 7}, {"a": "x", "p": 2, "b": 7}, {"a": "y", "q": 3, "r": 5, "b": 7}, {"a": "y", "q": 3, "r": 6, "b": 7}]),
    ({"a": {1: {"b": []}}}, [{"a": 1}]),
    ({"a": {"x": {"p": {"z": {"q": [1, 2]}}}}}, [{"a": "x", "p": "z", "q": 1}, {"a": "x", "p": "z", "q": 2}]),
    ({"a": {"x": {"p": [1]}}, "p": [5, 6]}, [{"a": "x", "p": 5}, {"a": "x", "p": 6}]),
    ({1: [2], (3,): {4: {5: [6]}}}, [{1: 2, (3,): 4, 5: 6}]),
], ids=str)
def test_sweep_gives_all_combinations_the_first_name_slowest(parameters: dict[Any, Any], combinations: list[dict[Any, Any]]) -> None:
    found = sweep(parameters)
    assert found == combinations
    assert [list(one) for one in found] == [list(one) for one in combinations]
    assert {type(one) for one in found} == {HashableDict}


@pytest.mark.parametrize("parameters", [{"a": 3}, {"a": None}, {"a": iter([1, 2])}], ids=["number", "none", "iterator"])
def test_values_without_a_length_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="len"):
        sweep(parameters)


def test_a_combination_is_a_dict_that_can_be_in_a_set() -> None:
    one, same = HashableDict({"x": 1, "y": 2}), HashableDict(y=2, x=1)
    assert one == same == {"x": 1, "y": 2}
    assert hash(one) == hash(same)
    with pytest.raises(TypeError):
        hash(HashableDict({"x": [1]}))
    with pytest.raises(TypeError):
        hash(HashableDict({1: 1, "a": 2}))


def test_a_pickled_combination_names_the_module_that_execo_2_names() -> None:
    combination = HashableDict(a=1)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        text = pickle.dumps(combination, protocol)
        assert b"execo_engine.sweep" in text
        again = pickle.loads(text)
        assert again == combination
        assert type(again) is HashableDict


@pytest.mark.parametrize("arguments, numbers", [
    ((1, 100, 3), [1, 10, 100]), ((1, 1000, 4), [1, 9.999999999999998, 99.99999999999997, 1000]), ((2, 32, 5), [2, 4, 8, 16, 32]),
    ((5, 5, 3), [5, 5, 5]), ((1, 10, 0), []), ((1, 10, 1), [1]), ((1, 10, 2), [1, 10]), ((10, 1, 3), [10, 3.1622776601683795, 1]),
    ((5.59282004686682, 53.82676976503379, 7), [5.59282004686682, 8.15690537915602, 11.896521755921391, 17.350603361265733,
                                                25.305164246862656, 36.9065746145892, 53.82676976503379]),
], ids=str)
def test_geom(arguments: tuple[float, float, int], numbers: list[float]) -> None:
    assert geom(*arguments) == numbers
    assert all(type(one) is float for one in geom(*arguments))


@pytest.mark.parametrize("arguments, numbers", [
    ((1, 100, 3), [1, 10, 100]), ((1, 10, 20), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), ((2, 1024, 5), [2, 10, 45, 215, 1024]),
    ((1, 10, 1), [1]), ((1, 10, 0), []), ((3, 50, 2), [3, 50]),
], ids=str)
def test_igeom(arguments: tuple[float, float, int], numbers: list[int]) -> None:
    assert igeom(*arguments) == numbers


def test_progressions_that_do_not_exist() -> None:
    with pytest.raises(ZeroDivisionError):
        geom(0, 10, 3)
    with pytest.raises(ValueError, match="signs differ"):
        geom(-1, 10, 3)
    with pytest.raises(ValueError, match=r"not 1\.5"):
        geom(1, 10, 1.5)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="not -1"):
        igeom(1, 10, -1)


def test_sweep_stats_counts_by_value(tmp_path: Any) -> None:
    sweeper = ParamSweeper(tmp_path / "s", sweep({"a": [1, 2], "b": "xy"}))
    sweeper.done(sweeper.get_next())
    sweeper.skip(sweeper.get_next())
    sweeper.get_next()
    found = sweep_stats(sweeper.stats())
    assert found["total"] == {"a": {1: 2, 2: 2}, "b": {"x": 2, "y": 2}}
    assert found["done"] == {"a": {1: 1}, "b": {"x": 1}}
    assert found["done_ratio"] == {"a": {1: 0.5, 2: 0.0}, "b": {"x": 0.5, "y": 0.0}}
    assert found["inprogress"] == {"a": {2: 1}, "b": {"x": 1}}
    assert found["skipped_ratio"] == {"a": {1: 0.5, 2: 0.0}, "b": {"x": 0.0, "y": 0.5}}
    assert found["remaining"] == {"a": {2: 1}, "b": {"y": 1}}
    assert len(found) == 9
