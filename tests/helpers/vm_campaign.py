"""A campaign whose VMs start and are not waited for; run as a program, it measures until it is killed.

    vm_campaign.py DIRECTORY HOST

All else is in the ``~/.execo.conf.py`` of its HOME.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from execo import Host
from execo_engine.testbeds import StaticTestbed
from execo_g5k.vmengine import VMEngine
from execo_g5k.vmutils import define_vms, install_vms, start_vms

ONE = {"number": [1]}


class Quick(VMEngine):
    """Without a boot."""

    parameters: Any = ONE
    packages = ()
    keys = False
    retry_delay = 0.01

    def define(self, combination: Any, hosts: list[Host]) -> list[dict[str, Any]]:
        return define_vms([f"quick-{combination['number']}"], mem=80, hdd=1)

    def start_vms(self, vms: list[dict[str, Any]]) -> None:
        for action in (install_vms, start_vms):
            self.require(action(vms, self.hypervisor, self.connection_params))


class Endless(Quick):
    def measure(self, combination: Any, vms: list[dict[str, Any]], hosts: list[Host], directory: Path) -> Mapping[str, Any] | None:
        print("measuring", flush=True)
        while True:
            time.sleep(0.1)
            self.check(combination)


if __name__ == "__main__":
    endless = Endless()
    endless.testbed = StaticTestbed(sys.argv[2])
    endless.start(["-c", sys.argv[1]])
