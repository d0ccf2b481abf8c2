"""Failures of groups, as exceptions."""

from __future__ import annotations

import pickle

from execo.action import Local
from execo.exception import ActionsFailed, ProcessesFailed
from execo.process import Process


def test_processes_failed_shows_the_dump_of_each() -> None:
    processes = [Process("echo 1").run(), Process("no-such-program-here", nolog_error=True, nolog_exit_code=True).run()]
    error = ProcessesFailed(processes)
    assert error.processes is processes
    assert str(error) == "<ProcessesFailed> - failed process(es):\n" + "".join(f" {process.dump()}\n" for process in processes)
    assert "stdout:\n1\n" in str(error)


def test_actions_failed_shows_each() -> None:
    actions = [Local("false", process_args={"nolog_exit_code": True}).run()]
    error = ActionsFailed(actions)
    assert error.actions is actions
    assert str(error) == f"<ActionsFailed> - failed action(s):\n {actions[0]}\n"


def test_they_survive_pickling_as_text() -> None:
    error = ProcessesFailed([Process("true").run()])
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
