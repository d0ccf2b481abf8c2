"""Text of values: exact types come back, equal values share a key."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo_engine._sweep.codec import Codec
from execo_engine.sweep import HashableDict, ParamSweeper

CODEC = Codec()
ATOMS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.complex_numbers())
HASHABLES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3),
                            st.dictionaries(st.text(max_size=3), inner, max_size=3).map(HashableDict)),
    max_leaves=8,
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple),
                            st.dictionaries(HASHABLES, inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


def shape(value: Any) -> Any:
    """Something that is equal only for the same values of the same types."""
    if isinstance(value, dict):
        return type(value), sorted(((repr(shape(name)), shape(one)) for name, one in value.items()), key=lambda pair: pair[0])
    if isinstance(value, (list, tuple)):
        return type(value), [shape(one) for one in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(repr(shape(one)) for one in value)
    if isinstance(value, complex):
        return complex, repr(value.real), repr(value.imag)
    return type(value), repr(value)


@given(VALUES)
def test_what_is_written_exactly_comes_back_with_its_types(value: Any) -> None:
    text = CODEC.exact(value)
    assert shape(CODEC.decode(text)) == shape(value)
    assert b"\n" not in text
    json.loads(text)


def has_nan(value: Any) -> bool:
    return "nan" in repr(shape(value))


@given(HASHABLES, HASHABLES)
def test_two_values_share_a_key_if_and_only_if_they_are_equal(one: Any, other: Any) -> None:
    if not has_nan(one) and not has_nan(other):
        assert (CODEC.key(one) == CODEC.key(other)) == (one == other)
    assert CODEC.key(CODEC.decode(CODEC.exact(one))) == CODEC.key(one)


@pytest.mark.parametrize("equal", [
    (1, 1.0, True, 1 + 0j), (0, 0.0, -0.0, False), (float("nan"), float("nan"), -float("nan")), (2**60, float(2**60)),
    (1e300, int(1e300)), (HashableDict(a=1, b=2.0), HashableDict(b=2, a=True)), ((1, (2.0,)), (1.0, (2,))),
    (HashableDict({1: "a", 2: "b"}), HashableDict({2.0: "b", True: "a"})),
], ids=str)
def test_equal_values_are_one_combination(equal: tuple[Any, ...]) -> None:
    assert len({CODEC.key(one) for one in equal}) == 1


@pytest.mark.parametrize("one", [
    HashableDict(a=[1]), (1, {2}), HashableDict(a={"x": 1}), bytearray(b"a"), HashableDict({1: 1, "a": 1}),
], ids=str)
def test_what_a_set_refuses_has_no_key(one: Any) -> None:
    with pytest.raises(TypeError):
        hash(one)
    with pytest.raises(TypeError):
        CODEC.key(one)


@pytest.mark.parametrize("different", [
    (1, "1", b"1", (1,)), (None, "None", "null", False), ((1, 2), (2, 1), ((1, 2),)), ("a%s", "a%d"), (math.inf, -math.inf, "inf"),
    (HashableDict(a=1), HashableDict(b=1), (("a", 1),)), (HashableDict({"1": 1}), HashableDict({1: 1})), (1.5, 1.5000000000000002),
    (frozenset([1, 2]), (1, 2)), ("\u00e9", "e\u0301"), ("\udc80", "\\udc80"),
], ids=str)
def test_different_values_are_different_combinations(different: tuple[Any, ...]) -> None:
    assert len({CODEC.key(one) for one in different}) == len(different)


class Colour(Enum):
    RED = 1


class Level(IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class Node:
    name: str


def test_instances_of_a_subclass_count_as_what_they_are_equal_to() -> None:
    assert CODEC.key(Level.LOW) == CODEC.key(1)
    assert CODEC.key(Point(1, 2)) == CODEC.key((1, 2))


@pytest.mark.parametrize("value", [Colour.RED, Node("a"), object(), (1, Node("a")), HashableDict(n=Node("a"))],
                         ids=lambda one: type(one).__name__)
def test_a_class_of_the_program_needs_an_encoder_and_the_error_says_so(value: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot be kept .* encoder="):
        CODEC.exact(value)


def test_with_encoder_and_decoder_instances_of_a_class_come_back() -> None:
    codec = Codec(lambda node: node.name, Node)
    value = HashableDict(node=Node("a"), n=1)
    assert codec.decode(codec.exact(value)) == value
    with pytest.raises(ValueError, match="decoder="):
        CODEC.decode(codec.exact(value))


def test_a_sweeper_keeps_instances_of_a_class(tmp_path: Any) -> None:
    options: dict[str, Any] = {"encoder": lambda node: node.name, "decoder": Node}
    sweeper = ParamSweeper(tmp_path / "s", [Node("a"), Node("b")], save_sweeps=True, **options)
    assert sweeper.get_next() == Node("a")
    sweeper.done(Node("a"))
    again = ParamSweeper(tmp_path / "s", **options)
    assert again.get_done() == {Node("a")}
    assert again.get_sweeps() == {Node("a"), Node("b")}
    with pytest.raises(TypeError, match="encoder="):
        ParamSweeper(tmp_path / "other", [Node("a")])


def test_a_list_as_combination_is_refused_as_a_set_would(tmp_path: Any) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        ParamSweeper(tmp_path / "s", [HashableDict(a=[1])])


def test_text_of_a_later_version_is_refused() -> None:
    with pytest.raises(ValueError, match="later version"):
        CODEC.decode('["zz",1]')


def test_thousands_of_shapes_of_combinations_cost_no_memory() -> None:
    texts = {CODEC.key(HashableDict({f"name-{number}": number, "%s": "%"})) for number in range(3000)}
    assert len(texts) == 3000
    assert b'{"%s":"%","name-7":7}' in texts
