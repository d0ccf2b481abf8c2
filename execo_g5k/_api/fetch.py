"""The description of the whole platform, fetched from the API in as few requests as the server allows."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from urllib.parse import quote

from .connection import APIConnection, APIException, in_parallel, items_of
from .reader import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Attributes = dict[str, Any]

WIDTH = 4
"""Requests at a time: one answer is decoded while the server makes others."""
_NOT_KEPT = ("servers", "pdus", "sensors")


@dataclass(frozen=True)
class Platform:
    """The description, and the same as the contents of its files."""

    data: dict[str, Any]
    contents: dict[str, list[bytes]]
    """By name of the file: the pieces of its JSON; see `arranged`."""


@dataclass(frozen=True)
class _Site:
    attributes: Attributes
    clusters: _Parts
    nodes: _Parts
    """Arrays by cluster."""
    equipments: list[Attributes]
    equipments_text: bytes


@dataclass
class _Parts:
    """Values by name, and their JSON in pieces, which are never joined: all of them are some megabytes."""

    values: dict[str, Any] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)

    def add(self, name: str, value: Any, text: bytes) -> None:
        self.values[name] = value
        self.pieces += (b"," if self.pieces else b"", dumps(name).encode() + b":", text)

    def extend(self, others: _Parts) -> None:
        if others.values:
            self.values |= others.values
            self.pieces += (b"," if self.pieces else b"", *others.pieces)

    def json(self) -> list[bytes]:
        return [b"{", *self.pieces, b"}"]


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
    sites = _all_sites(api, uids)
    network = _Parts()
    network.add("backbone", backbone, dumps(backbone).encode())
    for uid, site in sites.items():
        network.add(uid, site.equipments, site.equipments_text)
    stored = {"network": network, "clusters": _merged([site.clusters for site in sites.values()]),
              "hosts": _merged([site.nodes for site in sites.values()])}
    attributes = {uid: site.attributes for uid, site in sites.items()}
    hierarchy = {uid: {cluster: _uids(nodes) for cluster, nodes in site.nodes.values.items()} for uid, site in sites.items()}
    contents = {name: parts.json() for name, parts in stored.items()}
    contents |= {"sites": [dumps(attributes).encode()], "hierarchy": [dumps(hierarchy).encode()]}
    values = {name: parts.values for name, parts in stored.items()}
    return Platform(arranged({"version": version, **values, "sites": attributes, "hierarchy": hierarchy}), contents)


def arranged(files: dict[str, Any]) -> dict[str, Any]:
    """The description, of what its files hold: there hosts are arrays by cluster, and equipments by site, as they came from the API."""
    network = {site: items if site == "backbone" else _by_uid(items) for site, items in files["network"].items()}
    hosts = _by_uid(node for nodes in files["hosts"].values() for node in nodes)
    return {**files, "network": network, "hosts": hosts}


def _by_uid(items: Iterable[Attributes]) -> dict[str, Attributes]:
    return {str(item["uid"]): item for item in items}


def _merged(all_parts: list[_Parts]) -> _Parts:
    merged = _Parts()
    for parts in all_parts:
        merged.extend(parts)
    return merged


def _uids(nodes: list[Attributes]) -> list[str]:
    return sorted((str(node["uid"]) for node in nodes), key=_by_number)


def _items_if_any(api: APIConnection, path: str) -> list[Attributes]:
    """Items of a collection, none if the API does not know it: what is empty has no resource."""
    try:
        return items_of(api.get_json(path), api.uri(path))
    except APIException as failure:
        if failure.status == 404:
            return []
        raise


def _all_sites(api: APIConnection, uids: list[str]) -> dict[str, _Site]:
    """Asked for by threads, and decoded by this one alone: threads that decode keep each other, and those that read, from going on."""
    with ThreadPoolExecutor(WIDTH, thread_name_prefix="execo-api") as pool:
        asked = {pool.submit(_ask_for_site, api, uid): uid for uid in uids}
        try:
            found = {asked[done]: _decoded_site(api, asked[done], done.result()) for done in as_completed(asked)}
        except BaseException:
            for future in asked:        # those that have not begun need not
                future.cancel()
            raise
    return {uid: found[uid] for uid in uids}


def _ask_for_site(api: APIConnection, uid: str) -> str | _Site:
    path = f"/sites/{quote(uid)}"
    try:
        return api.get_decoded(path, str, deep=1)
    except APIException as failure:
        if failure.status not in (400, 404, 406, 422, 501):
            raise
    return _in_pieces(api, path)


def _decoded_site(api: APIConnection, uid: str, answer: str | _Site) -> _Site:
    if isinstance(answer, _Site):
        return answer
    path = f"/sites/{quote(uid)}"
    try:
        whole = read_deep_site(answer)
    except ValueError:              # as a failure of the connection: once more, with patience
        whole = api.get_decoded(path, read_deep_site, deep=1)
    return _in_pieces(api, path) if whole is None else whole


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
    clusters, nodes = _Parts(), _Parts()
    equipments: list[Attributes] = []
    equipments_text = b"[]"
    for name in reader.members():
        if name == "clusters":
            for uid in reader.members():
                _read_cluster(uid, reader, clusters, nodes)
        elif name == "network_equipments":
            equipments, equipments_text = _read_items(reader), reader.text()
        elif name in _NOT_KEPT:
            reader.read()
        else:
            attributes[name] = reader.read()
    return _Site(attributes, clusters, nodes, equipments, equipments_text)


def _read_cluster(uid: str, reader: Reader, clusters: _Parts, nodes: _Parts) -> None:
    cluster = _Parts()
    items: list[Attributes] = []
    text = b"[]"
    for name in reader.members():
        if name == "nodes":
            # At once: who reads them one by one makes the names of all their attributes anew for each.
            items, text = _read_items(reader), reader.text()
        else:
            cluster.add(name, reader.read(), reader.text())
    clusters.add(uid, cluster.values, b"".join(cluster.json()))
    nodes.add(uid, items, text)


def _read_items(reader: Reader) -> list[Attributes]:
    items = reader.read()
    if not isinstance(items, list) or not all(isinstance(item, dict) and "uid" in item for item in items):
        raise ValueError(f"expected items with a uid, found {reader.text()[:200]!r}")
    return items


def _in_pieces(api: APIConnection, path: str) -> _Site:
    """For a server that knows no ``deep``."""
    attributes = api.get_json(path)
    if not isinstance(attributes, dict):
        raise APIException(api.uri(path), "GET", exception=ValueError(f"expected a site, found {str(attributes)[:200]}"))
    clusters, nodes = _Parts(), _Parts()
    for uid in sorted(str(item["uid"]) for item in _items_if_any(api, f"{path}/clusters")):
        for parts, value in ((clusters, api.get_json(f"{path}/clusters/{quote(uid)}")),
                             (nodes, _items_if_any(api, f"{path}/clusters/{quote(uid)}/nodes"))):
            parts.add(uid, value, dumps(value).encode())
    equipments = _items_if_any(api, f"{path}/network_equipments")
    return _Site(attributes, clusters, nodes, equipments, dumps(equipments).encode())
