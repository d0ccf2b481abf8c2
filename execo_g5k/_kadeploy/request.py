"""What is asked of the REST resource `deployments`, and what its answers mean.  Pure: no network."""

from __future__ import annotations

import re
import shlex

from .command import Deployment, environment_of, vlan_of
from .progress import DEPLOYED, FAILED, Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

ENDED = ("terminated", "error", "canceled")
_FLAGS = {"--disable-disk-partitioning": "disable_disk_partitioning", "--disable-bootloader-install": "disable_bootloader_install"}
_WITH_VALUE = {
    "-b": "block_device", "--block-device": "block_device", "-p": "partition_label", "--partition": "partition_label",
    "-r": "reformat_tmp", "--reformat-tmp": "reformat_tmp", "--reboot-classical-timeout": "reboot_classical_timeout",
    "--reboot-kexec-timeout": "reboot_kexec_timeout", "--arch": "arch",
}


def request_of(deployment: Deployment, nodes: Iterable[str], key: str | None = None) -> dict[str, Any]:
    """What is posted to deploy these nodes of one site, whose names must be whole.

    :param key: text of public keys.
    :raises ValueError: for what the API has no word for: a file of this machine, other options.
    """
    env_file, env_name = environment_of(deployment)
    if env_file is not None and not re.match(r"https?://", env_file):
        raise ValueError(f"env_file: the API takes the URL of a description, found {env_file!r}")
    environment = env_file if env_file is not None else env_name
    if deployment.user is not None and env_name is not None:
        environment = f"{env_name}@{deployment.user}"
    version = deployment.env_version
    nodes = list(nodes)
    vlan = vlan_of(deployment, nodes)
    request = {"nodes": nodes, "environment": environment, "key": key, "version": None if version is None else str(version),
               "vlan": None if vlan is None else str(vlan), **_additional(deployment.other_options)}
    return {name: value for name, value in request.items() if value is not None}


def _additional(options: str | None) -> dict[str, Any]:
    request: dict[str, Any] = {}
    rest = shlex.split(options or "")
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option in _FLAGS and not equals:
            request[_FLAGS[option]] = True
            continue
        if option not in _WITH_VALUE:
            words = ", ".join((*_WITH_VALUE, *_FLAGS))
            raise ValueError(f"other_options of a deployment: the API has no word for {option!r}, only for {words}")
        if not equals:
            if not rest:
                raise ValueError(f"other_options of a deployment: {option} has no value")
            value = rest.pop(0)
        request[_WITH_VALUE[option]] = value
    return request


def follow(progress: Progress, item: Mapping[str, Any], address_of: Mapping[str, str], date: float) -> bool:
    """Note what the API says now of a deployment; whether it has ended.

    :param address_of: our name of each node of its `nodes`.
    """
    results = item.get("result")
    results = results if isinstance(results, dict) else {}
    status = str(item.get("status"))
    ended = status in ENDED
    said = " ".join(str(item.get("output") or "").split())[:300]
    for node, address in address_of.items():
        result = results.get(node)
        result = result if isinstance(result, dict) else {}
        macro, micro, state = (str(result.get(name) or "") for name in ("macro", "micro", "state"))
        steps = progress.steps[address]
        if macro and (not steps or (steps[-1].macro, steps[-1].micro) != (macro, micro)):
            progress.enter([address], macro, micro, date)
        if not ended:
            continue
        if status == "terminated" and state.upper() == "OK":
            progress.judge(address, DEPLOYED, "", date)
            continue
        where = "-".join(part for part in (macro, micro) if part) or progress.step_of(address)
        if status == "terminated" and state:
            reason = f"{where}: {result.get('error') or state}" if where else f"the node ended as {state}"
        elif status == "terminated":
            reason = "the deployment has ended, but says nothing of the node"
        else:
            reason = f"the deployment ended as {status}" + (f", in {where}" if where else "")
        progress.judge(address, FAILED, f"{reason}: {said}" if said else reason, date)
    return ended
