"""Hosts by identical output."""

from __future__ import annotations

import pytest
from connector import LOCAL

from execo import STDERR, Host, ParallelActions, Remote
from execo.hostset import fold


def test_hosts_with_the_same_output_are_one_group_and_the_largest_comes_first() -> None:
    action = Remote("echo {{['5.10', '6.1', '6.1', '5.10', '6.1', '4.19']}}", "n[1-6]", LOCAL).run()
    assert [(fold(host.address for host in hosts), output) for hosts, output in action.gather()] == [
        ("n[2-3,5]", "6.1\n"), ("n[1,4]", "5.10\n"), ("n6", "4.19\n")]


def test_groups_of_one_size_come_in_the_order_of_their_first_hosts() -> None:
    action = Remote("printf {{'bac'}}", "n[1-3]", LOCAL).run()
    assert action.gather() == [([Host("n1")], "b"), ([Host("n2")], "a"), ([Host("n3")], "c")]


def test_the_other_stream_and_composite_actions_are_gathered_too() -> None:
    both = ParallelActions([Remote("echo no >&2", "a[1-2]", LOCAL), Remote("echo no >&2", "b1", LOCAL)]).run()
    assert both.gather(STDERR) == [([Host("a1"), Host("a2"), Host("b1")], "no\n")]
    assert both.gather() == [([Host("a1"), Host("a2"), Host("b1")], "")]
    with pytest.raises(ValueError, match="not a stream"):
        both.gather(3)


def test_an_action_without_hosts_has_no_groups() -> None:
    assert Remote("true", []).run().gather() == []
