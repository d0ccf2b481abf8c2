"""Remote actions by configuration: which tool runs commands, puts and gets files."""

from __future__ import annotations

from ..config import CHAINPUT, SCP, SSH, TAKTUK, configuration
from .base import Action
from .chain import ChainPut
from .copy import Get, Put
from .remote import Remote
from .taktuk import TaktukGet, TaktukPut, TaktukRemote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMES = {SSH: "SSH", SCP: "SCP", TAKTUK: "TAKTUK", CHAINPUT: "CHAINPUT"}


class ActionFactory:
    """Makes remote actions with the tools that it was given, or that `configuration` names when they are None.

    :param remote_tool: SSH or TAKTUK.
    :param fileput_tool: SCP, TAKTUK or CHAINPUT.
    :param fileget_tool: SCP or TAKTUK.
    """

    def __init__(self, remote_tool: int | None = None, fileput_tool: int | None = None, fileget_tool: int | None = None) -> None:
        self.remote_tool = configuration["remote_tool"] if remote_tool is None else remote_tool
        self.fileput_tool = configuration["fileput_tool"] if fileput_tool is None else fileput_tool
        self.fileget_tool = configuration["fileget_tool"] if fileget_tool is None else fileget_tool

    def get_remote(self, *args: Any, **kwargs: Any) -> Action:
        """A `Remote` or its equivalent.

        :raises KeyError: for an unknown tool.
        """
        return _make({SSH: Remote, TAKTUK: TaktukRemote}, "remote_tool", self.remote_tool, args, kwargs)

    def get_fileput(self, *args: Any, **kwargs: Any) -> Action:
        """A `Put` or its equivalent."""
        return _make({SCP: Put, TAKTUK: TaktukPut, CHAINPUT: ChainPut}, "fileput_tool", self.fileput_tool, args, kwargs)

    def get_fileget(self, *args: Any, **kwargs: Any) -> Action:
        """A `Get` or its equivalent."""
        return _make({SCP: Get, TAKTUK: TaktukGet}, "fileget_tool", self.fileget_tool, args, kwargs)


def _make(classes: dict[int, Any], setting: str, tool: int, args: Any, kwargs: Any) -> Action:
    if tool not in classes:
        raise KeyError(f"{setting}: expected one of {', '.join(_NAMES[known] for known in classes)}, found {_NAMES.get(tool, tool)!r}")
    return classes[tool](*args, **kwargs)  # type: ignore[no-any-return]   # a class of actions


default_action_factory = ActionFactory()


def get_remote(*args: Any, **kwargs: Any) -> Action:
    """A remote action by the default factory; arguments as for `Remote`."""
    return default_action_factory.get_remote(*args, **kwargs)


def get_fileput(*args: Any, **kwargs: Any) -> Action:
    """A copy to hosts by the default factory; arguments as for `Put`."""
    return default_action_factory.get_fileput(*args, **kwargs)


def get_fileget(*args: Any, **kwargs: Any) -> Action:
    """A copy from hosts by the default factory; arguments as for `Get`."""
    return default_action_factory.get_fileget(*args, **kwargs)
