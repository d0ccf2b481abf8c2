"""How many processes of an action run at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from connector import LOCAL, hosts, until

from execo.action import Get, Local, Put, Remote
from execo.config import configuration

COUNTING = "touch {0}/{{{{{{host}}}}}}; ls {0} | wc -l; sleep 0.02; rm {0}/{{{{{{host}}}}}}"
"""Prints how many such commands run; a file stands for each."""


def most_at_once(action: Remote) -> int:
    assert action.run(100).finished_ok
    return max(int(process.stdout) for process in action.processes)


def test_never_more_than_the_fanout_and_all_run(tmp_path: Path) -> None:
    assert 1 < most_at_once(Remote(COUNTING.format(tmp_path), hosts(40), LOCAL, fanout=3)) <= 3
    assert most_at_once(Remote(COUNTING.format(tmp_path), hosts(8), LOCAL, fanout=1)) == 1


def test_the_configuration_gives_the_default_and_none_is_all(tmp_path: Path) -> None:
    command = COUNTING.format(tmp_path)
    configuration["fanout"] = 2
    assert most_at_once(Remote(command, hosts(10), LOCAL)) <= 2
    assert most_at_once(Remote(command, hosts(10), LOCAL, fanout=1)) == 1
    with Remote("cat", hosts(10), LOCAL, fanout=None) as everything:
        everything.start()
        until(lambda: all(process.started for process in everything.processes))
    everything.wait()
    configuration["fanout"] = None
    with Remote("cat", hosts(10), LOCAL) as everything:
        everything.start()
        until(lambda: all(process.started for process in everything.processes))
    everything.wait()


@pytest.mark.parametrize("bad", [0, -1, True, 2.5, "3", [2]])
def test_bad_values_are_refused_at_once(bad: Any) -> None:
    for make in (lambda: Remote("true", "h", LOCAL, fanout=bad), lambda: Put("h", "f", fanout=bad), lambda: Get("h", "f", fanout=bad)):
        with pytest.raises(ValueError, match="fanout"):
            make()
    configuration["fanout"] = bad
    action = Remote("true", "h", LOCAL)
    with pytest.raises(ValueError, match="fanout"):
        action.start()
    assert not action.started


def test_the_window_slides(tmp_path: Path) -> None:
    with Remote("cat", hosts(5), LOCAL, fanout=2) as action:
        action.start()
        first = action.processes
        until(lambda: first[0].started and first[1].started)
        for ending in range(3):
            assert [process.started for process in first] == [True] * (ending + 2) + [False] * (3 - ending)
            first[ending].close_stdin()
            until(lambda ending=ending: first[ending + 2].started)  # type: ignore[misc]
            assert first[ending].ended
    assert action.wait(20).ended


def test_a_timeout_runs_from_the_start_of_each() -> None:
    action = Remote("sleep 0.15", hosts(6), LOCAL, fanout=2, process_args={"timeout": 10}).run(60)
    assert action.finished_ok
    action = Remote("sleep 60", hosts(3), LOCAL, fanout=1, process_args={"timeout": 0.2, "nolog_timeout": True})
    begin = time.monotonic()
    action.run(60)
    assert time.monotonic() - begin >= 0.6
    assert action.timeouted_processes == action.processes


def test_kill_cancels_those_that_wait() -> None:
    action = Remote("sleep 60", hosts(5), LOCAL, fanout=2).start()
    until(lambda: action.processes[0].started and action.processes[1].started)
    action.kill().wait(30)
    assert action.ended
    assert [process.started for process in action.processes] == [True] * 2 + [False] * 3
    for process in action.processes[2:]:
        assert (process.ended, process.killed, process.exit_code, process.pid, process.start_date) == (True, True, None, None, None)
        assert process.stdout == ""
        assert process.expect("x", timeout=None) == (None, None)
    assert action.stats()["num_started"] == 2
    assert action.stats()["num_ended"] == 5


def test_killing_one_that_waits_leaves_its_turn_to_the_next() -> None:
    action = Remote("cat", hosts(3), LOCAL, fanout=1).start()
    waiting = action.processes[1]
    waiting.kill()
    assert waiting.wait(20).ended
    assert not waiting.started
    action.processes[0].close_stdin()
    until(lambda: action.processes[2].started)
    action.processes[2].close_stdin()
    assert action.wait(20).ended


def test_what_is_written_to_a_waiting_one_is_kept_and_blocks_nobody() -> None:
    big = "x" * 300_000 + "\n"
    action = Remote("head -n 2 | wc -c", hosts(4), LOCAL, fanout=1).start()
    for process in action.processes[1:]:
        process.write(big)
        process.write("end\n")
    assert not action.processes[1].started
    action.processes[0].write(big)
    action.processes[0].write("end\n")
    assert action.wait(60).finished_ok
    assert [int(process.stdout) for process in action.processes] == [len(big) + 4] * 4


def test_writing_to_all_and_closing_reaches_the_waiting_ones() -> None:
    action = Remote("cat", hosts(6), LOCAL, fanout=2).start()
    action.write("hello\n")
    action.close_stdin()
    assert action.wait(60).finished_ok
    assert [process.stdout for process in action.processes] == ["hello\n"] * 6


def test_a_failed_start_makes_room() -> None:
    action = Remote("x", hosts(20), {"ssh": "/no/such/program"}, fanout=1, process_args={"nolog_error": True, "nolog_exit_code": True})
    assert action.run(30).ended
    assert all(process.error for process in action.processes)


def test_reset_while_some_wait() -> None:
    action = Remote("sleep 60", hosts(5), LOCAL, fanout=2).start()
    old = action.processes
    action.reset()
    assert all(process.ended for process in old)
    for process in action.processes:
        process.cmd = "true"
    assert action.run(30).finished_ok


def test_two_actions_have_windows_of_their_own() -> None:
    with Remote("cat", hosts(4), LOCAL, fanout=1) as one, Remote("cat", hosts(4), LOCAL, fanout=1) as other:
        one.start()
        other.start()
        until(lambda: one.processes[0].started and other.processes[0].started)
    assert one.wait(20).ended
    assert other.wait(20).ended


def test_a_thousand_hosts_fifty_at_a_time(tmp_path: Path) -> None:
    action = Remote("echo {{{host}}}", hosts(1000), LOCAL, fanout=50).run(100)
    assert action.finished_ok
    assert [process.stdout for process in action.processes] == [f"{host}\n" for host in hosts(1000)]


LOG_OF_A_THOUSAND = """
import sys
sys.path[:0] = sys.argv[1].split(":")
from connector import LOCAL, hosts
from execo import *
action = Remote(
    "echo {{{host}}}; [ {{{host}}} != h13 -a {{{host}}} != h666 ] || exit 7; [ {{{host}}} != h777 ] || kill -9 $$", hosts(1000), LOCAL)
action.run()
expected = [action.processes[i].dump() for i in (13, 666, 777)]
print("=====")
print("\\0".join(sorted(expected)))
"""


def test_the_default_log_of_a_thousand_hosts_with_three_failures_is_these_three(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOG_OF_A_THOUSAND, ":".join(sys.path)], capture_output=True, text=True, timeout=100,
                          env={**os.environ, "HOME": str(tmp_path)})
    assert done.stderr == ""
    log, _, dumps = done.stdout.partition("=====\n")
    records = ["<" + record for record in log.split(" WARNING: <")[1:]]
    assert len(records) == 3
    assert log.count("WARNING") == 3
    for record, dump in zip(sorted(records), dumps.rstrip("\n").split("\0"), strict=True):
        # a record ends where the date of the next one begins
        assert record.startswith(dump)
        assert len(record.removeprefix(dump)) <= len("\n2026-01-01 00:00:00,000")


def test_local_has_no_fanout() -> None:
    with pytest.raises(TypeError):
        Local("true", fanout=1)
