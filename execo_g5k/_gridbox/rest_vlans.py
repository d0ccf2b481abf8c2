"""VLANs of one site, as Kavlan answers behind the API."""

from __future__ import annotations

import threading

from .http import COLLECTION, Answer, Problem, collection
from .machines import fqdn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from .http import Request
    from .reference import Reference
    from .site import SiteOar

    Json = dict[str, Any]

NONE = "DEFAULT"


def kavlan_interfaces(described: Json) -> dict[str, str]:
    """{name of an interface that can be put into a VLAN: the node that has it}."""
    site = described["site"]["uid"]
    return {adapter.get("network_address") or fqdn(f"{uid}-{adapter['device']}", site): fqdn(uid, site)
            for nodes in described["nodes"].values() for uid, node in nodes.items()
            for adapter in node["network_adapters"] if adapter.get("kavlan")}


class VlanApi:
    """Which interface is in which VLAN.

    :param rights: see `SiteApi`.
    """

    def __init__(self, reference: Reference, site: str, oar: SiteOar, rights: bool) -> None:
        self._site = site
        self._base = f"/sites/{site}/vlans"
        self._oar = oar
        self._rights = rights
        self.interfaces = kavlan_interfaces(reference.sites[site])
        """{name of an interface: the node that has it}."""
        self.types = {NONE: "NULL", **_types(reference, site)}
        """{VLAN: its type}."""
        self.dhcp = {vlan: True for vlan in self.types if vlan != NONE}
        """{VLAN: whether its DHCP server is said to run}; nodes have their addresses all the same."""
        self.mover: Callable[[str, str | None], None] | None = None
        """Moves the link of a node, whose main interface is put into a VLAN or, None, into the network that all share."""
        self._lock = threading.Lock()
        self._vlan_of: dict[str, str] = {}

    def answer(self, request: Request, words: Sequence[str]) -> Answer:
        """:raises Problem: for what is not there, or not allowed."""
        words, base = list(words), self._base
        if not words:
            return Answer(collection(request, [self._vlan(request, vlan) for vlan in self.types], base, f"/sites/{self._site}"))
        if words[0] == "nodes":
            return self._nodes(request, words[1:])
        if words[0] == "users" and len(words) <= 2:
            users = self._users()
            if len(words) == 2:
                return Answer({"uid": words[1], "vlans": users.get(words[1], []), "links": self._links(request, f"{base}/users", words[1])})
            items = [{"uid": user, "links": self._links(request, f"{base}/users", user)} for user in sorted(users)]
            return Answer(collection(request, items, f"{base}/users", base))
        if words[0] not in self.types:
            raise Problem(404, f"Vlan {words[0]} does not exist")
        if len(words) == 1 and request.method == "GET":
            return Answer(self._vlan(request, words[0]))
        if words[1:] == ["nodes"]:
            return self._nodes_of(request, words[0])
        if words[1:2] == ["users"] and len(words) <= 3:
            return self._users_of(request, words[0], words[2:])
        if words[1:] == ["dhcpd"]:
            return self._dhcpd(request, words[0])
        raise Problem(404, "Not Found")             # POST vlans/ID among others: there is no such route any more

    def _links(self, request: Request, above: str, name: str) -> list[Json]:
        return [request.link("self", f"{above}/{name}"), request.link("parent", above, COLLECTION)]

    def _vlan(self, request: Request, vlan: str) -> Json:
        path = f"{self._base}/{vlan}"
        links = [request.link("dhcpd", f"{path}/dhcpd"), request.link("nodes", f"{path}/nodes"),
                 request.link("users", f"{path}/users", COLLECTION)]
        return {"uid": vlan, "type": self.types[vlan], "links": links + self._links(request, self._base, vlan)}

    def _interface(self, request: Request, name: str) -> Json:
        return {"uid": name, "vlan": self.vlan_of(name), "links": self._links(request, f"{self._base}/nodes", name)}

    def _named(self, request: Request) -> list[str]:
        names = request.json()
        if not isinstance(names, list) or not names:
            raise Problem(422, "Missing node list")
        return names

    def _nodes(self, request: Request, words: list[str]) -> Answer:
        if len(words) == 1:
            if words[0] not in self.interfaces:
                raise Problem(404, f"Unknown node '{words[0]}'.")
            return Answer(self._interface(request, words[0]))
        names = sorted(self.interfaces)
        if request.method == "POST":
            names = [name for name in self._named(request) if name in self.interfaces]
        return Answer(collection(request, [self._interface(request, name) for name in names], f"{self._base}/nodes", self._base))

    def _nodes_of(self, request: Request, vlan: str) -> Answer:
        if request.method != "POST":
            inside = self.interfaces_in(vlan)
            path = f"{self._base}/{vlan}"
            return Answer(collection(request, [self._interface(request, name) for name in inside], f"{path}/nodes", path))
        user, names = request.writer(), self._named(request)
        if self._rights and not self.is_allowed(user, vlan, names):
            raise Problem(403, "Not enough privileges on Kavlan resources")
        return Answer(self.put(names, vlan))

    def put(self, names: Iterable[str], vlan: str) -> Json:
        """Put interfaces into a VLAN: {interface: status and message}.

        :raises OSError: if a link cannot be moved.
        """
        said: Json = {}
        with self._lock:
            for name in names:
                if name not in self.interfaces:
                    said[name] = {"status": "failure", "message": "Unknown node"}
                elif self.vlan_of(name) == vlan:
                    said[name] = {"status": "unchanged", "message": "Node already in vlan"}
                else:
                    if self.mover is not None and self.interfaces[name] == name:       # nodes have one link, whatever is described
                        self.mover(name, None if vlan == NONE else vlan)
                    self._vlan_of[name] = vlan
                    said[name] = {"status": "success", "message": "Successfully added to vlan"}
        return said

    def vlan_of(self, name: str) -> str:
        """The VLAN of an interface."""
        return self._vlan_of.get(name, NONE)

    def interfaces_of(self, nodes: Iterable[str]) -> list[str]:
        """Interfaces of nodes that can be put into a VLAN."""
        wanted = set(nodes)
        return [name for name, node in self.interfaces.items() if node in wanted]

    def interfaces_in(self, vlan: str) -> list[str]:
        """Interfaces that are in a VLAN."""
        return [name for name in sorted(self.interfaces) if self.vlan_of(name) == vlan]

    def moved(self) -> list[str]:
        """Nodes that have an interface in a VLAN."""
        return list(dict.fromkeys(self.interfaces[name] for name, vlan in list(self._vlan_of.items()) if vlan != NONE))

    def _users(self) -> dict[str, list[str]]:
        """{user: VLANs of his running jobs here}."""
        found: dict[str, list[str]] = {}
        for job in self._oar.jobs():
            if job["state"] == "running":
                for vlan in job.get("resources_by_type", {}).get("vlans", ()):
                    found.setdefault(job["user"], []).append(vlan)
        return found

    def is_allowed(self, user: str, vlan: str, names: Sequence[str]) -> bool:
        """Whether a running job of the user has the nodes of these interfaces, and the VLAN.  A VLAN of another site is not judged here."""
        nodes = {node for job in self._oar.jobs() if job["state"] == "running" and job["user"] == user
                 for node in job.get("assigned_nodes", ())}
        if any(self.interfaces.get(name, "") not in nodes for name in names if name in self.interfaces):
            return False
        return vlan == NONE or self.types[vlan] == "kavlan-global-remote" or vlan in self._users().get(user, ())

    def _users_of(self, request: Request, vlan: str, words: list[str]) -> Answer:
        path = f"{self._base}/{vlan}"
        inside = sorted(user for user, vlans in self._users().items() if vlan in vlans)
        if words:
            status = "authorized" if words[0] in inside else "unauthorized"
            return Answer({"uid": words[0], "status": status, "links": self._links(request, f"{path}/users", words[0])})
        items = [{"uid": user, "links": self._links(request, f"{path}/users", user)} for user in inside]
        return Answer(collection(request, items, f"{path}/users", path))

    def _dhcpd(self, request: Request, vlan: str) -> Answer:
        if request.method != "PUT":
            raise Problem(405, "Method Not Allowed", {"Allow": "PUT"})
        request.writer()
        order = request.json()
        if not isinstance(order, dict) or order.get("action") not in ("start", "stop"):
            raise Problem(422, "An action ('start' or 'stop') should be provided")
        if vlan in self.dhcp:
            self.dhcp[vlan] = order["action"] == "start"
        return Answer("", 204)


def _types(reference: Reference, site: str) -> dict[str, str]:
    """{VLAN: type} of those of a site, then the global ones of others."""
    own = sorted((vlan for vlan in reference.sites[site]["site"].get("kavlans", {}) if vlan != "default"), key=int)
    types = {vlan: "kavlan-local" if int(vlan) < 4 else "kavlan" if int(vlan) < 10 else "kavlan-global" for vlan in own}
    if not own:
        return {}
    everywhere = {vlan for described in reference.sites.values() for vlan in described["site"].get("kavlans", {}) if vlan != "default"}
    remote = sorted((vlan for vlan in everywhere - set(own) if int(vlan) > 9), key=int)
    return types | dict.fromkeys(remote, "kavlan-global-remote")
