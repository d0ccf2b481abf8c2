"""The helpers of execo.utils."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execo import utils
from execo.config import configuration


def test_comma_join_drops_the_empty() -> None:
    assert utils.comma_join("a", "", "b") == "a, b"
    assert utils.comma_join() == ""


@given(st.text(), st.integers(1, 40))
def test_compact_output_keeps_both_ends(text: str, threshold: int) -> None:
    configured = configuration["compact_output_threshold"]
    configuration["compact_output_threshold"] = threshold
    try:
        short = utils.compact_output(text)
    finally:
        configuration["compact_output_threshold"] = configured
    if len(text) <= threshold:
        assert short == text
    else:
        first, last = text[: threshold // 2], text[len(text) - threshold // 2 :]
        assert short == f"{first}\n[...]\n{last}"


def test_threshold_zero_keeps_all() -> None:
    configuration["compact_output_threshold"] = 0
    assert utils.compact_output("x" * 10000) == "x" * 10000


@given(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=1))
def test_quoted_list_splits_into_the_same_words(words: list[str]) -> None:
    assert shlex.split(utils.str_from_cmdline(words)) == words


@given(st.one_of(st.none(), st.integers(), st.binary(), st.text(), st.lists(st.one_of(st.none(), st.floats(), st.binary()))))
def test_names_come_from_anything(cmdline: Any) -> None:
    assert isinstance(utils.str_from_cmdline(cmdline), str)
    name = utils.name_from_cmdline(cmdline)
    assert len(name) <= 39
    assert "\n" not in name


def test_command_lines_of_odd_words() -> None:
    assert utils.str_from_cmdline("a  b") == "a  b"
    assert utils.str_from_cmdline(("echo", 3, None, Path("/x y"), b"z")) == "echo 3 None '/x y' z"
    assert utils.str_from_cmdline(None) == "None"  # type: ignore[arg-type]  # must not fail


def test_names_are_short_and_on_one_line() -> None:
    assert utils.name_from_cmdline("a \n\t b") == "a b"
    assert utils.name_from_cmdline("x" * 39) == "x" * 39
    assert utils.name_from_cmdline("x" * 40) == "x" * 36 + "..."


def test_checked_min_ignores_none() -> None:
    found = [utils.checked_min(*pair) for pair in ((None, None), (1, None), (None, 0), (2, 1))]
    assert found == [None, 1, 0, 1]


@pytest.mark.parametrize("given_, collection", [(None, []), ("ab", ["ab"]), (b"ab", [b"ab"]), (3, [3]), ("", [""])])
def test_singletons_become_a_list(given_: object, collection: list[object]) -> None:
    assert utils.singleton_to_collection(given_) == collection


@pytest.mark.parametrize("collection", [[1], (1,), {1}, {1: 2}, []])
def test_collections_stay_the_same_object(collection: object) -> None:
    assert utils.singleton_to_collection(collection) is collection


def test_memoize_shows_its_cache_and_keeps_no_failure() -> None:
    calls: list[int] = []

    @utils.memoize
    def double(number: int, *, fail: bool = False) -> int:
        """Twice."""
        calls.append(number)
        if fail:
            raise ValueError(number)
        return 2 * number

    assert [double(1), double(1), double(2)] == [2, 2, 4]
    with pytest.raises(ValueError):
        double(3, fail=True)
    assert calls == [1, 2, 3]
    assert sorted(double.cache.values()) == [2, 4]  # type: ignore[attr-defined]  # part of the contract
    assert double.__doc__ == "Twice."


def test_do_once_calls_once_for_each_key_and_function() -> None:
    calls: list[tuple[str, int]] = []

    def one(number: int) -> None:
        calls.append(("one", number))

    def two(number: int, offset: int = 0) -> None:
        calls.append(("two", number + offset))

    utils.do_once("k", one, 1)
    utils.do_once("k", one, 2)
    utils.do_once("k", two, 3, offset=4)
    utils.do_once("other", one, 5)
    assert calls == [("one", 1), ("two", 7), ("one", 5)]


def test_ports_of_many_threads_are_all_different() -> None:
    configuration["port_range"] = (30000, 34000)
    found: list[list[int]] = [[] for _ in range(8)]

    def take(mine: list[int]) -> None:
        mine.extend(utils.get_port() for _ in range(500))

    threads = [threading.Thread(target=take, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter(port for mine in found for port in mine)
    assert counts == Counter(range(30000, 34000))


def test_forked_child_starts_its_ports_elsewhere() -> None:
    configuration["port_range"] = (0, 1 << 30)
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writable, str(utils.get_port()).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        childs = int(pipe.read())
    assert os.waitpid(pid, 0)[1] == 0
    assert abs(childs - utils.get_port()) > 1


def test_empty_port_range_is_refused() -> None:
    configuration["port_range"] = (10, 10)
    with pytest.raises(ValueError, match="port_range"):
        utils.get_port()


def test_waits_tell_whether_it_happened() -> None:
    event = threading.Event()
    assert utils.intr_event_wait(event, 0) is False
    event.set()
    assert utils.intr_event_wait(event) is True
    assert utils.intr_event_wait(event, 1e12) is True
    condition = threading.Condition()
    with condition:
        assert utils.non_retrying_intr_cond_wait(condition, 0.01) is False


@pytest.mark.parametrize(
    "wait", ["utils.intr_event_wait(threading.Event())", "condition.acquire(); utils.non_retrying_intr_cond_wait(condition)"]
)
def test_ctrl_c_interrupts_a_wait_without_limit(wait: str) -> None:
    code = f"""
import threading
from execo import utils
condition = threading.Condition()
try:
    print("ready", flush=True)
    {wait}
except KeyboardInterrupt:
    print("interrupted")
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(utils.__file__).resolve().parents[1])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            pass
        child.send_signal(signal.SIGINT)
        try:
            assert child.communicate(timeout=20)[0] == "interrupted\n"
        finally:
            child.kill()


def test_is_string() -> None:
    assert [utils.is_string(one) for one in ("", b"", None)] == [True, False, False]
