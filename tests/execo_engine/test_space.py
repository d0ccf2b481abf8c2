"""`ParameterSpace`: the combinations of a sweep, without holding them."""

from __future__ import annotations

import itertools
import math
import pickle
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execo_engine._space.draw import Draw
from execo_engine.sweep import HashableDict, ParameterSpace, ParamSweeper, sweep

NAMES = st.sampled_from("abcdef")
DESCRIPTIONS: st.SearchStrategy[dict[Any, Any]] = st.recursive(
    st.dictionaries(NAMES, st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True), max_size=3),
    lambda inner: st.dictionaries(NAMES, st.one_of(st.lists(st.integers(0, 5), min_size=1, max_size=2, unique=True),
                                                   st.dictionaries(st.integers(0, 3), inner, min_size=1, max_size=2)), max_size=3),
    max_leaves=6,
)
NESTED = {"disk": ["ssd", "hdd"], "net": {"tcp": {"window": [1, 2, 4], "algorithm": ["cubic"]}, "udp": {}}, "size": range(3)}
HUGE = {f"core-{number}": range(9) for number in range(157)}


@given(DESCRIPTIONS)
@settings(max_examples=60)
def test_a_space_is_the_sweep_of_the_same_description(description: dict[Any, Any]) -> None:
    space, combinations = ParameterSpace(description), sweep(description)
    assert space.size == len(space) == len(combinations)
    assert list(space) == combinations
    assert [space[place] for place in range(space.size)] == combinations
    assert space[-1] == combinations[-1]


def test_the_factors_keep_their_order_and_combinations_their_type() -> None:
    found = ParameterSpace(NESTED)[7]
    assert type(found) is HashableDict
    assert list(found.items()) == list(sweep(NESTED)[7].items())


def test_membership_is_computed() -> None:
    space = ParameterSpace(NESTED)
    assert all(combination in space for combination in sweep(NESTED))
    for stranger in ({"disk": "ssd"}, {"disk": "ssd", "net": "udp", "size": 3}, {"disk": "ssd", "net": "udp", "size": 1, "window": 1}, 5,
                     ("a",)):
        assert stranger not in space
    assert space[3] in space.shuffled(1)
    assert HashableDict(space[3], replicate=1) in space.replicated(2)
    assert HashableDict(space[3], replicate=2) not in space.replicated(2)


@pytest.mark.parametrize("description, error, message", [
    ({"a": []}, ValueError, "factor 'a' has no values"),
    ({"a": {"x": {"b": []}}}, ValueError, "factor 'a' > 'x' > 'b' has no values"),
    ({"a": {}}, ValueError, "factor 'a' has no values"),
    ({"a": [[1]]}, TypeError, r"the value \[1\], which is not hashable"),
    ({"a": 3}, TypeError, "has 3 for values: that has no length"),
    ({"a": {"x": [1, 2]}}, TypeError, "'a' > 'x' is described by a dict"),
    ([("a", [1])], TypeError, "is described by a dict"),
], ids=str)
def test_a_description_that_cannot_be_is_refused_at_once(description: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ParameterSpace(description)


@pytest.mark.parametrize("items, r", [("abcd", 2), ("abc", None), ("ab", 0), ("abcde", 3), ("", 0)])
def test_permutations_combinations_and_multisets_are_those_of_itertools(items: str, r: int | None) -> None:
    assert list(ParameterSpace.permutations(items, r)) == list(itertools.permutations(items, r))
    if r is not None:
        for space, reference in ((ParameterSpace.combinations(items, r), itertools.combinations(items, r)),
                                 (ParameterSpace.multisets(items, r), itertools.combinations_with_replacement(items, r))):
            expected = list(reference)
            assert list(space) == expected
            assert space.size == len(expected)
            assert all(one in space for one in expected)


def test_membership_in_choices() -> None:
    assert ("b", "a") in ParameterSpace.permutations("abc", 2)
    assert ("a", "a") not in ParameterSpace.permutations("abc", 2)
    assert ("b", "a") not in ParameterSpace.combinations("abc", 2)
    assert ("a", "a") in ParameterSpace.multisets("abc", 2)
    assert ("a", "z") not in ParameterSpace.multisets("abc", 2)


def test_any_object_with_a_size_and_items_is_a_space_and_a_factor() -> None:
    class Squares:
        size = 10**40

        def __getitem__(self, index: int) -> int:
            return index**2

    assert ParameterSpace.of(Squares())[10**30] == 10**60
    space = ParameterSpace({"kind": "ab", "square": Squares(), "place": ParameterSpace.permutations(range(30))})
    assert space.size == 2 * 10**40 * math.factorial(30)
    assert space[space.size - 1] == {"kind": "b", "square": (10**40 - 1) ** 2, "place": tuple(reversed(range(30)))}
    assert ParameterSpace.of([5, 6])[1] == 6


def test_a_hundred_samples_of_a_space_of_1e149() -> None:
    space = ParameterSpace(HUGE)
    assert space.size == 9**157 > 6 * 10**149
    with pytest.raises(OverflowError):
        len(space)
    assert repr(space) == "<ParameterSpace of 6.547e149 combinations>"
    begin = time.perf_counter()
    sample = list(space.sample(100, seed=7))
    assert time.perf_counter() - begin < 2          # 50 ms on an idle machine: the benchmark measures
    assert len(set(sample)) == 100
    assert sample == list(space.sample(100, seed=7))
    assert sample != list(space.sample(100, seed=8))
    assert all(one in space for one in sample)
    assert space[10**149] != space[10**149 + 1]


def test_samples_are_without_replacement_and_each_is_as_likely() -> None:
    space = ParameterSpace({"n": range(10)})
    assert sorted(one["n"] for one in space.sample(10, seed=3)) == list(range(10))
    first = [space.sample(1, seed)[0]["n"] for seed in range(2000)]
    assert all(130 < first.count(n) < 270 for n in range(10))
    with pytest.raises(ValueError, match="11 out of 10"):
        space.sample(11, seed=0)


def test_the_same_seed_gives_the_same_draw_for_ever() -> None:
    # Written down: a run of next year, with another Python, must be able to repeat one of today.
    draw = Draw(42)
    assert [draw.below(1000) for _ in range(5)] == [267, 488, 559, 323, 747]
    assert [one["n"] for one in ParameterSpace({"n": range(20)}).shuffled("x")][:5] == [19, 9, 1, 18, 7]
    assert ParameterSpace({"n": range(10**6)}).shuffled(1)[5]["n"] == 948924


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000, 66_000])
def test_a_shuffle_has_all_combinations_once(size: int) -> None:
    space = ParameterSpace({"n": range(size)})
    shuffled = [one["n"] for one in space.shuffled(5)]
    assert sorted(shuffled) == list(range(size))
    assert size < 10 or shuffled != list(range(size))
    assert [one["n"] for one in space.shuffled(5)[:50]] == shuffled[:50]


def test_a_shuffle_of_a_huge_space_is_a_permutation() -> None:
    shuffled = ParameterSpace(HUGE).shuffled("seed")
    found = [shuffled[place] for place in range(200)]
    assert len(set(found)) == 200
    assert shuffled.size == 9**157


def test_replicates_come_after_all_were_done_once() -> None:
    space = ParameterSpace({"n": [1, 2]}).replicated(2)
    assert list(space) == [{"n": 1, "replicate": 0}, {"n": 2, "replicate": 0}, {"n": 1, "replicate": 1}, {"n": 2, "replicate": 1}]
    assert list(ParameterSpace.permutations("ab").replicated(2))[-1] == (("b", "a"), 1)
    with pytest.raises(ValueError, match=r"give replicated\(\) another name"):
        list(space.replicated(2))
    assert space.replicated(2, name="again").size == 8
    with pytest.raises(ValueError, match="0 replicates"):
        space.replicated(0)


def test_where_is_lazy_and_counts_when_it_must() -> None:
    asked = []

    def even(combination: Any) -> bool:
        asked.append(combination)
        return bool(combination["n"] % 2 == 0)

    space = ParameterSpace({"n": range(10)}).where(even)
    assert asked == []
    assert next(iter(space)) == {"n": 0}
    assert len(asked) == 1
    assert space.size == 5
    assert space[4] == {"n": 8}
    assert HashableDict(n=4) in space
    assert HashableDict(n=5) not in space
    assert [one["n"] for one in space.replicated(2)] == [0, 2, 4, 6, 8] * 2


def test_where_of_a_huge_space_can_be_sampled_and_not_counted() -> None:
    space = ParameterSpace(HUGE).where(lambda one: one["core-0"] == one["core-1"])
    assert all(one["core-0"] == one["core-1"] for one in space.sample(20, seed=1))
    assert list(space.sample(20, seed=1)) == list(space.sample(20, seed=1))
    with pytest.raises(ValueError, match="take a sample"):
        _ = space.size
    assert "?" in repr(space)


def test_slices_are_spaces() -> None:
    space = ParameterSpace({"n": range(10)})
    for cut in (slice(2, 5), slice(None, None, -1), slice(1, 9, 3), slice(8, 2), slice(-3, None), slice(9, None, -4)):
        assert [one["n"] for one in space[cut]] == list(range(10))[cut]
    assert ParameterSpace(HUGE)[10**100:10**100 + 5].size == 5
    with pytest.raises(IndexError, match="index 10 of a space of 10"):
        space[10]


def test_the_identity_says_whether_two_spaces_are_the_same() -> None:
    def spaces() -> list[ParameterSpace]:
        base = ParameterSpace(NESTED)
        return [base, base.shuffled(1), base.shuffled(2), base.sample(3, 1), base.replicated(2), base[1:], ParameterSpace(HUGE),
                ParameterSpace.permutations("abc"), ParameterSpace.permutations("abd"), ParameterSpace.multisets("abc", 3),
                base.where(lambda one: one["size"] == 1), base.where(lambda one: one["size"] == 2)]

    found = [space.identity for space in spaces()]
    assert len(set(found)) == len(found)
    assert found == [space.identity for space in spaces()]


def test_a_space_can_be_pickled_to_workers() -> None:
    space = ParameterSpace(NESTED).sample(5, seed=2)
    assert list(pickle.loads(pickle.dumps(space))) == list(space)


def test_a_sweeper_on_a_huge_space_takes_what_it_needs(tmp_path: Any) -> None:
    space = ParameterSpace(HUGE)
    sweeper = ParamSweeper(tmp_path / "s", space)
    assert [sweeper.get_next() for _ in range(3)] == [space[0], space[1], space[2]]
    sweeper.done(space[1])
    sweeper.cancel(space[0])
    assert sweeper.get_done() == {space[1]}
    assert sweeper.get_inprogress() == {space[2]}
    assert sweeper.counts()["todo"] == 9**157 - 2
    with pytest.raises(ValueError, match="take a sample"):
        sweeper.get_remaining()
    again = ParamSweeper(tmp_path / "s", ParameterSpace(HUGE))
    assert again.plan_change is None
    assert again.get_next() == space[3]
    assert str(again).startswith("s <6547")


def test_a_sweeper_on_a_small_space_is_as_on_a_list(tmp_path: Any) -> None:
    ParamSweeper(tmp_path / "s", sweep(NESTED)).done(sweep(NESTED)[0])
    sweeper = ParamSweeper(tmp_path / "s", ParameterSpace(NESTED).shuffled(3))
    assert sweeper.plan_change is None
    assert sweeper.counts()["done"] == 1
    assert len(sweeper.get_next_batch(1000)) == len(sweep(NESTED)) - 1
