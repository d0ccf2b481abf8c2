"""`timeout` and `idle_timeout`, with and without pidfds."""

from __future__ import annotations

import datetime
import math
import time

import pytest
from reaping import reaping  # noqa: F401

from execo.config import configuration
from execo.process import Process

pytestmark = pytest.mark.usefixtures("reaping")


@pytest.mark.parametrize("timeout", [0.1, "0.1", "0:0:0.1", datetime.timedelta(seconds=0.1)])
def test_timeout_takes_any_duration_and_kills(timeout):
    begin = time.monotonic()
    process = Process("sleep 60", timeout=timeout, nolog_timeout=True).run(20)
    assert 0.1 <= time.monotonic() - begin < 10
    assert (process.timeouted, process.killed, process.idle_timeouted, process.exit_code, process.ok) == (True, True, False, -15, False)
    assert process.timeout_date == pytest.approx(process.start_date + 0.1)
    assert process.stats()["num_timeouts"] == 1


def test_equal_timeouts_do_no_harm():
    processes = [Process("sleep 60", timeout=0.1, ignore_timeout=True, nolog_timeout=True).start() for _ in range(20)]
    assert all(process.wait(20).timeouted and process.ok for process in processes)


@pytest.mark.parametrize("timeout", [math.inf, 1e300, 60])
def test_a_timeout_that_does_not_come_changes_nothing(timeout):
    processes = [Process("true", timeout=timeout, idle_timeout=timeout).start() for _ in range(2)]
    for process in processes:
        process.wait(20)
        assert (process.ok, process.timeouted, process.killed) == (True, False, False)


@pytest.mark.parametrize("option", ["timeout", "idle_timeout", "default_expect_timeout"])
@pytest.mark.parametrize("wrong", ["soon", "1:2", math.nan, "nan"])
def test_a_bad_duration_is_refused_where_it_is_given(option, wrong):
    with pytest.raises(ValueError, match=r"nan|soon|1:2"):
        Process("true", **{option: wrong})


@pytest.mark.parametrize("option", ["timeout", "idle_timeout"])
def test_a_bad_duration_assigned_later_is_refused_at_the_start(option):
    process = Process("true")
    setattr(process, option, "soon")
    with pytest.raises(ValueError, match="soon"):
        process.start()
    setattr(process, option, None)
    assert process.run(20).ok


def test_a_bad_kill_timeout_in_the_configuration_does_not_save_a_process_from_its_timeout(capsys):
    configuration["kill_timeout"] = "soon"
    process = Process("sleep 60", timeout=0.05, nolog_timeout=True).run(20)
    assert (process.timeouted, process.exit_code) == (True, -15)
    assert Process("true").run(20).ok


def test_a_timeout_is_followed_by_sigkill():
    configuration["kill_timeout"] = 0.05
    process = Process("trap '' TERM; while :; do sleep 0.02; done", shell=True, timeout=0.1, nolog_timeout=True).run(20)
    assert (process.timeouted, process.forced_kill, process.exit_code) == (True, True, -9)


def test_silence_is_ended_by_idle_timeout_with_a_flag_of_its_own():
    process = Process("echo begin; exec sleep 60", shell=True, idle_timeout=0.15, nolog_timeout=True).run(20)
    assert (process.idle_timeouted, process.timeouted, process.killed, process.ok) == (True, False, True, False)
    assert process.stdout == "begin\n"
    stats = process.stats()
    assert (stats["idle_timeouts"], stats["num_timeouts"]) == (1, 0)
    assert "idle_timeouted=True" in str(process)


def test_output_on_either_stream_keeps_a_process_alive():
    line = "for i in 1 2 3 4 5 6 7 8; do sleep 0.15; echo $i; sleep 0.15; echo $i >&2; done"
    process = Process(line, shell=True, idle_timeout=2, default_stdout_handler=False).run(30)
    assert (process.idle_timeouted, process.exit_code) == (False, 0)
    assert len(process.stderr.split()) == 8


def test_the_clock_of_the_timeout_starts_with_the_child():
    process = Process("true", timeout="0:0:30")
    assert process.timeout_date is None
    process.run(20)
    assert process.timeout_date - process.start_date == pytest.approx(30)
