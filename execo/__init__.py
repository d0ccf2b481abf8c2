"""execo: local and remote Unix processes, thousands at once, as objects of a Python script.

`Process` and `SshProcess` are single processes, `Remote`, `Put`, `Get` and their like groups of them; `Report` shows how they went.
Importing starts no thread and no process.  All but the configuration, the log and the dates is imported when it is first asked for.
"""

from __future__ import annotations

from . import config, log, time_utils
from ._version import __version__
from .config import CHAINPUT, SCP, SSH, TAKTUK, configuration, default_connection_params
from .log import logger
from .time_utils import Timer, format_date, format_duration, get_seconds, get_unixts, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import action, conductor, daemon, exception, host, hostset, process, report, ssh_utils, substitutions, utils
    from .action import (
        Action,
        ActionLifecycleHandler,
        ChainPut,
        Get,
        Local,
        ParallelActions,
        Put,
        Remote,
        RemoteSerial,
        SequentialActions,
        TaktukGet,
        TaktukPut,
        TaktukRemote,
        default_action_factory,
        filter_bad_hosts,
        get_fileget,
        get_fileput,
        get_remote,
        wait_all_actions,
        wait_any_actions,
    )
    from .daemon import find_daemon, start_daemon
    from .exception import ActionsFailed, ProcessesFailed
    from .host import Host
    from .process import (
        STDERR,
        STDOUT,
        ExpectOutputHandler,
        PortForwarder,
        Process,
        ProcessLifecycleHandler,
        ProcessOutputHandler,
        Serial,
        SerialSsh,
        SshProcess,
        close_shared_connections,
        get_process,
    )
    from .report import Report

__all__ = [
    "CHAINPUT", "SCP", "SSH", "STDERR", "STDOUT", "TAKTUK", "Action", "ActionLifecycleHandler", "ActionsFailed", "ChainPut",
    "ExpectOutputHandler", "Get", "Host", "Local", "ParallelActions", "PortForwarder", "Process", "ProcessLifecycleHandler",
    "ProcessOutputHandler", "ProcessesFailed", "Put", "Remote", "RemoteSerial", "Report", "SequentialActions", "Serial", "SerialSsh",
    "SshProcess", "TaktukGet", "TaktukPut", "TaktukRemote", "Timer", "__version__", "action", "close_shared_connections", "conductor",
    "config", "configuration", "daemon", "default_action_factory", "default_connection_params", "exception", "filter_bad_hosts",
    "find_daemon", "format_date", "format_duration", "get_fileget", "get_fileput", "get_process", "get_remote", "get_seconds",
    "get_unixts", "host", "hostset", "log", "logger", "process", "report", "sleep", "ssh_utils", "start_daemon", "substitutions",
    "time_utils", "utils", "wait_all_actions", "wait_any_actions",
]

# {module: its names that are ours too}: a program that takes only the dates or the log from execo starts sooner
_LATER = {
    "action": ("Action", "ActionLifecycleHandler", "ChainPut", "Get", "Local", "ParallelActions", "Put", "Remote", "RemoteSerial",
        "SequentialActions", "TaktukGet", "TaktukPut", "TaktukRemote", "default_action_factory", "filter_bad_hosts", "get_fileget",
        "get_fileput", "get_remote", "wait_all_actions", "wait_any_actions"),
    "conductor": (),
    "daemon": ("find_daemon", "start_daemon"),
    "exception": ("ActionsFailed", "ProcessesFailed"),
    "host": ("Host",),
    "hostset": (),
    "process": ("STDERR", "STDOUT", "ExpectOutputHandler", "PortForwarder", "Process", "ProcessLifecycleHandler",
        "ProcessOutputHandler", "Serial", "SerialSsh", "SshProcess", "close_shared_connections", "get_process"),
    "report": ("Report",),
    "ssh_utils": (),
    "substitutions": (),
    "utils": (),
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    for module, names in _LATER.items():
        if name == module or name in names:
            home = import_module(f"{__name__}.{module}")
            found: object = home if name == module else getattr(home, name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
