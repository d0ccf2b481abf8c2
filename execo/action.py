"""Actions: groups of local and remote processes that are started, waited for and judged as one."""

from __future__ import annotations

from ._action.base import (
    Action,
    ActionLifecycleHandler,
    ActionNotificationProcessLH,
    filter_bad_hosts,
    wait_all_actions,
    wait_any_actions,
)
from ._action.chain import ChainPut
from ._action.compose import ParallelActions, ParallelSubActionLH, SequentialActions, SequentialSubActionLH
from ._action.copy import Get, Put
from ._action.factory import ActionFactory, default_action_factory, get_fileget, get_fileput, get_remote
from ._action.remote import Local, Remote, RemoteSerial
from ._action.taktuk import TaktukGet, TaktukPut, TaktukRemote
from .config import CHAINPUT, SCP, SSH, TAKTUK, configuration, make_connection_params
from .host import Host, get_hosts_list, get_unique_hosts_list
from .log import logger, style
from .process import (
    STDERR,
    STDOUT,
    ExpectOutputHandler,
    Process,
    ProcessLifecycleHandler,
    ProcessOutputHandler,
    SerialSsh,
    SshProcess,
    get_process,
)
from .report import Report
from .ssh_utils import get_rewritten_host_address, get_scp_command, get_ssh_command, get_taktuk_connector_command
from .substitutions import get_caller_context, remote_substitute
from .time_utils import Timer, format_date, get_seconds
from .utils import (
    get_port,
    intr_event_wait,
    is_string,
    name_from_cmdline,
    non_retrying_intr_cond_wait,
    singleton_to_collection,
)

# names that are at home here
_OWN = (
    Action, ActionFactory, ActionLifecycleHandler, ActionNotificationProcessLH, ChainPut, Get, Local, ParallelActions, ParallelSubActionLH,
    Put, Remote, RemoteSerial, SequentialActions, SequentialSubActionLH, TaktukGet, TaktukPut, TaktukRemote, filter_bad_hosts, get_fileget,
    get_fileput, get_remote, wait_all_actions, wait_any_actions,
)
for _name in _OWN:
    _name.__module__ = __name__         # so that reprs, pickles and the documentation show the public path

__all__ = [
    "CHAINPUT", "SCP", "SSH", "STDERR", "STDOUT", "TAKTUK", "Action", "ActionFactory", "ActionLifecycleHandler",
    "ActionNotificationProcessLH", "ChainPut", "ExpectOutputHandler", "Get", "Host", "Local", "ParallelActions", "ParallelSubActionLH",
    "Process", "ProcessLifecycleHandler", "ProcessOutputHandler", "Put", "Remote", "RemoteSerial", "Report", "SequentialActions",
    "SequentialSubActionLH", "SerialSsh", "SshProcess", "TaktukGet", "TaktukPut", "TaktukRemote", "Timer", "configuration",
    "default_action_factory", "filter_bad_hosts", "format_date", "get_caller_context", "get_fileget", "get_fileput", "get_hosts_list",
    "get_port", "get_process", "get_remote", "get_rewritten_host_address", "get_scp_command", "get_seconds", "get_ssh_command",
    "get_taktuk_connector_command", "get_unique_hosts_list", "intr_event_wait", "is_string", "logger", "make_connection_params",
    "name_from_cmdline", "non_retrying_intr_cond_wait", "remote_substitute", "singleton_to_collection", "style", "wait_all_actions",
    "wait_any_actions",
]
