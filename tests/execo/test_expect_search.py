"""The search of `expect`, without a process."""

from __future__ import annotations

import re
import threading

import pytest

from execo._process.expect import compile_regexes, first_match
from execo.process import STDOUT, ExpectOutputHandler


def search(regexes, text):
    found = first_match(compile_regexes(regexes), text)
    return None if found is None else (found[0], found[1].group())


@pytest.mark.parametrize("regexes, text, expected", [
    ("b", "abc", (0, "b")),
    ("x", "abc", None),
    (["c", "b"], "abc", (1, "b")),                  # what begins first in the stream, not first in the list
    (["bc", "b"], "abc", (0, "bc")),                # at the same place the first of the list
    (["b", "bc"], "abc", (0, "b")),
    (("x", "c"), "abc", (1, "c")),
    (iter(["x", "c"]), "abc", (1, "c")),
    (re.compile("B", re.IGNORECASE), "abc", (0, "b")),
    ("^b$", "a\nb\nc", (0, "b")),                   # MULTILINE
    ([], "abc", None),
])
def test_the_match_that_begins_first_is_found(regexes, text, expected):
    assert search(regexes, text) == expected


def test_the_list_of_the_caller_is_left_alone():
    regexes = ["a", re.compile("b")]
    before = list(regexes)
    compile_regexes(regexes)
    assert regexes == before


@pytest.mark.parametrize("wrong", [3, [None], [b"a"], re.compile(b"a")])
def test_what_is_no_regular_expression_for_text_is_refused(wrong):
    with pytest.raises(TypeError):
        compile_regexes(wrong)


def test_a_match_consumes_the_text_up_to_its_end():
    handler = ExpectOutputHandler()
    handler.read("p", STDOUT, "one two one", False, False)
    first = handler.expect("one", timeout=0)["p", STDOUT]
    assert (first[0], first[1].span()) == (0, (0, 3))
    assert handler.expect("two", timeout=0)["p", STDOUT][1].group() == "two"
    assert handler.expect("two", timeout=0) == {}
    assert handler.expect("one", timeout=0)["p", STDOUT][1].group() == "one"


def test_a_match_may_span_two_reads():
    handler = ExpectOutputHandler()
    handler.read("p", STDOUT, "pass", False, False)
    assert handler.expect("password:", timeout=0) == {}
    handler.read("p", STDOUT, "word:", False, False)
    assert ("p", STDOUT) in handler.expect("password:", timeout=0)


def test_all_streams_that_match_are_given_at_once():
    handler = ExpectOutputHandler()
    for process in "pqr":
        handler.read(process, STDOUT, f"I am {process}", False, False)
    found = handler.expect(["am [qr]"], timeout=0)
    assert set(found) == {("q", STDOUT), ("r", STDOUT)}


def test_expect_wakes_when_text_comes_in_another_thread():
    handler = ExpectOutputHandler()
    found = []
    waiter = threading.Thread(target=lambda: found.append(handler.expect("ready", timeout=20)))
    waiter.start()
    handler.read("p", STDOUT, "ready", False, False)
    waiter.join(20)
    assert found[0]["p", STDOUT][0] == 0


def test_expect_returns_when_all_streams_have_ended():
    handler = ExpectOutputHandler()
    handler.read("p", STDOUT, "text", True, False)
    assert handler.expect("other") == {}


def test_output_that_comes_between_two_steps_of_attaching_is_not_lost():
    handler = ExpectOutputHandler()
    handler.read("p", STDOUT, " second", False, False)
    handler.read("p", STDOUT, "", True, False)
    handler.attach("p", STDOUT, "first")
    assert handler.expect("first second", timeout=0)["p", STDOUT][1].group() == "first second"
    assert handler.expect("more") == {}
