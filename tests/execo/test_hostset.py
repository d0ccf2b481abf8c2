"""Folded host names: what is written is read again, and nothing is taken for a range that is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo import Host, Put, Remote
from execo.action import filter_bad_hosts
from execo.host import get_hosts_list, get_unique_hosts_list
from execo.hostset import expand, fold


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node", ["node"]),
        ("node-[1-3]", ["node-1", "node-2", "node-3"]),
        ("graphene-[1-3,20].nancy.grid5000.fr", [f"graphene-{i}.nancy.grid5000.fr" for i in (1, 2, 3, 20)]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("n[0-8/4]", ["n0", "n4", "n8"]),
        ("a, b[1-2] ,c", ["a", "b1", "b2", "c"]),
        ("b[2,1,1]", ["b2", "b1", "b1"]),
        ("[::1]", ["[::1]"]),
        ("fe80::1,[::1],user@n[1-2]", ["fe80::1", "[::1]", "user@n1", "user@n2"]),
        ("[1-2].example", ["1.example", "2.example"]),
    ],
)
def test_a_text_stands_for_these_names(text: str, names: list[str]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "an empty name"), ("a,,b", "an empty name"), ("a,", "an empty name"), ("a[1-3", r"'\[1-3'"), ("a[]", r"'\[\]'"),
        ("a[1,]", r"'\[1,\]'"), ("a[3-1]", "runs backwards"), ("a[1-3/0]", "step of 0"), ("a[0-99999999999]", "more than"),
        ("a[1-9999]b[1-9999]", "more than"), ("a[1-2,b", "not closed"),
    ],
)
def test_a_text_that_stands_for_nothing_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        expand(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["b", "a"], "a,b"),
        ([f"node-{i}" for i in (10, 9, 2, 1, 3)], "node-[1-3,9-10]"),
        (["n08", "n09", "n10"], "n[08-10]"),
        (["n1", "n01"], "n01,n1"),
        ([f"r{r}n{n}" for r in (1, 2) for n in (1, 2, 3)], "r[1-2]n[1-3]"),
        ([f"g-{i}.grid5000.fr" for i in range(1, 17)], "g-[1-16].grid5000.fr"),
        (["10.0.0.1", "10.0.0.2"], "10.0.0.[1-2]"),
        (["[::1]", "x"], "[::1],x"),
        (["a", "a"], "a"),
    ],
)
def test_these_names_are_folded_to_this_text(names: list[str], text: str) -> None:
    assert fold(names) == text


NAMES = st.lists(st.from_regex(r"\A[a-z]{0,2}(?:[0-9]{1,3}|[a-z-])(?:[a-z.]{0,2}[0-9]{1,2})?\Z"), max_size=40)


@given(NAMES)
def test_what_fold_writes_expand_reads(names: list[str]) -> None:
    if names:
        assert sorted(expand(fold(names))) == sorted(set(names))


@given(st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1))
def test_two_places_are_folded_without_loss(points: set[tuple[int, int]]) -> None:
    names = [f"rack{rack}-node{node:02}.site" for rack, node in points]
    assert sorted(expand(fold(names))) == sorted(names)


def test_a_full_grid_is_one_word_whatever_the_order() -> None:
    names = [f"r{r}-n{n}-p{p}" for p in (1, 2) for n in range(5) for r in range(4)]
    assert fold(reversed(names)) == "r[0-3]-n[0-4]-p[1-2]"


def test_a_list_of_hosts_may_be_such_a_text_and_a_host_never_is() -> None:
    assert get_hosts_list("n[1-2],m") == [Host("n1"), Host("n2"), Host("m")]
    assert get_hosts_list(["n[1-2]", "x", Host("y[1-2]")]) == [Host("n1"), Host("n2"), Host("x"), Host("y[1-2]")]
    assert get_unique_hosts_list("n[1-2],n1") == [Host("n1"), Host("n2")]
    assert get_hosts_list("[::1]") == [Host("[::1]")]
    assert Host("n[1-2]").address == "n[1-2]"
    with pytest.raises(ValueError, match="runs backwards"):
        get_hosts_list("n[2-1]")


def test_actions_take_such_a_text() -> None:
    assert [process.host.address for process in Remote("true", "n[1-3]").processes] == ["n1", "n2", "n3"]
    assert Put("n[1-3]", "file").name == "Put to 3 hosts"
    assert filter_bad_hosts(Remote("true", "n[1-2]"), "n[1-2]") == ["n1", "n2"]
