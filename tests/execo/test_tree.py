"""The descendants of a process."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from facts import alive, all_gone, wait_for
from hypothesis import given
from hypothesis import strategies as st

from execo._process import tree
from execo._process.tree import descendants, parse_stat, signal_process, tree_below

TAIL = " ".join(["S", "7", *map(str, range(17)), "4242", "0"])


@pytest.mark.parametrize("name", ["sleep", "a b", "x) S 1 2 (", ")", "", "(((", "a\nb"])
def test_stat_is_parsed_whatever_the_name_of_the_program(name):
    assert parse_stat(f"12 ({name}) {TAIL}") == (12, 7, 4242)


def test_stat_of_this_process_is_parsed():
    with open("/proc/self/stat") as file:
        pid, parent, start_time = parse_stat(file.read())
    assert (pid, parent) == (os.getpid(), os.getppid())
    assert start_time > 0


def test_tree_below_gives_all_descendants_parents_first():
    stats = [(5, 3, 50), (2, 1, 20), (3, 2, 30), (4, 2, 40), (9, 8, 90)]
    assert set(tree_below(2, stats)) == {(3, 30), (4, 40), (5, 50)}
    order = [pid for pid, _ in tree_below(1, stats)]
    assert order.index(2) < order.index(3) < order.index(5)
    assert tree_below(7, stats) == []


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40))
def test_tree_below_the_root_of_any_tree_finds_each_process_once(parents):
    stats = [(pid, parent % pid, 10 * pid) for pid, parent in enumerate(parents, start=1)]
    assert sorted(tree_below(0, stats)) == [(pid, 10 * pid) for pid in range(1, len(parents) + 1)]


@pytest.mark.parametrize("has_children_files", [True, False])
def test_descendants_are_found_three_levels_deep(monkeypatch, has_children_files):
    if has_children_files and not tree._has_children_files():
        pytest.skip("this kernel has no /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN)")
    monkeypatch.setattr(tree, "_has_children_files", lambda: has_children_files)
    with subprocess.Popen(["sh", "-c", "sh -c 'sleep 60 & wait' & wait"]) as top:
        found = wait_for(lambda: below if len(below := descendants(top.pid)) == 2 else None)
        assert found
        assert all(alive(pid) for pid, _ in found)
        for pid, start_time in found:
            signal_process(pid, start_time, signal.SIGKILL)
        assert all_gone(pid for pid, _ in found)


def test_a_process_with_another_start_time_is_not_signalled():
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        known = tree._read_stat(sleeper.pid)
        assert known is not None
        signal_process(sleeper.pid, known[2] + 1, signal.SIGKILL)
        signal_process(sleeper.pid, known[2], signal.SIGTERM)
        assert sleeper.wait(20) == -signal.SIGTERM
    signal_process(sleeper.pid, known[2], signal.SIGKILL)       # gone: nothing
