"""Configuration of execo_g5k: the global dictionaries, overlaid by the same ``~/.execo.conf.py`` as those of `execo.config`."""

from __future__ import annotations

from execo.config import get_user_config_filename, load_configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "default_frontend_connection_params",
    "default_oarsh_oarcp_params",
    "g5k_configuration",
    "get_user_config_filename",
    "load_configuration",
    "make_default_frontend_connection_params",
    "make_default_oarsh_oarcp_params",
]

g5k_configuration: dict[str, Any] = {
    "kadeploy3": "kadeploy3",
    "kadeploy3_options": "-k -d",
    "default_env_name": None,
    "default_env_file": None,
    "default_timeout": 900,
    "check_deployed_command": "! (mount | grep -E '^/dev/[[:alpha:]]+2 on / ')",
    "no_ssh_for_local_frontend": False,
    "polling_interval": 20,
    "tiny_polling_interval": 10,
    "default_frontend": None,
    "api_uri": "https://api.grid5000.fr/3.0/",
    "api_username": None,
    "api_additional_args": {},
    "api_timeout": 30,
    "api_verify_ssl_cert": True,
    "oar_job_key_file": None,
    "oar_pgsql_ro_db": "oar2",
    "oar_pgsql_ro_user": "oarreader",
    "oar_pgsql_ro_password": "read",
    "oar_pgsql_ro_port": 5432,
}
"""Global configuration of execo_g5k.  All intervals and timeouts are durations.

Read when needed, but never present until set: ``grid_dir``, the folder where `execo_g5k.oar.oarsubgrid` notes its reservations (default:
``~/.execo/oargrid``); ``api_cache_dir``, that of the description of the platform; ``planning_source``, "api" or "postgresql", where
`execo_g5k.planning` looks (default: the database if psycopg is there, else the API); ``direct_hosts``, {name: address} of what
`execo_g5k.utils.G5kAutoPortForwarder` reaches without ssh; ``clock``, a function that gives the date in place of `time.time`;
for virtual machines ``hypervisor``, an `execo_g5k.vmutils.Hypervisor` or its keywords, ``vm_image``, ``vm_addresses``,
``vm_connection_params`` and ``vm_destination``.
"""


def make_default_frontend_connection_params() -> dict[str, Any]:
    """A new dict of the factory's connection parameters for frontends: a pty, and ``.grid5000.fr`` after the name of the site."""
    return {"pty": True, "host_rewrite_func": lambda host: host + ".grid5000.fr"}


default_frontend_connection_params: dict[str, Any] = make_default_frontend_connection_params()
"""How to reach frontends, over `execo.config.default_connection_params`."""


def make_default_oarsh_oarcp_params() -> dict[str, Any]:
    """A new dict of the factory's connection parameters for the nodes of a job that is no deployment."""
    return {"ssh": "oarsh", "scp": "oarcp", "taktuk_connector": "oarsh", "pty": True}


default_oarsh_oarcp_params: dict[str, Any] = make_default_oarsh_oarcp_params()
"""Connection parameters for the nodes of a job that is no deployment, where ``oarsh`` finds the job in ``OAR_JOB_ID`` or its key."""


def __getattr__(name: str) -> Any:
    if name == "default_frontend_connexion_params":
        import warnings

        warnings.warn("default_frontend_connexion_params is spelled default_frontend_connection_params", DeprecationWarning, stacklevel=2)
        return default_frontend_connection_params
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_user_file = get_user_config_filename()
if _user_file is not None:
    load_configuration(
        _user_file,
        (
            (g5k_configuration, "g5k_configuration"),
            (default_frontend_connection_params, "default_frontend_connection_params"),
            (default_oarsh_oarcp_params, "default_oarsh_oarcp_params"),
        ),
    )
