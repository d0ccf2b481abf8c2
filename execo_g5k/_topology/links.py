"""What is plugged into what, from the descriptions of network equipment.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .._api.catalog import is_for_experiments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    Equipment = Mapping[str, Any]

ARBITRARY_LATENCY = 2.25e-3
"""Seconds between two neighbours of the backbone: nothing better is described."""
_NO_EQUIPMENT = frozenset({"node", "server", "other"})


class Port(NamedTuple):
    """A port that is used; one of a channel says what is at the other end of the channel."""

    linecard: int
    peer: str
    kind: str | None
    device: str | None
    """Of the peer: ``eth0`` of a node."""
    site: str | None
    """Of the peer, where the description says it: in the backbone."""
    rate: float | None
    """bit/s"""


@dataclass(frozen=True)
class Link:
    """Between two pieces of equipment; parallel ports and channels are one link."""

    ends: tuple[str, str]
    bandwidth: float | None
    """bit/s; of what the two ends say, the lesser; None: neither says."""
    linecards: tuple[frozenset[int], frozenset[int]]
    """Of each end, those with ports of this link, as far as they are described."""


def ports(equipment: Equipment) -> list[Port]:
    """The ports that are used, channels followed."""
    found: list[Port] = []
    channels: dict[str, list[tuple[int, float | None]]] = {}
    known = equipment.get("channels") or {}
    for number, linecard in enumerate(equipment.get("linecards") or ()):
        for port in linecard.get("ports") or ():
            uid = port.get("uid") if port else None
            if not uid:
                continue
            rate = _rate(port) or _rate(linecard)
            kind = port.get("kind") or linecard.get("kind")
            if kind != "channel":
                found.append(Port(number, uid, kind, port.get("port"), port.get("site_uid"), rate))
            elif uid in known:
                channels.setdefault(uid, []).append((number, rate))
    for name, members in channels.items():
        channel = known[name]
        whole = _rate(channel)
        if channel.get("uid"):
            found += [Port(number, channel["uid"], channel.get("kind"), channel.get("port"), None,
                           rate if whole is None else whole / len(members)) for number, rate in members]
    return found


def _rate(described: Mapping[str, Any]) -> float | None:
    rate = described.get("rate")
    return rate if isinstance(rate, (int, float)) and rate > 0 else None


def backplane_of(described: Mapping[str, Any]) -> float | None:
    """bit/s of an equipment or a linecard; None where the description has none, or null."""
    backplane = described.get("backplane_bps")
    return backplane if isinstance(backplane, (int, float)) and backplane > 0 else None


def narrow_linecards(equipment: Equipment) -> dict[int, float]:
    """{number: bit/s} of the linecards whose own backplane is narrower than that of the equipment that they share."""
    cards = equipment.get("linecards") or ()
    used = [number for number, card in enumerate(cards) if any(card.get("ports") or ())]
    whole = backplane_of(equipment) or float("inf")
    return {number: own for number in used if len(used) > 1 and (own := backplane_of(cards[number])) is not None and own < whole}


def equipment_names(equipments: Mapping[str, Equipment]) -> dict[str, str]:
    """{name or alias: uid} of the equipment of one site."""
    names = {alias: uid for uid, equipment in equipments.items() for alias in equipment.get("alias") or () if isinstance(alias, str)}
    return {**names, **{uid: uid for uid in equipments}}


def site_links(equipments: Mapping[str, Equipment]) -> list[Link]:
    """Links between the equipment of one site."""
    names = equipment_names(equipments)
    sides = {uid: _sides(equipment, names) for uid, equipment in equipments.items()}
    return _merged(sides)


def backbone_links(backbone: Iterable[Equipment]) -> list[Link]:
    """Links inside the backbone."""
    equipments = {equipment["uid"]: equipment for equipment in backbone}
    return _merged({uid: _sides(equipment, {other: other for other in equipments}) for uid, equipment in equipments.items()})


def uplinks(site: str, equipments: Mapping[str, Equipment], backbone: Iterable[Equipment]) -> list[Link]:
    """Links between a site's equipment and the backbone, also where only one of the two ends is described."""
    names = equipment_names(equipments)
    outside = {equipment["uid"]: equipment for equipment in backbone}
    sides: dict[str, dict[str, dict[int, list[float | None]]]] = {}
    for uid, equipment in equipments.items():
        sides[uid] = _sides(equipment, {other: other for other in outside if other not in equipments})
    for uid, equipment in outside.items():
        for port in ports(equipment):
            inside = names.get(port.peer) or names.get(port.peer.removesuffix(f"-{site}"))
            if port.site == site and inside is not None:
                sides.setdefault(uid, {}).setdefault(inside, {}).setdefault(port.linecard, []).append(port.rate)
    return _merged(sides)


def _sides(equipment: Equipment, names: Mapping[str, str]) -> dict[str, dict[int, list[float | None]]]:
    """{uid of the peer: {linecard: [rate of each port]}}."""
    found: dict[str, dict[int, list[float | None]]] = {}
    for port in ports(equipment):
        peer = names.get(port.peer)
        if port.kind not in _NO_EQUIPMENT and peer is not None and peer != equipment["uid"]:
            found.setdefault(peer, {}).setdefault(port.linecard, []).append(port.rate)
    return found


def _merged(sides: Mapping[str, Mapping[str, Mapping[int, list[float | None]]]]) -> list[Link]:
    pairs = sorted({(min(one, other), max(one, other)) for one, peers in sides.items() for other in peers})
    return [Link((one, other), _bandwidth(sides, one, other),
                 (frozenset(sides.get(one, {}).get(other, ())), frozenset(sides.get(other, {}).get(one, ()))))
            for one, other in pairs]


def _bandwidth(sides: Mapping[str, Mapping[str, Mapping[int, list[float | None]]]], one: str, other: str) -> float | None:
    said = []
    for here, there in ((one, other), (other, one)):
        rates = [rate for of_card in sides.get(here, {}).get(there, {}).values() for rate in of_card]
        known = [rate for rate in rates if rate is not None]
        if known:
            said.append(sum(known))
    return min(said, default=None)


def host_adapters(host: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The network adapters that experiments use and that are plugged into something."""
    return [dict(adapter) for adapter in host.get("network_adapters") or () if is_for_experiments(adapter)]


def host_ports(equipment: Equipment) -> Iterator[tuple[tuple[str, str | None], Port]]:
    """((host, device), port) of each port that holds a host."""
    for port in ports(equipment):
        if port.kind in (None, "node"):
            yield (port.peer, port.device), port
