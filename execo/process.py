"""Processes as objects: local ones, remote ones through ssh, serial lines, forwarded ports.

A process is started, left, and come back to; one I/O thread (`execo.conductor`) runs them all.
"""

from __future__ import annotations

from ._process.base import ProcessBase, ProcessLifecycleHandler
from ._process.expect import ExpectOutputHandler
from ._process.local import Process
from ._process.masters import close_shared_connections
from ._process.observers import add_process_observer, flush_process_observers, remove_process_observer
from ._process.output import STDERR, STDOUT, ProcessOutputHandler, handle_process_output, splitlines, stream_name
from ._process.serial import Serial, SerialSsh
from ._process.ssh import PortForwarder, ScpProcess, SshProcess, get_process, port_forwarder_stderr_handler
from ._process.taktuk import TaktukProcess
from .conductor import the_conductor
from .config import IODEBUG, configuration, make_connection_params
from .exception import ProcessesFailed
from .host import Host
from .log import logger, style
from .report import Report
from .ssh_utils import get_rewritten_host_address, get_ssh_command
from .time_utils import Timer, format_unixts, get_seconds
from .utils import (
    compact_output,
    get_port,
    intr_event_wait,
    is_string,
    name_from_cmdline,
    non_retrying_intr_cond_wait,
    singleton_to_collection,
)

# names that are at home here
_OWN = (
    ExpectOutputHandler, PortForwarder, Process, ProcessBase, ProcessLifecycleHandler, ProcessOutputHandler, ScpProcess, Serial, SerialSsh,
    SshProcess, TaktukProcess, add_process_observer, close_shared_connections, flush_process_observers, get_process, handle_process_output,
    port_forwarder_stderr_handler, remove_process_observer, splitlines, stream_name,
)
for _name in _OWN:
    _name.__module__ = __name__         # so that reprs, pickles and the documentation show the public path

__all__ = [
    "IODEBUG", "STDERR", "STDOUT", "ExpectOutputHandler", "Host", "PortForwarder", "Process", "ProcessBase", "ProcessLifecycleHandler",
    "ProcessOutputHandler", "ProcessesFailed", "Report", "ScpProcess", "Serial", "SerialSsh", "SshProcess", "TaktukProcess", "Timer",
    "add_process_observer", "close_shared_connections", "compact_output", "configuration", "flush_process_observers", "format_unixts",
    "get_port", "get_process", "get_rewritten_host_address", "get_seconds", "get_ssh_command", "handle_process_output", "intr_event_wait",
    "is_string", "logger", "make_connection_params", "name_from_cmdline", "non_retrying_intr_cond_wait", "port_forwarder_stderr_handler",
    "remove_process_observer", "singleton_to_collection", "splitlines", "stream_name", "style", "the_conductor",
]
