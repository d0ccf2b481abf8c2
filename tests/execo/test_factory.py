"""Actions by configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from connector import LOCAL

from execo.action import (
    ActionFactory,
    ChainPut,
    Get,
    Put,
    Remote,
    TaktukGet,
    TaktukPut,
    TaktukRemote,
    default_action_factory,
    get_fileget,
    get_fileput,
    get_remote,
)
from execo.config import CHAINPUT, SCP, SSH, TAKTUK, configuration


def test_the_default_tools() -> None:
    assert (default_action_factory.remote_tool, default_action_factory.fileput_tool, default_action_factory.fileget_tool) == (SSH, SCP, SCP)
    assert type(get_remote("true", "h")) is Remote
    assert type(get_fileput("h", "f")) is Put
    assert type(get_fileget("h", "f")) is Get


def test_the_configuration_gives_the_defaults() -> None:
    configuration["remote_tool"] = 42
    configuration["fileput_tool"] = 43
    configuration["fileget_tool"] = 44
    factory = ActionFactory()
    assert (factory.remote_tool, factory.fileput_tool, factory.fileget_tool) == (42, 43, 44)
    factory = ActionFactory(remote_tool=SSH, fileput_tool=SCP, fileget_tool=SCP)
    assert type(factory.get_remote("true", "h")) is Remote


@pytest.mark.parametrize("method", ["get_remote", "get_fileput", "get_fileget"])
def test_an_unknown_tool_is_a_key_error_at_the_call(method: str) -> None:
    factory = ActionFactory(42, 42, 42)
    with pytest.raises(KeyError, match="42"):
        getattr(factory, method)("h", "x")


@pytest.mark.parametrize(("method", "tool", "made"), [
    ("get_remote", TAKTUK, TaktukRemote), ("get_fileput", TAKTUK, TaktukPut), ("get_fileput", CHAINPUT, ChainPut),
    ("get_fileget", TAKTUK, TaktukGet),
])
def test_each_tool_makes_its_own(method: str, tool: int, made: type) -> None:
    assert type(getattr(ActionFactory(tool, tool, tool), method)("h", "x")) is made


def test_a_tool_of_another_kind_is_unknown() -> None:
    with pytest.raises(KeyError):
        ActionFactory(remote_tool=SCP).get_remote("true", "h")


def test_substitution_sees_the_caller() -> None:
    values = ["local"]
    made: list[Any] = [get_remote("echo {{values}}", "h", LOCAL), ActionFactory().get_remote("echo {{values}}", "h", LOCAL)]
    for action in made:
        assert action.run().processes[0].stdout == "local\n"
    assert get_fileput("h", "{{values}}", "{{values}}").processes[0].cmd[-2:] == ("local", "h:local")
    assert get_fileget("h", "{{values}}", "{{values}}").processes[0].cmd[-2:] == ("h:local", "local")
    assert values


def test_arguments_are_passed_on(tmp_path: Path) -> None:
    action = get_remote("echo {{{host}}}", ["a", "b"], connection_params=LOCAL, process_args={"stdout_handlers": [str(tmp_path / "out")]},
                        name="mine", fanout=1)
    assert (action.name, action.fanout) == ("mine", 1)
    action.run()
    assert (tmp_path / "out").read_text() == "a\nb\n"
