"""`expect` on real processes."""

from __future__ import annotations

import threading
import time

import pytest

from execo.process import STDERR, ExpectOutputHandler, Process

DIALOG = "echo -n 'name? '; read name; echo -n 'age? '; read age; echo $name is $age; echo done >&2"


def test_a_dialog():
    process = Process(DIALOG, shell=True).start()
    assert process.expect(["age", "name\\?"], timeout=20)[0] == 1
    process.write("Ada\n")
    assert process.expect(("age\\?",), timeout=20)[0] == 0
    process.write("36\n")
    index, match = process.expect(r"(\w+) is (\d+)", timeout="20")
    assert (index, match.groups()) == (0, ("Ada", "36"))
    assert process.expect("done", timeout=20, stream=STDERR)[0] == 0
    assert process.wait(20).ok


def test_the_end_of_the_output_ends_an_expect_without_a_limit(capsys):
    process = Process("echo something").start()
    assert process.expect("other") == (None, None)
    assert process.wait(20).expect_fail
    assert not process.ok


def test_timeout_zero_only_looks(capsys):
    process = Process("cat", nolog_expect_fail=True).start()
    begin = time.monotonic()
    assert process.expect("x", timeout=0) == (None, None)
    assert time.monotonic() - begin < 5
    process.close_stdin().wait(20)


def test_a_later_match_clears_the_flag(capsys):
    process = Process("cat", default_expect_timeout=0.05).start()
    assert process.expect("x") == (None, None)
    assert "WARNING" in capsys.readouterr().out
    assert (process.expect_fail, process.ok, process.stats()["num_expect_fail"]) == (True, False, 1)
    process.write("x\n")
    assert process.expect("x", timeout=20)[0] == 0
    assert (process.expect_fail, process.ok) == (False, True)
    process.close_stdin().wait(20)


def test_flags_of_a_failed_expect(capsys):
    process = Process("true", ignore_expect_fail=True, nolog_expect_fail=True).run(20)
    assert process.expect("x") == (None, None)
    assert (process.expect_fail, process.ok) == (True, True)
    assert "WARNING" not in capsys.readouterr().out


def test_what_came_before_is_searched_unless_told_not_to():
    process = Process("cat", nolog_expect_fail=True).start()
    process.write("first\n")
    assert process.expect("first", timeout=20)[0] == 0
    found = {}

    def look(backtrack):
        found[backtrack] = process.expect("first", timeout=0, backtrack=backtrack)[0]

    for backtrack in (True, False):
        thread = threading.Thread(target=look, args=(backtrack,))
        thread.start()
        thread.join()
    assert found == {True: 0, False: None}
    process.close_stdin().wait(20)


def test_each_thread_has_its_own_position():
    process = Process("cat").start()
    process.write("token\n")
    found = []
    threads = [threading.Thread(target=lambda: found.append(process.expect("token", timeout=20)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 4
    process.close_stdin().wait(20)


def test_expect_works_on_output_that_is_not_kept():
    process = Process("cat", default_stdout_handler=False).start()
    waiter_found = []
    waiter = threading.Thread(target=lambda: waiter_found.append(process.expect("x", timeout=20)[0]))
    waiter.start()
    while not process._expecters:
        assert waiter.is_alive()
    process.write("x\n")
    waiter.join()
    assert waiter_found == [0]
    assert process.close_stdin().wait(20).stdout == ""


def test_one_handler_watches_many_processes():
    handler = ExpectOutputHandler()
    processes = [Process(f"echo ready {n}; cat", shell=True, stdout_handlers=[handler]).start() for n in range(3)]
    found = {}
    while len(found) < 3:
        new = handler.expect(r"ready (\d)", timeout=20)
        assert new
        found.update({process: match[1] for (process, _), (_, match) in new.items()})
    assert [found[process] for process in processes] == ["0", "1", "2"]
    for process in processes:
        process.close_stdin().wait(20)


def test_expect_after_a_reset_sees_only_the_new_life():
    process = Process("cat", nolog_expect_fail=True).start()
    process.write("old\n")
    assert process.expect("old", timeout=20)[0] == 0
    process.reset()
    process.start().write("new\n")
    assert process.expect("new", timeout=20)[0] == 0
    assert process.expect("old", timeout=0)[0] is None
    process.close_stdin().wait(20)


@pytest.mark.parametrize("stream", [0, 3, "STDOUT"])
def test_an_unknown_stream_is_refused(stream):
    with pytest.raises(ValueError):
        Process("true").run().expect("x", stream=stream)
