"""What the box changes in the configuration, of this program for the time of a block, and of others by a file."""

from __future__ import annotations

import copy
import os
import pprint

from execo.config import default_connection_params, make_default_connection_params

from .._vm.domain import Hypervisor
from ..config import (
    default_frontend_connection_params,
    default_oarsh_oarcp_params,
    g5k_configuration,
    make_default_frontend_connection_params,
    make_default_oarsh_oarcp_params,
)
from .clock import PROGRAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    Settings = dict[str, dict[str, Any]]

OPTIONS = ("ssh_options", "scp_options", "taktuk_connector_options")
LIVE = {
    "default_connection_params": default_connection_params,
    "default_frontend_connection_params": default_frontend_connection_params,
    "default_oarsh_oarcp_params": default_oarsh_oarcp_params,
    "g5k_configuration": g5k_configuration,
}
"""The dictionaries of this program, by their names in the user's file."""
FILE_NAME = ".execo.conf.py"


def make_settings(ssh_config: Path, tools: Path, api_uri: str, default_frontend: str, state: Path,
                  addresses: Mapping[str, str], key: Path | None = None, check_deployed_command: str | None = None) -> Settings:
    """What the box sets, by the names of the dictionaries.  Holds plain values only, so that it can be written down.

    :param tools: folder with the ssh and scp to use.
    :param state: folder for what execo_g5k would keep in ``~/.execo``.
    :param addresses: {name of a node: where this machine reaches it}.
    :param key: private, with its public part beside it.
    :param check_deployed_command: None: the one that there is is right.
    """
    factory = make_default_connection_params()
    reach: dict[str, Any] = {name: ("-F", str(ssh_config), *factory[name]) for name in OPTIONS}
    reach |= {"ssh": str(tools / "ssh"), "scp": str(tools / "scp"), "taktuk_connector": str(tools / "ssh")}
    oarsh = make_default_oarsh_oarcp_params()
    check = {} if check_deployed_command is None else {"check_deployed_command": check_deployed_command}
    return {
        # by name, because its public part is what the API is given to deploy
        "default_connection_params": {"user": None, "keyfile": None if key is None else str(key), "port": None, "host_rewrite_func": None,
                                      **reach},
        # over the user's own ones, which lead to Grid'5000; its rewriting of names is the factory's
        "default_frontend_connection_params": {"user": None, "keyfile": None, "port": None, "pty": True, **reach},
        # oarsh finds the nodes by itself
        "default_oarsh_oarcp_params": {**oarsh, "keyfile": None, **{name: factory[name] for name in OPTIONS}},
        "g5k_configuration": {
            "api_uri": api_uri, "api_username": None, "api_additional_args": {}, "api_verify_ssl_cert": True, "api_timeout": 30,
            "api_cache_dir": str(state / "api_cache"), "grid_dir": str(state / "oargrid"), "planning_source": "api",
            "default_frontend": default_frontend, "no_ssh_for_local_frontend": False, "oar_job_key_file": None,
            "polling_interval": 1, "tiny_polling_interval": 0.3, "default_timeout": 60, "direct_hosts": dict(addresses),
            **check,
        },
    }


class Overlay:
    """Settings and environment in force in this program, from `apply` to `undo`, which puts back what was there before."""

    def __init__(self) -> None:
        self._saved: dict[str, dict[str, Any]] | None = None
        self._environment: dict[str, str | None] = {}

    def apply(self, settings: Settings, clock: Callable[[], float] | None, environment: Mapping[str, str]) -> None:
        self._saved = {name: copy.copy(live) for name, live in LIVE.items()}
        for name, values in settings.items():
            LIVE[name].update(copy.deepcopy(values))
        default_frontend_connection_params["host_rewrite_func"] = make_default_frontend_connection_params()["host_rewrite_func"]
        g5k_configuration["clock"] = clock
        if "hypervisor" in settings["g5k_configuration"]:
            g5k_configuration["hypervisor"] = Hypervisor(**settings["g5k_configuration"]["hypervisor"])
        self._environment = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)

    def undo(self) -> None:
        saved, self._saved = self._saved, None
        for name, values in (saved or {}).items():
            LIVE[name].clear()
            LIVE[name].update(values)
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environment = {}


def configuration_file(settings: Settings, clock_file: Path | None) -> str:
    """The same settings as the text of an ``.execo.conf.py``."""
    lines = ["# Grid'5000 in a box: written by execo_g5k.gridbox, and of no use when the box has ended.\n"]
    lines += [f"{name} = {pprint.pformat(values, width=120, sort_dicts=False)}\n" for name, values in settings.items()]
    lines.append('default_frontend_connection_params["host_rewrite_func"] = lambda host: host + ".grid5000.fr"\n')
    if clock_file is not None:
        lines.append(f"\n\n{PROGRAM.format(file=str(clock_file))}\n\ng5k_configuration['clock'] = clock\n")
    return "\n".join(lines)
