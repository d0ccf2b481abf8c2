"""The reference part of the API: sites, clusters, nodes, network equipments, servers, power devices, and the versions of each."""

from __future__ import annotations

from email.utils import formatdate

from .http import COLLECTION, Answer, Problem, Request, collection
from .reference import PARTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .reference import Reference

    Json = dict[str, Any]

SITE_SERVICES = ("jobs", "environments", "deployments", "vlans", "metrics", "storage")
BRANCHES = ("master", "testing")


class ReferenceApi:
    """Answers from a reference; has no state of its own, so any thread may ask.

    :param clock: the date.
    """

    def __init__(self, reference: Reference, clock: Callable[[], float]) -> None:
        self._reference = reference
        self._clock = clock

    def answer(self, request: Request) -> Answer:
        """:raises Problem: for what is not there."""
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "Method Not Allowed", {"Allow": "GET"})
        if "versions" in request.path:
            return self._versions(request)
        branch, version = request.query.get("branch"), request.query.get("version")
        if branch and branch not in BRANCHES:
            raise Problem(404, f"Branch 'origin/{branch}' cannot be found.")
        if version and self._reference.date(version) is None:
            raise Problem(404, f"Commit '{version}' cannot be found.")
        body = self._deep(request) if request.query.get("deep") else self._shallow(request)
        return Answer(body, headers=self._validity(request, body))

    def _validity(self, request: Request, body: Json) -> dict[str, str]:
        version = body.get("version")
        headers = {"Allow": "GET", "Vary": "Accept",
                   "Cache-Control": "max-age=60, public, must-revalidate=true, proxy-revalidate=true, s-maxage=60"}
        if version is not None:
            headers["Last-Modified"] = formatdate(self._reference.date(version), usegmt=True)
            if request.query.get("version") == version:
                headers["Cache-Control"] = "max-age=2592000, public"
        return headers

    def _absent(self, request: Request) -> Problem:
        return Problem(404, f"Cannot find resource {request.url or '/'}")

    # -- one level ----------------------------------------------------------------------------------------------------------------------

    def _shallow(self, request: Request) -> Json:
        path, reference = list(request.path), self._reference
        if not path:
            root = self._item(request, "", reference.root, "", ["accesses", "network_equipments", "sites"])
            root["links"].append(request.link("users", "/users", COLLECTION))
            return {**root, "timestamp": int(self._clock())}
        if path == ["accesses"]:
            return reference.accesses
        if path[0] == "network_equipments":
            return self._folder(request, "/network_equipments", "", reference.backbone, path[1:])
        if path[0] != "sites":
            raise self._absent(request)
        if len(path) == 1:
            return self._collection(request, "/sites", "", [self._site(request, site) for site in reference.sites])
        described, where = reference.sites.get(path[1]), f"/sites/{path[1]}"
        if described is None:
            raise self._absent(request)
        if len(path) == 2:
            return self._site(request, path[1])
        if path[2] in PARTS:
            return self._folder(request, f"{where}/{path[2]}", where, described[path[2]], path[3:])
        if path[2] != "clusters" or not described["clusters"]:          # not an empty list
            raise self._absent(request)
        clusters = self._shown_clusters(request, described)
        if len(path) == 3:
            items = [self._cluster(request, path[1], name) for name in sorted(clusters)]
            return self._collection(request, f"{where}/clusters", where, items)
        if path[3] not in clusters:
            raise self._absent(request)
        if len(path) == 4:
            return self._cluster(request, path[1], path[3])
        if path[4] != "nodes":
            raise self._absent(request)
        above = f"{where}/clusters/{path[3]}"
        return self._folder(request, f"{above}/nodes", above, described["nodes"].get(path[3], {}), path[5:])

    def _item(self, request: Request, path: str, item: Mapping[str, Any], parent: str, folders: Sequence[str] = ()) -> Json:
        version = self._reference.version(path)
        links = [request.link(folder, f"{path}/{folder}", COLLECTION) for folder in folders]
        links += [request.link("self", path), request.link("parent", parent), request.link("version", f"{path}/versions/{version}"),
                  request.link("versions", f"{path}/versions", COLLECTION)]
        return {**item, "version": version, "links": links}

    def _collection(self, request: Request, path: str, parent: str, items: Sequence[Any]) -> Json:
        return collection(request, items, path, parent, version=self._reference.version(path))

    def _folder(self, request: Request, path: str, parent: str, items: Mapping[str, Json], rest: Sequence[str]) -> Json:
        """Items by their names as text (x-1, x-10, x-2), or one of them."""
        if not items or len(rest) > 1 or (rest and rest[0] not in items):
            raise self._absent(request)
        if rest:
            return self._item(request, f"{path}/{rest[0]}", items[rest[0]], parent)
        return self._collection(request, path, parent, [self._item(request, f"{path}/{uid}", items[uid], parent) for uid in sorted(items)])

    def _site(self, request: Request, site: str) -> Json:
        described, path = self._reference.sites[site], f"/sites/{site}"
        item = self._item(request, path, described["site"], "/sites", sorted(part for part in ("clusters", *PARTS) if described[part]))
        item["links"] += [request.link(service, f"{path}/{service}", COLLECTION) for service in SITE_SERVICES]
        item["links"].append(request.link("status", f"{path}/status"))
        return item

    def _cluster(self, request: Request, site: str, cluster: str) -> Json:
        path, described = f"/sites/{site}/clusters/{cluster}", self._reference.sites[site]["clusters"][cluster]
        item = self._item(request, path, _with_queues(described), f"/sites/{site}/clusters", ["nodes"])
        item["links"].append(request.link("status", f"{path}/status"))
        return item

    def _shown_clusters(self, request: Request, described: Json) -> list[str]:
        return clusters_in_queues(described, request.query.get("queues"))

    # -- whole trees --------------------------------------------------------------------------------------------------------------------

    def _deep(self, request: Request) -> Json:
        path, reference = list(request.path), self._reference
        items: Any
        if not path:
            items = {**reference.root, "accesses": reference.accesses, "network_equipments": _listed(reference.backbone),
                     "sites": {site: _tree(described) for site, described in reference.sites.items()}}
        elif path == ["sites"]:
            items = {site: _tree(described) for site, described in reference.sites.items()}
        elif path == ["network_equipments"]:
            items = _listed(reference.backbone)
        elif path[0] == "sites" and path[1] in reference.sites:
            items = self._deep_in_site(request, reference.sites[path[1]], path[2:])
        else:
            raise self._absent(request)
        return {"total": len(items), "offset": 0, "items": items, "version": reference.version(request.url),
                "links": [request.link("self", request.url, COLLECTION), request.link("parent", request.url.rpartition("/")[0])]}

    def _deep_in_site(self, request: Request, described: Json, path: Sequence[str]) -> Any:
        deepest = 4 if path[:1] == ["clusters"] and path[2:3] in ([], ["nodes"]) else 2
        found: Any = _tree(described)
        if len(path) > deepest or (path and path[0] not in ("clusters", *PARTS)):
            raise self._absent(request)
        for step in path:
            found = found.get(step) if isinstance(found, dict) else next((item for item in found if item["uid"] == step), None)
            if found is None:
                raise self._absent(request)
        return found

    # -- history ------------------------------------------------------------------------------------------------------------------------

    def _versions(self, request: Request) -> Answer:
        """A history of one version, the present one."""
        path = list(request.path)
        depth = path.index("versions")
        above, rest = "".join(f"/{step}" for step in path[:depth]), path[depth + 1:]
        of = Request("GET", path[:depth], {"queues": "admin,default,production,testing"}, request.prefix)
        current: str = self._shallow(of).get("version", self._reference.version(above))
        if rest == ["latest"]:
            return Answer("", 307, {"Location": f"{request.prefix}{above}/versions/{current}"})
        if rest and self._reference.date(rest[0]) is None:
            raise Problem(404, f"Reference (branch or commit) '{rest[0]}' cannot be found.")
        uid = rest[0] if rest else current
        item: Json = {"uid": uid, "type": "version", "message": "Made by the box", "author": "box",
                      "date": formatdate(self._reference.date(uid), usegmt=True),
                      "links": [request.link("self", f"{above}/versions/{uid}"), request.link("parent", above)]}
        return Answer(item if rest else collection(request, [item], f"{above}/versions", above))


def _with_queues(cluster: Json) -> Json:
    return cluster if "queues" in cluster else {**cluster, "queues": ["admin", "default"]}


def clusters_in_queues(described: Json, queues: str | None) -> list[str]:
    """Clusters of a site that the parameter ``queues`` shows."""
    shown = {"admin", "default"} if queues is None else {"admin", "default", "production"} if queues == "all" else set(queues.split(","))
    return [name for name, cluster in described["clusters"].items() if shown & set(_with_queues(cluster)["queues"])]


def _listed(items: Mapping[str, Json]) -> list[Json]:
    return [items[uid] for uid in sorted(items)]


def _tree(described: Json) -> Json:
    """A site with all that is below it: clusters by name, the rest as lists."""
    tree: Json = {**described["site"], **{part: _listed(described[part]) for part in PARTS if described[part]}}
    if described["clusters"]:
        tree["clusters"] = {name: {**cluster, "nodes": _listed(described["nodes"].get(name, {}))}
                            for name, cluster in sorted(described["clusters"].items())}
    return tree
