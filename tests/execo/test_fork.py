"""After os.fork and under multiprocessing both sides run processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from facts import alive, all_gone
from interpreter import environment, popen, run_script

QUIET = "import warnings; warnings.simplefilter('ignore')\n"      # 3.12 warns of a fork in a program with threads


def test_both_sides_of_a_fork_run_processes():
    assert run_script(QUIET + """
import os, sys
from execo import Process
first = Process("cat").start()
first.started_event.wait()
pid = os.fork()
who = "parent" if pid else "child"
for number in range(5):
    assert Process(["echo", who]).run(20).stdout == who + "\\n"
if pid == 0:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
first.close_stdin()
print(first.wait(20).exit_code)
""") == "0"


def test_the_child_of_a_fork_may_not_wait_for_a_process_of_its_parent():
    assert run_script(QUIET + """
import os
from execo import Process
process = Process("cat").start()
process.started_event.wait()
if os.fork() == 0:
    said = []
    for act in (process.wait, process.kill, process.close_stdin, lambda: process.write("x"), lambda: process.expect("x")):
        try:
            act()
            said.append("nothing")
        except RuntimeError as error:
            said.append("forked" if "forked" in str(error) else str(error))
    print(*said, flush=True)
    os._exit(0)
os.wait()
print(process.kill().wait(20).exit_code)
""").splitlines() == ["forked forked forked forked forked", "-15"]


def test_what_a_fork_holds_does_not_keep_the_parents_child_from_its_end_of_file():
    assert run_script(QUIET + """
import os, signal
from execo import Process
process = Process("cat").start()
process.started_event.wait()
pid = os.fork()
if pid == 0:
    signal.pause()
print(process.close_stdin().wait(20).exit_code)
os.kill(pid, signal.SIGKILL)
""") == "0"


def test_the_death_of_the_parent_is_seen_though_a_forked_child_lives():
    python = popen(QUIET + """
import os, signal
from execo import Process
process = Process("sleep 300").start()
process.started_event.wait()
forked = os.fork()
if forked == 0:
    os.close(1)
    signal.pause()
print(process.pid, forked, flush=True)
input()
os.kill(os.getpid(), signal.SIGKILL)
""", stdin=subprocess.PIPE)
    with python:
        child, forked = map(int, python.stdout.readline().split())
        python.stdin.write("\n")
    assert all_gone([child], 10)
    assert alive(forked)
    os.kill(forked, signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing_run_processes(tmp_path, method):
    script = tmp_path / "workers.py"
    script.write_text(QUIET + """
import multiprocessing, sys
from execo import Process
def work(number):
    return Process(["echo", str(number)]).run(20).stdout
if __name__ == "__main__":
    assert work(7) == "7\\n"
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        print(pool.map(work, range(4)))
""")
    done = subprocess.run([sys.executable, script, method], stdout=subprocess.PIPE, text=True, env=environment(), timeout=60)
    assert (done.returncode, done.stdout) == (0, "['0\\n', '1\\n', '2\\n', '3\\n']\n")


def test_a_fork_in_the_middle_of_many_starts_harms_neither_side():
    assert run_script(QUIET + """
import os
from execo import Process
codes = []
for round in range(5):
    processes = [Process("true").start() for _ in range(20)]
    pid = os.fork()
    if pid == 0:
        os._exit(0 if all(Process("true").run(20).ok for _ in range(3)) else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    assert all(process.wait(20).ok for process in processes)
print(codes)
""") == "[0, 0, 0, 0, 0]"


def test_observers_work_in_a_forked_child():
    assert run_script(QUIET + """
import os
from execo import Process
from execo.process import add_process_observer, flush_process_observers
ended = []
add_process_observer(lambda process: ended.append(process.exit_code))
Process("true").run(); flush_process_observers()
if os.fork() == 0:
    Process("sh -c 'exit 3'", nolog_exit_code=True).run(20)
    assert flush_process_observers()
    print(ended, flush=True)
    os._exit(0)
os.wait()
print(ended)
""").splitlines() == ["[0, 3]", "[0]"]

