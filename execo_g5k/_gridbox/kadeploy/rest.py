"""Deployments and environments of one site, as the API shows them: the same that kadeploy3 and kaenv3 have."""

from __future__ import annotations

import re

from execo.hostset import expand

from ..http import ANONYMOUS, Answer, Problem, page
from .environments import BadEnvironment, described
from .fetch import fetch
from .options import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..http import Request
    from .environments import Environment
    from .service import Kadeploy
    from .workflow import Workflow

    Json = dict[str, Any]

FLAGS = ("disable_disk_partitioning", "disable_bootloader_install", "ignore_nodes_deploying")
TEXTS = ("key", "version", "arch", "vlan", "partition_label", "block_device", "reformat_tmp", "reboot_classical_timeout",
         "reboot_kexec_timeout")
INVALID = "The deployment you are trying to submit is not valid: "
CANNOT = "Cannot launch deployment: "


def served(apis: Mapping[str, DeploymentsApi], site: str) -> DeploymentsApi:
    """:raises Problem: for a site without Kadeploy."""
    if site not in apis:
        raise Problem(404, "Not Found")
    return apis[site]


class DeploymentsApi:
    """Of one site.  Any thread may ask."""

    def __init__(self, kadeploy: Kadeploy) -> None:
        self._kadeploy = kadeploy
        self._site = kadeploy.site

    # -- deployments --------------------------------------------------------------------------------------------------------------------

    def deployments(self, request: Request) -> Answer:
        """:raises Problem:"""
        words, path = list(request.path[3:]), f"/sites/{self._site}/deployments"
        if not words:
            if request.method == "POST":
                return self._submit(request)
            return Answer(page(request, self._list(request), path, f"/sites/{self._site}"), headers={"Allow": "GET,POST"})
        workflow = next((one for one in self._kadeploy.workflows() if one.wid == words[0]), None)
        if workflow is None or len(words) > 1:
            raise Problem(404, f"Couldn't find Grid5000::Deployment with ID={words[0]}")
        if request.method == "PUT":
            request.writer()
            return Answer("", 204)
        if request.method == "DELETE":
            if request.writer() != workflow.user:
                raise Problem(403, "You are not authorized to access this resource")
            self._kadeploy.cancel(workflow.wid)
            return Answer("", 202, request.location(f"{path}/{workflow.wid}"))
        return Answer(self._item(request, workflow), headers={"Allow": "GET,DELETE,PUT", "Cache-Control": "public, max-age=60"})

    def _list(self, request: Request) -> list[Json]:
        found = [self._item(request, one) for one in self._kadeploy.workflows()
                 if request.query.get("user") in (None, one.user) and request.query.get("status") in (None, one.status)]
        return found[::-1] if request.query.get("reverse") in ("true", "yes", "1") else found

    def _item(self, request: Request, one: Workflow) -> Json:
        assert one.environment is not None
        item = {"uid": one.wid, "site_uid": self._site, "user_uid": one.user, "environment": one.environment.name, "status": one.status,
                "nodes": one.nodes, "result": one.result(), "disable_disk_partitioning": False, "disable_bootloader_install": False,
                "ignore_nodes_deploying": False, "vlan": one.vlan, "created_at": int(one.created), "updated_at": int(one.updated),
                **one.asked}
        path = f"/sites/{self._site}/deployments/{one.wid}"
        shown = {name: value for name, value in item.items() if value is not None}
        return {**shown, "links": [request.link("self", path), request.link("parent", f"/sites/{self._site}")]}

    def _submit(self, request: Request) -> Answer:
        user, fields = request.writer(), request.fields()
        nodes = fields.get("nodes")
        if not isinstance(nodes, list) or not nodes or not all(isinstance(node, str) for node in nodes):
            raise Problem(400, f"{INVALID}nodes must be a non-empty Array")
        if not isinstance(fields.get("environment"), str):
            raise Problem(400, f"{INVALID}environment must be given")
        for name in TEXTS:
            if fields.get(name) is not None and not isinstance(fields[name], (str, int)):
                raise Problem(400, f"{INVALID}{name} must be a String")
        nodes = list(dict.fromkeys(node for text in nodes for node in expand(text)))
        if unknown := [node for node in nodes if node not in self._kadeploy.nodes]:
            raise Problem(500, f"{CANNOT}Kadeploy error #2: the nodes {', '.join(unknown)} does not belongs to any server")
        if self._site in self._kadeploy.behaviour.down:
            raise Problem(503, f"{CANNOT}the Kadeploy server of {self._site} is unreachable")
        environment = self._environment(fields, user)
        key = fields.get("key")
        vlan = fields.get("vlan")
        asked = {name: fields[name] for name in (*TEXTS, *FLAGS) if fields.get(name) is not None}
        try:
            keys = fetch(key) if isinstance(key, str) and re.match(r"https?://", key) else f"{key}\n" if key else ""
            workflow = self._kadeploy.deploy(nodes, environment, user, keys=keys, vlan=None if vlan is None else str(vlan),
                                             asked={**asked, "environment": fields["environment"]})
        except OSError as error:
            raise Problem(400, f"{CANNOT}key: {error}") from None
        except Failure as failure:
            text = failure.text.partition("\n[Kadeploy")[0]
            raise Problem(500, f"{CANNOT}Kadeploy error #{failure.code}: {text}") from None
        return Answer(self._item(request, workflow), 201, request.location(f"/sites/{self._site}/deployments/{workflow.wid}"))

    def _environment(self, fields: Json, user: str) -> Environment:
        wanted = fields["environment"]
        if re.match(r"https?://", wanted):
            try:
                return described(fetch(wanted), user)
            except (OSError, BadEnvironment) as error:
                raise Problem(400, f"{CANNOT}Invalid environment specification {wanted}: {error}") from None
        name, _, owner = wanted.partition("@")
        found = self._kadeploy.environments.find(name, user, owner or None, fields.get("version"))
        if found is None:
            raise Problem(400, f"{CANNOT}Invalid environment specification {wanted}: not found on {self._site}")
        return found

    # -- environments -------------------------------------------------------------------------------------------------------------------

    def environments(self, request: Request) -> Answer:
        """:raises Problem:"""
        words, path, query = list(request.path[3:]), f"/sites/{self._site}/environments", request.query
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "Method Not Allowed", {"Allow": "GET"})
        if query.get("user") and request.user == ANONYMOUS:
            raise Problem(403, "You are not authorized to access this resource")
        asker = None if request.user == ANONYMOUS else request.user
        if words:
            one = next((one for one in self._kadeploy.environments.all(asker) if one.uid == words[0]), None)
            if one is None or len(words) > 1:
                raise Problem(404, f"Environment {words[0]} not found")
            return Answer(self._environment_item(request, one))
        found = [one for one in self._kadeploy.environments.all(asker, last=query.get("latest_only") != "no")
                 if all(query.get(name) in (None, getattr(one, name)) for name in ("name", "arch", "user"))]
        return Answer(page(request, [self._environment_item(request, one) for one in found], path, f"/sites/{self._site}"))

    def _environment_item(self, request: Request, one: Environment) -> Json:
        links = [request.link("self", f"/sites/{self._site}/environments/{one.uid}"), request.link("parent", f"/sites/{self._site}")]
        return {"uid": one.uid, **one.item(), "links": links}
