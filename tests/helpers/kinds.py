"""The kinds of `LocalCluster` that the tests run on, and whether this machine can have them."""

from __future__ import annotations

from typing import Any

import pytest
from requirements import require

from execo._localcluster import tools

KINDS: dict[str, dict[str, Any]] = {
    "sshd": {"server": "sshd"},
    "paramiko": {"server": "paramiko"},
    "namespaces": {"isolation": "namespaces"},
}


def require_kind(kind: str) -> None:
    """Skip the test, in one line that says why, where this kind cannot be had."""
    require(kind)
    if kind == "sshd" and (problem := tools.sshd_problem(tools.find_tool("sshd"))):
        pytest.skip(f"sshd cannot serve this user: {problem}")
