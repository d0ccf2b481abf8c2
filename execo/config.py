"""Configuration of execo: the global dictionaries, and the user's file that overlays them."""

# Unused here: the contract lists `print_function` among the names of this module.
from __future__ import annotations, print_function

import logging
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = [
    "CHAINPUT",
    "DETAIL",
    "FDEBUG",
    "IODEBUG",
    "SCP",
    "SSH",
    "TAKTUK",
    "TRACE",
    "checktty",
    "configuration",
    "default_connection_params",
    "get_user_config_filename",
    "load_configuration",
    "make_connection_params",
    "make_default_connection_params",
    "print_function",
]

SSH = 0
SCP = 1
TAKTUK = 2
CHAINPUT = 3

IODEBUG = 3
FDEBUG = 5
TRACE = 12
DETAIL = 15


def checktty(f: Any) -> bool:
    """Whether `f` writes to a terminal; False for None, a closed file or anything without a descriptor."""
    try:
        return os.isatty(f.fileno())
    except (AttributeError, OSError, ValueError, TypeError):
        return False


def _default_color_mode() -> bool:
    # https://no-color.org: any value but the empty one; a user's own configuration overrides it.
    return not os.environ.get("NO_COLOR") and checktty(sys.stdout) and checktty(sys.stderr)


configuration: dict[str, Any] = {
    "log_level": logging.INFO,
    "remote_tool": SSH,
    "fileput_tool": SCP,
    "fileget_tool": SCP,
    "compact_output_threshold": 4096,
    "kill_timeout": 60,
    "intr_period": 1,
    "port_range": (25500, 26700),
    "kill_childs_at_end": True,
    "color_mode": _default_color_mode(),
    "color_styles": {
        "log_header": ("yellow",),
        "object_repr": ("blue",),
        "emph": ("cyan",),
        "report_warn": ("magenta",),
        "report_error": ("red", "bold"),
        "command": ("blue", "bold"),
        "host": ("magenta", "bold"),
        "user1": ("green", "bold"),
        "user2": ("yellow", "bold"),
        "user3": ("cyan", "bold"),
        IODEBUG: ("green", "reverse"),
        FDEBUG: ("green", "reverse"),
        logging.DEBUG: ("green",),
        TRACE: ("green", "bold"),
        DETAIL: ("magenta", "bold"),
        logging.INFO: ("magenta",),
        logging.WARNING: ("cyan",),
        logging.ERROR: ("red",),
        logging.CRITICAL: ("yellow", "on_red"),
    },
}
"""Global configuration.

Read when needed, but never present until set: ``fanout`` (how many processes of an action run at once, None: all)
and ``raw_exit_code`` (True: `exit_code` is the raw wait status, as execo 2.8 gave it).
"""

_SSH_OPTIONS = (
    "-o", "BatchMode=yes",
    "-o", "PasswordAuthentication=no",
    "-o", "StrictHostKeyChecking=no",
    "-o", "UserKnownHostsFile=/dev/null",
    "-o", "ConnectTimeout=20",
)  # fmt: skip


def make_default_connection_params() -> dict[str, Any]:
    """A new dict of the factory's connection parameters, whatever `default_connection_params` holds now."""
    return {
        "user": None,
        "keyfile": None,
        "port": None,
        "ssh": "ssh",
        "scp": "scp",
        "taktuk": "taktuk",
        "ssh_options": ("-tt", *_SSH_OPTIONS),
        "scp_options": (*_SSH_OPTIONS, "-rp"),
        "taktuk_options": ("-s",),
        "taktuk_connector": "ssh",
        "taktuk_connector_options": _SSH_OPTIONS,
        "chainput_nc_client_timeout": 5,
        "chainput_nc_server_timeout": 30,
        "nc": "/bin/nc.traditional -v -v",
        "chainput_host_retry": 5,
        "chainput_chain_retry": 10,
        "chainput_try_delay": 1,
        "forwarding_timeout": 25,
        "pty": False,
        "host_rewrite_func": None,
    }


default_connection_params: dict[str, Any] = make_default_connection_params()
"""Connection parameters used where none are given.

Read when needed, but never present until set: ``host_keys`` ('ignore', 'accept-new' or 'strict'), ``known_hosts``
(path), ``connect_timeout`` and ``connect_retry_delay`` (durations), ``connect_retries`` (number).
"""


def make_connection_params(
    connection_params: Mapping[str, Any] | None = None, default_params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A new dict: factory values, overlaid by the defaults, overlaid by `connection_params`.

    :param default_params: None: the present content of `default_connection_params`.
    """
    params = make_default_connection_params()
    params.update(default_connection_params if default_params is None else default_params)
    if connection_params is not None:
        params.update(connection_params)
    return params


def get_user_config_filename() -> str | None:
    """``$HOME/.execo.conf.py``, whether or not it exists; None without HOME."""
    home = os.environ.get("HOME")
    return os.path.join(home, ".execo.conf.py") if home else None


def load_configuration(filename: str, dicts_confs: Iterable[tuple[dict[Any, Any], str]]) -> None:
    """Run the Python file, if it exists, and overlay each dict with the file's variable of the given name.

    :param dicts_confs: pairs (dict to update, name of the variable in the file).

    A mistake in the file is reported on stderr and does not stop the program; what the file had assigned
    before it is used.
    """
    try:
        with open(filename, "rb") as source:
            text = source.read()
    except FileNotFoundError:
        return
    except OSError as unreadable:
        _report_config_error(filename, unreadable)
        return
    names: dict[str, Any] = {"__name__": "execo_user_configuration", "__file__": filename}
    try:
        exec(compile(text, filename, "exec"), names)
    except Exception as mistake:
        _report_config_error(filename, mistake)
    for target, name in dicts_confs:
        if name not in names:
            continue
        try:
            target.update(names[name])
        except (TypeError, ValueError):
            _report_config_error(filename, f"{name} must be a dict, found {names[name]!r}")


def _report_config_error(filename: str, error: object) -> None:
    described = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else error
    print(f"ERROR while reading config file {filename}:\n{described}", file=sys.stderr)


_user_file = get_user_config_filename()
if _user_file is not None:
    load_configuration(
        _user_file,
        ((configuration, "configuration"), (default_connection_params, "default_connection_params")),
    )
