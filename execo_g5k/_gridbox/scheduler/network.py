"""What a job has of the network: VLANs and subnets, as `kavlan` and `g5k-subnets` print them.  Pure."""

from __future__ import annotations

import ipaddress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    Row = Mapping[str, Any]

SITE_BITS = 14
"""Each site's subnets are part of a network of this size, of which the last address is the gateway."""


def kavlan_lines(rows: Iterable[Row]) -> list[str]:
    """Ids of VLANs."""
    return [str(row["vlan"]) for row in rows if row.get("vlan") and str(row.get("type", "")).startswith("kavlan")]


def subnet_lines(rows: Iterable[Row], what: str, site: str) -> list[str]:
    """Lines of ``g5k-subnets``.

    :param what: letters of its options: ``p`` the subnets, ``a`` with all about them, ``i`` addresses, ``im`` with hardware addresses.
    """
    networks = [ipaddress.IPv4Network(f"{row['subnet_address']}/{row['subnet_prefix']}") for row in rows
                if row.get("type") == "subnet" and row.get("subnet_address")]
    lines: list[str] = []
    for network in networks:
        if "a" in what:
            whole = network.supernet(new_prefix=SITE_BITS)
            lines.append("\t".join([str(network), str(whole[-1]), str(whole.netmask), str(whole[-2]), str(whole[0]),
                                    f"dns.{site}.grid5000.fr", str(whole[-3])]))
        elif "i" in what:
            lines += [_address(address, "m" in what) for address in network if address.packed[3] not in (0, 255)]
        else:
            lines.append(str(network))
    return lines


def _address(address: ipaddress.IPv4Address, hardware: bool) -> str:
    # 00:16:3e is Xen's; the rest is of the address
    return f"{address}\t00:16:3E:" + ":".join(f"{byte:02X}" for byte in address.packed[1:]) if hardware else str(address)


def of_ids(rows: Mapping[int, Row], ids: Sequence[int]) -> list[Row]:
    """The rows of these resources."""
    return [rows[number] for number in ids]
