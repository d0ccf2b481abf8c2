"""What the faults of a host are made of: pure, arguments of `ip`, `nft`, `tc` and `mount` only."""

from __future__ import annotations

import re
from typing import NamedTuple

UNITS = {"": 1, "bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
"""Of rates: decimal, as in `tc`."""
SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Step(NamedTuple):
    """One command that makes a part of a fault, and the one that takes it back."""

    inside: bool
    """In the host; or in the switch."""
    make: list[str]
    undo: list[str]


def parse_rate(rate: object) -> int:
    """Bits per second of 64000, "64kbit" or "1.5mbit"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmg]?bit|)", str(rate).lower()) if isinstance(rate, (int, str)) else None
    bits = int(float(found[1]) * UNITS[found[2]]) if found else 0
    if not 1000 <= bits <= 10**10:
        raise ValueError(f"rate: expected 1kbit to 10gbit, as '64kbit' or 64000 bits per second, found {rate!r}")
    return bits


def parse_size(size: object) -> int:
    """Bytes of 4096, "64k", "10m" or "1g"."""
    found = re.fullmatch(r"(\d+)([kmg]?)b?", str(size).lower()) if isinstance(size, (int, str)) else None
    number = int(found[1]) * SIZES[found[2]] if found else 0
    if number < 1:
        raise ValueError(f"size: expected a number of bytes, as 4096, '64k' or '10m', found {size!r}")
    return number


def checked_port(port: object) -> int | None:
    if port is None or (type(port) is int and 1 <= port <= 65535):
        return port
    raise ValueError(f"port: expected 1 to 65535, or None for all traffic, found {port!r}")


def cut(link: str) -> list[Step]:
    return [Step(False, ["ip", "link", "set", link, "down"], ["ip", "link", "set", link, "up"])]


def drop(port: int | None) -> list[Step]:
    return _filter(f"execo_drop_{port}", "drop" if port is None else f"tcp dport {port} drop")


def reject(port: int | None) -> list[Step]:
    which = "meta l4proto tcp" if port is None else f"tcp dport {port}"
    return _filter(f"execo_reject_{port}", f"{which} reject with tcp reset")


def _filter(table: str, rule: str) -> list[Step]:
    # In one transaction; a chain in braces would need line ends.
    chain = f"add chain inet {table} i {{ type filter hook input priority 0; }}"
    made = f"add table inet {table}; {chain}; add rule inet {table} i {rule}"
    return [Step(True, ["nft", made], ["nft", f"delete table inet {table}"])]


def slow(link: str, bits: int) -> list[Step]:
    """Both ends of the link, so that both directions are slow."""
    burst = max(3000, bits // 8 // 50)  # a frame at least, and what one tick of a slow clock lets through
    rate = ["root", "tbf", "rate", f"{bits}bit", "burst", str(burst), "latency", "2s"]
    return [
        Step(inside, ["tc", "qdisc", "add", "dev", device, *rate], ["tc", "qdisc", "del", "dev", device, "root"])
        for inside, device in ((True, "eth0"), (False, link))
    ]


def tmpfs(path: str, size: int) -> list[Step]:
    return [Step(True, ["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "none", path], ["umount", "-l", path])]
