"""The hardware of a machine, from one shell command that runs here and on remote hosts alike."""

from __future__ import annotations

import re

from .commands import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Each line begins with what it is; what a machine does not have gives an empty one.
COMMAND = r"""
echo "name=$(hostname)"
echo "system=$(uname -srm)"
echo "cpus=$(nproc --all 2>/dev/null)"
echo "cpu=$(sed -n 's/^model name[^:]*: *//p;s/^cpu model[^:]*: *//p' /proc/cpuinfo 2>/dev/null | head -n 1)"
echo "memory=$(sed -n 's/^MemTotal: *//p' /proc/meminfo 2>/dev/null)"
echo "product=$(cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name 2>/dev/null | tr '\n' ' ')"
echo "distribution=$(sed -n 's/^PRETTY_NAME=//p' /etc/os-release 2>/dev/null | tr -d '"')"
"""

_FACTS = ("name", "system", "cpus", "cpu", "memory", "product", "distribution")


def parse_hardware(text: str) -> dict[str, Any]:
    """What `COMMAND` printed; None for what is unknown.  `memory` is in bytes."""
    said = dict(re.findall(r"^(\w+)=[ \t]*(.*?)\s*$", text, re.MULTILINE))
    facts: dict[str, Any] = {name: said.get(name) or None for name in _FACTS}
    facts["cpus"] = int(said["cpus"]) if said.get("cpus", "").isdigit() else None
    memory = re.fullmatch(r"(\d+) kB", said.get("memory", ""))
    facts["memory"] = int(memory[1]) * 1024 if memory else None
    return facts


def local_hardware() -> dict[str, Any]:
    return parse_hardware(ask(["sh", "-c", COMMAND]).text)
