"""Configuration of execo_g5k."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from execo.config import make_connection_params
from execo_g5k import config

ROOT = Path(__file__).resolve().parents[2]


def test_the_factory_values_are_those_of_the_contract() -> None:
    assert {**config.g5k_configuration, "grid_dir": None} == {
        "kadeploy3": "kadeploy3", "kadeploy3_options": "-k -d", "default_env_name": None, "default_env_file": None, "default_timeout": 900,
        "check_deployed_command": "! (mount | grep -E '^/dev/[[:alpha:]]+2 on / ')", "no_ssh_for_local_frontend": False,
        "polling_interval": 20, "tiny_polling_interval": 10, "default_frontend": None, "api_uri": "https://api.grid5000.fr/3.0/",
        "api_username": None, "api_additional_args": {}, "api_timeout": 30, "api_verify_ssl_cert": True, "oar_job_key_file": None,
        "oar_pgsql_ro_db": "oar2", "oar_pgsql_ro_user": "oarreader", "oar_pgsql_ro_password": "read", "oar_pgsql_ro_port": 5432,
        "grid_dir": None,
    }
    assert config.make_default_oarsh_oarcp_params() == {"ssh": "oarsh", "scp": "oarcp", "taktuk_connector": "oarsh", "pty": True}
    frontend = config.make_default_frontend_connection_params()
    assert set(frontend) == {"pty", "host_rewrite_func"}
    assert frontend["host_rewrite_func"]("nancy") == "nancy.grid5000.fr"
    assert make_connection_params(config.default_oarsh_oarcp_params)["ssh"] == "oarsh"


def test_the_factories_give_new_dicts() -> None:
    config.make_default_oarsh_oarcp_params()["ssh"] = "changed"
    assert config.make_default_oarsh_oarcp_params()["ssh"] == "oarsh"
    assert config.make_default_frontend_connection_params() is not config.make_default_frontend_connection_params()


def test_the_user_file_overlays_the_three_dicts(tmp_path: Path) -> None:
    (tmp_path / ".execo.conf.py").write_text(
        "g5k_configuration = {'default_frontend': 'lyon'}\n"
        "default_frontend_connection_params = {'user': 'me'}\n"
        "default_oarsh_oarcp_params = {'pty': False}\n"
    )
    code = (
        "from execo_g5k import *\n"
        "print(g5k_configuration['default_frontend'], g5k_configuration['default_timeout'], default_frontend_connection_params['user'],"
        " default_frontend_connection_params['pty'], default_oarsh_oarcp_params['pty'])"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("lyon 900 me True False\n", "")


def test_the_old_spelling_is_the_same_dict() -> None:
    with pytest.warns(DeprecationWarning, match="default_frontend_connection_params"):
        assert config.default_frontend_connexion_params is config.default_frontend_connection_params
    with pytest.raises(AttributeError, match="no_such_name"):
        config.no_such_name  # noqa: B018   # the access is the test
