"""The description of the whole platform, fetched from the API in as few requests as the server allows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from urllib.parse import quote

from .connection import APIConnection, APIException, in_parallel, items_of
from .reader import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Attributes = dict[str, Any]

WIDTH = 12
"""Requests at a time: each answer is decoded while the server makes others, so there should always be others."""
_NOT_KEPT = ("servers", "pdus", "sensors")


@dataclass(frozen=True)
class Platform:
    """The description, and the same as the contents of its files."""

    data: dict[str, Any]
    contents: dict[str, list[bytes]]
    """By name of the file: the pieces of its JSON."""


@dataclass(frozen=True)
class _Site:
    attributes: Attributes
    clusters: dict[str, Attributes]
    hosts: dict[str, Attributes]
    equipments: dict[str, Attributes]
    hierarchy: dict[str, list[str]]
    # The same as inner parts of JSON objects.
    clusters_text: bytes
    hosts_text: bytes
    equipments_text: bytes


def _by_number(uid: str) -> tuple[int, str]:
    """A key that sorts the hosts of one cluster as `natural` does, but quicker."""
    return len(uid), uid


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts ``x-2`` before ``x-10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dumps(value: Any) -> str:
    """Compact JSON."""
    return _ENCODE(value)


def root_version(api: APIConnection, attempts: int | None = None) -> str:
    """Of the whole description: it changes whenever anything in it does."""
    root = api.get("/", attempts=attempts)
    try:
        return str(root.json()["version"])
    except (KeyError, TypeError, ValueError) as wrong:
        raise APIException(api.uri("/"), "GET", root, ValueError(f"expected a version, found {root.text[:200]!r}: {wrong!r}")) from None


def fetch_platform(api: APIConnection, version: str) -> Platform:
    """All of it.

    :param version: as it was before: if anything changes while it is fetched, this copy is an old one, and fetched again the next time.
    :raises APIException: if any part is missing.
    """
    sites_items, backbone = in_parallel(lambda path: _items_if_any(api, path), ["/sites", "/network_equipments"])
    uids = sorted(str(item["uid"]) for item in sites_items)
    sites = dict(zip(uids, in_parallel(lambda uid: _site(api, uid), uids, WIDTH), strict=True))
    data = {
        "version": version,
        "network": {"backbone": backbone, **{uid: site.equipments for uid, site in sites.items()}},
        "sites": {uid: site.attributes for uid, site in sites.items()},
        "clusters": {uid: cluster for site in sites.values() for uid, cluster in site.clusters.items()},
        "hosts": {uid: host for site in sites.values() for uid, host in site.hosts.items()},
        "hierarchy": {uid: site.hierarchy for uid, site in sites.items()},
    }
    networks = [b'"backbone":' + dumps(backbone).encode(),
                *(dumps(uid).encode() + b":{" + site.equipments_text + b"}" for uid, site in sites.items())]
    contents = {
        "network": _joined(networks),
        "sites": [dumps(data["sites"]).encode()],
        "clusters": _joined([site.clusters_text for site in sites.values()]),
        "hosts": _joined([site.hosts_text for site in sites.values()]),
        "hierarchy": [dumps(data["hierarchy"]).encode()],
    }
    return Platform(data, contents)


def _joined(parts: list[bytes]) -> list[bytes]:
    pieces = [piece for part in parts if part for piece in (b",", part)]
    return [b"{", *pieces[1:], b"}"]


def _items_if_any(api: APIConnection, path: str) -> list[Attributes]:
    """Items of a collection, none if the API does not know it: what is empty has no resource."""
    try:
        return items_of(api.get_json(path), api.uri(path))
    except APIException as failure:
        if failure.status == 404:
            return []
        raise


def _site(api: APIConnection, uid: str) -> _Site:
    path = f"/sites/{quote(uid)}"
    try:
        whole = api.get_decoded(path, read_deep_site, deep=1)
    except APIException as failure:
        if failure.status not in (400, 404, 406, 422, 501):
            raise
        whole = None
    return whole if whole is not None else _in_pieces(api, path)


@dataclass
class _Parts:
    """Items by uid, and their texts."""

    items: dict[str, Attributes] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def add(self, uid: str, item: Attributes, text: str) -> None:
        self.items[uid] = item
        self.texts.append(f"{dumps(uid)}:{text}")

    def read(self, reader: Reader) -> list[str]:
        """An array of items that have a uid; their uids."""
        uids = []
        for _ in reader.elements():
            item = reader.read()
            if not isinstance(item, dict) or "uid" not in item:
                raise ValueError(f"expected an item with a uid, found {reader.text()[:200]!r}")
            uids.append(str(item["uid"]))
            self.add(uids[-1], item, reader.text())
        return uids

    def text(self) -> bytes:
        return ",".join(self.texts).encode()


def read_deep_site(body: str) -> _Site | None:
    """Of an answer to ``deep=1``; None if it has not the shape that such answers have.

    :raises ValueError: if it is no JSON.
    """
    reader = Reader(body)
    site = None
    for name in reader.members() if reader.peek() == "{" else ():
        if name == "items" and reader.peek() == "{":
            site = _read_inside(reader)
        else:
            reader.read()
    if site is None or "uid" not in site.attributes:
        json.loads(body)            # to say so if it is no JSON
        return None
    reader.end()
    return site


def _read_inside(reader: Reader) -> _Site:
    attributes: Attributes = {}
    hierarchy: dict[str, list[str]] = {}
    clusters, hosts, equipments = _Parts(), _Parts(), _Parts()
    for name in reader.members():
        if name == "clusters":
            for uid in reader.members():
                cluster, texts = _read_cluster(reader, hosts, hierarchy.setdefault(uid, []))
                clusters.add(uid, cluster, "{" + ",".join(texts) + "}")
        elif name == "network_equipments":
            equipments.read(reader)
        elif name in _NOT_KEPT:
            reader.read()
        else:
            attributes[name] = reader.read()
    for uids in hierarchy.values():
        uids.sort(key=_by_number)
    return _Site(attributes, clusters.items, hosts.items, equipments.items, hierarchy, clusters.text(), hosts.text(), equipments.text())


def _read_cluster(reader: Reader, hosts: _Parts, uids: list[str]) -> tuple[Attributes, list[str]]:
    cluster: Attributes = {}
    texts = []
    for name in reader.members():
        if name == "nodes":
            uids += hosts.read(reader)
        else:
            cluster[name] = reader.read()
            texts.append(f"{dumps(name)}:{reader.text()}")
    return cluster, texts


def _in_pieces(api: APIConnection, path: str) -> _Site:
    """For a server that knows no ``deep``."""
    attributes = api.get_json(path)
    if not isinstance(attributes, dict):
        raise APIException(api.uri(path), "GET", exception=ValueError(f"expected a site, found {str(attributes)[:200]}"))
    hierarchy: dict[str, list[str]] = {}
    clusters, hosts, equipments = _Parts(), _Parts(), _Parts()
    for uid in sorted(str(item["uid"]) for item in _items_if_any(api, f"{path}/clusters")):
        cluster = api.get_json(f"{path}/clusters/{quote(uid)}")
        clusters.add(uid, cluster, dumps(cluster))
        nodes = _items_if_any(api, f"{path}/clusters/{quote(uid)}/nodes")
        hierarchy[uid] = sorted((str(node["uid"]) for node in nodes), key=_by_number)
        for node in nodes:
            hosts.add(str(node["uid"]), node, dumps(node))
    for equipment in _items_if_any(api, f"{path}/network_equipments"):
        equipments.add(str(equipment["uid"]), equipment, dumps(equipment))
    return _Site(attributes, clusters.items, hosts.items, equipments.items, hierarchy, clusters.text(), hosts.text(), equipments.text())
