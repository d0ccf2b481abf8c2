"""What the tests of actions share: a connector without a network, for many hosts at once, and waiting for facts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

LOCAL: dict[str, Any] = {"ssh": "sh", "ssh_options": ("-c", 'eval "$2"', "connector")}
"""Connection params by which a "remote" command is run by the shell of this machine: ``sh -c 'eval "$2"' connector ADDRESS COMMAND``."""


def hosts(n: int) -> list[str]:
    """Addresses that nobody resolves."""
    return [f"h{i}" for i in range(n)]


def until(fact: Callable[[], T], seconds: float = 20.0) -> T:
    """The first true value of `fact`; fails after some seconds."""
    deadline = time.monotonic() + seconds
    while not (value := fact()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)
    return value


def without_tty(params: dict[str, Any]) -> dict[str, Any]:
    """The same, with standard error apart and standard input as it is."""
    return {**params, "ssh_options": tuple(option for option in params["ssh_options"] if option != "-tt")}
