"""From a command to an argument list."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo._process.local import command_arguments


@given(st.text(alphabet=st.one_of(st.sampled_from("ab $*#;|&~'\"\\ \t\n\r\v\f\x1c\x85\xa0é"), st.characters()), max_size=20))
def test_a_string_is_split_as_shlex_does(text):
    try:
        expected = shlex.split(text)
    except ValueError:
        expected = []
    if expected:
        assert list(command_arguments(text, shell=False)) == expected
    else:
        with pytest.raises(ValueError):
            command_arguments(text, shell=False)


@given(st.lists(st.text(), min_size=1))
def test_quoted_words_come_back(words):
    assert list(command_arguments(shlex.join(words), shell=False)) == words


@pytest.mark.parametrize("cmd, expected", [
    ("echo $HOME | cat", "echo $HOME | cat"),
    (["echo", "a  b", "$HOME"], "echo 'a  b' '$HOME'"),
    (("echo",), "echo"),
])
def test_the_shell_gets_one_line(cmd, expected):
    assert list(command_arguments(cmd, shell=True)) == ["/bin/sh", "-c", expected]


@pytest.mark.parametrize("cmd, error, says", [
    ("", ValueError, "empty"),
    (" \t", ValueError, "empty"),
    ([], ValueError, "empty"),
    ('echo "a', ValueError, "quotation"),
    (["sleep", 1], TypeError, r"1 in \['sleep', 1\] is int"),
    (None, TypeError, "None"),
    (7, TypeError, "7"),
])
def test_a_command_that_is_none_is_refused_and_named(cmd, error, says):
    with pytest.raises(error, match=says):
        command_arguments(cmd, shell=False)
