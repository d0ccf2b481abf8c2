"""Real ssh hosts for the tests of actions and ssh processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kinds import require_kind
from requirements import require

from execo.localcluster import LocalCluster


def _require_sshd() -> None:
    require("ssh", "scp")
    require_kind("sshd")


@pytest.fixture(scope="session")
def ssh_hosts() -> Iterator[LocalCluster]:
    """20 hosts of OpenSSH."""
    _require_sshd()
    with LocalCluster(20, server="sshd") as cluster:
        yield cluster


@pytest.fixture(scope="session", params=["sshd", "paramiko"])
def any_hosts(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """3 hosts of each kind of server."""
    require("ssh", "scp")
    if request.param == "sshd":
        _require_sshd()
    else:
        require("paramiko")
    with LocalCluster(3, server=request.param) as cluster:
        yield cluster
