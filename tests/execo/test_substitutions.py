"""Which variables `{{expr}}` sees, and what it becomes."""

from __future__ import annotations

import gc
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo.host import Host
from execo.substitutions import get_caller_context, needs_context, remote_substitute

HOSTS = [Host("a"), Host("b"), Host("c")]
MODULE_LIST = ["m0", "m1"]


@pytest.mark.parametrize(
    "string, substituted",
    [
        ("{{{host}}}", ["a", "b", "c"]),
        ("x-{{{host}}}-{{{host}}}", ["x-a-a", "x-b-b", "x-c-c"]),
        ("{{l}}", ["1", "2", "3"]),
        ("{{g}}", ["g0", "g1", "g0"]),
        ("{{s}}", ["x", "y", "z"]),
        ("{{f(5)}}", ["5", "6", "5"]),
        ("{{ [10,20] }}", ["10", "20", "10"]),
        ("{{[h for h in l]}}", ["1", "2", "3"]),
        ("{{[g[0] + s[i] for i in range(len(l)) if s]}}", ["g0x", "g0y", "g0z"]),
        ("{{['{{{host}}}' * n for n in l]}}", ["a", "bb", "ccc"]),
        ("{{l}}/{{g}}", ["1/g0", "2/g1", "3/g0"]),
        ("{{'%d' % 3}}", ["3", "3", "3"]),
        ("{ {a} } {{}} no subst", ["{ {a} } {{}} no subst"] * 3),
    ],
)
def test_each_host_gets_its_item(string: str, substituted: list[str]) -> None:
    context = ({"g": ["g0", "g1"]}, {"l": (1, 2, 3), "s": "xyz", "f": lambda n: [n, n + 1]})
    assert [remote_substitute(string, HOSTS, index, context) for index in range(3)] == substituted


@pytest.mark.parametrize(
    "string, error",
    [("{{n}}", ValueError), ("{{{1}}}", SyntaxError), ("{{set()}}", ValueError), ("{{undefined}}", NameError),
     ("{{1/0}}", ZeroDivisionError), ("{{[]}}", ZeroDivisionError), ("{{.Names}}", SyntaxError)],
)  # fmt: skip
def test_errors_of_an_expression_come_out(string: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        remote_substitute(string, HOSTS, 0, ({}, {"n": 3}))


def test_value_that_is_no_list_is_named() -> None:
    with pytest.raises(ValueError, match=r"\{\{n\}\}.*'run \{\{n\}\}'.*found 3"):
        remote_substitute("run {{n}}", HOSTS, 0, ({}, {"n": 3}))


def test_namespaces_of_the_user_are_not_touched() -> None:
    namespaces: tuple[dict[str, Any], dict[str, Any]] = ({"g": [1]}, {"l": [2]})
    assert remote_substitute("{{g}}{{l}}{{[max(x := 1, 2)]}}", HOSTS, 0, namespaces) == "122"
    assert namespaces == ({"g": [1]}, {"l": [2]})


@given(st.lists(st.text(), min_size=1), st.integers(0, 30), st.text(st.characters(exclude_characters="{}\r\n")))
def test_any_list_is_taken_in_turn(values: list[str], index: int, around: str) -> None:
    hosts = [Host(f"h{number}") for number in range(31)]
    string = f"{around}{{{{values}}}}{around}{{{{{{host}}}}}}"
    expected = f"{around}{values[index % len(values)]}{around}h{index}"
    assert remote_substitute(string, hosts, index, ({}, {"values": values})) == expected


@given(st.text(st.characters(exclude_characters="{")))
def test_string_without_braces_is_untouched(string: str) -> None:
    assert remote_substitute(string, HOSTS, 1, ({}, {})) == string
    assert not needs_context(string)


def test_only_expressions_need_a_context() -> None:
    found = [needs_context(one) for one in ("{{x}}", "{{{host}}}", "{{{host}}}{{x}}", "ls", None, ["{{x}}"])]
    assert found == [True, False, True, False, False, False]


# A package that stands where execo's own modules stand: frames and classes are told by their module's name.
_LIBRARY = """
from execo.substitutions import get_caller_context

class Remote:
    def __init__(self, string="", **kwargs):
        self.context = self.build()
    def build(self):
        return get_caller_context(["get_remote"])

class Factory:
    def get_remote(self, *args, **kwargs):
        return Remote(*args, **kwargs)

def get_remote(*args, **kwargs):
    return Factory().get_remote(*args, **kwargs)

def in_listcomp():
    return [Remote() for _ in range(1)][0]
"""


@pytest.fixture
def library() -> Iterator[types.ModuleType]:
    name = "execo.module_of_test_substitutions"
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(_LIBRARY, vars(module))
    yield module
    del sys.modules[name]


@pytest.mark.parametrize("maker", ["Remote", "get_remote", "in_listcomp"])
def test_context_is_that_of_the_frame_that_called_into_execo(maker: str, library: types.ModuleType) -> None:
    mine = ["local"]
    make: Callable[[], Any] = getattr(library, maker)
    seen_globals, seen_locals = make().context
    assert seen_globals is globals()
    assert seen_locals["mine"] is mine
    assert type(seen_locals) is dict
    assert remote_substitute("{{mine}} {{MODULE_LIST}}", HOSTS, 1, (seen_globals, seen_locals)) == "local m1"


def test_subclass_passes_on_what_its_caller_wrote(library: types.ModuleType) -> None:
    class Mine(library.Remote):  # type: ignore[name-defined,misc]  # made by exec
        def __init__(self) -> None:
            where = ["in the subclass"]  # noqa: F841  found by the walk, if it stops too early
            super().__init__()

    class Lower(Mine):
        def __init__(self) -> None:
            where = ["in the lower subclass"]  # noqa: F841  as above
            super().__init__()

    where = ["caller"]
    assert Mine().context[1]["where"] is where
    assert Lower().context[1]["where"] is where


def test_constructor_of_the_users_own_class_is_the_writer(library: types.ModuleType) -> None:
    class Experiment:
        def __init__(self) -> None:
            where = ["in the constructor"]
            self.remote = library.Remote()
            where.append("later")

    def caller() -> Any:
        where = ["caller"]
        return Experiment().remote, where

    assert caller()[0].context[1]["where"] == ["in the constructor", "later"]


def test_function_to_filter_out_is_passed_over() -> None:
    where = ["caller"]

    def helper() -> Any:
        where = ["helper"]  # noqa: F841  found by the walk, if it stops too early
        return get_caller_context(["helper"])

    assert helper()[1]["where"] is where


def test_comprehension_sees_the_function_around_it(library: types.ModuleType) -> None:
    around = ["seen"]
    contexts = [
        *[library.Remote(number).context for number in range(2)],
        *{number: library.Remote().context for number in range(2)}.values(),
        *(library.Remote().context for number in range(2)),
        *[[library.Remote().context for number in range(2)][1] for _ in range(1)],
    ]
    assert [context[1]["around"] for context in contexts] == [around] * 7
    assert [context[1]["number"] for context in contexts] == [0, 1, 0, 1, 0, 1, 1]


def test_locals_are_those_of_the_moment(library: types.ModuleType) -> None:
    v = ["v1"]
    context = library.Remote().context
    v[0] = "v2"
    assert remote_substitute("{{v}}", HOSTS, 0, context) == "v2"
    v = ["another list"]
    assert remote_substitute("{{v}}", HOSTS, 0, context) == "v2"
    assert v


def test_top_level_of_a_module_is_seen_as_it_becomes(library: types.ModuleType) -> None:
    script: dict[str, Any] = {"Remote": library.Remote, "__name__": "script"}
    exec("v = ['before']\ncontext = Remote().context\nv = ['after']\nw = ['new']", script)
    assert remote_substitute("{{v}} {{w}}", HOSTS, 0, script["context"]) == "after new"


def test_context_keeps_no_frame_alive(library: types.ModuleType) -> None:
    class Marker:
        pass

    def caller() -> tuple[Any, weakref.ref[Any]]:
        unrelated = Marker()
        context = library.Remote().context
        del context[1]["unrelated"]
        return context, weakref.ref(unrelated)

    gc.disable()
    try:
        context, marker = caller()
        assert "library" in context[1]
        assert marker() is None
    finally:
        gc.enable()
