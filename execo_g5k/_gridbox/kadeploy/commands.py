"""kadeploy3, kaenv3, kaconsole3 and kavlan as they are on a frontend: what they print, and their exit codes."""

from __future__ import annotations

import getopt
import re

from execo.hostset import expand, fold

from ..rest_vlans import NONE
from . import console, standin
from .environments import OWNER, BadEnvironment, Environment, described
from .fetch import fetch
from .standin import Failure, named_nodes, output_files, server_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from .frontend import Call, Command
    from .service import Kadeploy, Workflow

VERSION = "3.3.11 (not Kadeploy: the one of Grid'5000 in a box)"
DEFAULT_KEY = "~/.ssh/authorized_keys"
USAGE = "Usage: {} [options]\n(see the manual of Kadeploy 3)\n"
PORT = 25300


class Commands:
    """Of one site.

    :param enter: words of a program that runs others on a node; [] where nodes are this machine.
    """

    def __init__(self, kadeploy: Kadeploy, enter: Callable[[str], list[str]]) -> None:
        self._kadeploy = kadeploy
        self._enter = enter

    @property
    def table(self) -> dict[str, Command]:
        """{name: command}."""
        return {"kadeploy3": self.kadeploy3, "kaenv3": self.kaenv3, "kaconsole3": self.kaconsole3, "kavlan": self.kavlan}

    @property
    def _user(self) -> str:
        return self._kadeploy.oar.user

    def _check_server(self) -> None:
        if self._kadeploy.site in self._kadeploy.behaviour.down:
            raise Failure(1, f"The kadeploy.{self._kadeploy.site}.grid5000.fr server is unreachable")

    def _check_known(self, nodes: Sequence[str]) -> None:
        if unknown := [node for node in nodes if node not in self._kadeploy.nodes]:
            raise Failure(1, f"The nodes {fold(unknown)} does not belongs to any server")

    # -- kadeploy3 ----------------------------------------------------------------------------------------------------------------------

    def kadeploy3(self, call: Call) -> int:
        """Deploy, and show how it goes on, until it has ended."""
        given = standin.options(call.words[1:])
        if given.help or given.version:
            call.out(f"Kadeploy version: {VERSION}\n" if given.version else USAGE.format("kadeploy3"))
            return 0
        outputs = output_files(given)
        for file in outputs:
            call.write(file, "")
        nodes = named_nodes(given, call.read)
        self._check_server()
        self._check_known(nodes)
        environment = self._environment(call, given)
        keys, key_file = self._keys(call, given.key)
        if given.dry_run:
            return 0
        workflow = self._kadeploy.deploy(nodes, environment, self._user, keys=keys, vlan=given.vlan, level=given.verbose_level,
                                         key_file=key_file)
        if given.write_workflow_id:
            call.write(given.write_workflow_id, workflow.wid)
        if not given.wait:
            call.out(f"{workflow.wid} http://kadeploy.{self._kadeploy.site}.grid5000.fr:{PORT}/deployment/{workflow.wid}\n")
            return 0
        if not self._follow(call, workflow):
            return 1
        for file, listed in ((given.output_ok_nodes, workflow.ok), (given.output_ko_nodes, list(workflow.ko))):
            if file:
                call.write(file, "".join(f"{node}\n" for node in listed))
        return 0

    def _follow(self, call: Call, workflow: Workflow) -> bool:
        """Show what is said; False if it was interrupted, and so cancelled.  A caller that is just gone changes nothing."""
        seen = 0
        while True:
            ended = workflow.done.is_set()
            text, seen = workflow.said(seen)
            call.out(text)
            if ended:
                return True
            if call.is_interrupted(self._kadeploy.behaviour.polling):
                self._kadeploy.cancel(workflow.wid)
                call.out("\nSIGINT trapped\n")
                return False

    def _environment(self, call: Call, given: argparse.Namespace) -> Environment:
        if given.env_file:
            try:
                text = fetch(given.env_file) if re.match(r"https?://", given.env_file) else call.read(given.env_file)
            except OSError as error:
                raise server_error(5, f"Invalid file -- {error}") from None
            try:
                return described(text, self._user)
            except BadEnvironment as bad:
                raise server_error(7, f"Invalid environment -- {bad}") from None
        found = self._kadeploy.environments.find(given.env_name, self._user, given.env_user, given.env_version)
        if found is None:
            raise Failure(1, "Resource not found /environments")
        return found

    def _keys(self, call: Call, file: str | None) -> tuple[str, str | None]:
        """(keys, file to be told)."""
        if file is None:
            return "", None
        if file == DEFAULT_KEY:         # the user of the box has one key, and no such file
            return self._kadeploy.default_key, f"/home/{self._user}/.ssh/authorized_keys"
        return (fetch(file) if re.match(r"https?://", file) else call.read(file)), file

    # -- kaenv3 -------------------------------------------------------------------------------------------------------------------------

    def kaenv3(self, call: Call) -> int:
        """List environments, print one, register one, or forget one."""
        get, _ = _options(call, "a:d:p:lshvu:S:", ("add=", "delete=", "print=", "list", "user=", "env-user=", "env-version=", "last",
                                                   "show-all-versions", "version", "help", "all-users"),
                          {"a": "add", "d": "delete", "p": "print", "l": "list", "u": "user", "s": "show-all-versions", "h": "help",
                            "v": "version"})
        if get("help") or get("version"):
            call.out(f"Kadeploy version: {VERSION}\n" if get("version") else USAGE.format("kaenv3"))
            return 0
        self._check_server()
        known, wanted = self._kadeploy.environments, _last(get("env-user") or get("user"))
        version = _last(get("env-version"))
        if get("add"):
            try:
                file = get("add")[-1]
                known.add(described(fetch(file) if re.match(r"https?://", file) else call.read(file), self._user))
            except OSError as error:
                raise server_error(5, f"Invalid file -- {error}") from None
            except BadEnvironment as bad:
                kind = (10, "Existing element") if "already" in str(bad) else (7, "Invalid environment")
                raise server_error(kind[0], f"{kind[1]} -- {bad}") from None
            return 0
        if get("delete"):
            if not known.remove(get("delete")[-1], self._user, version):
                raise Failure(1, "Resource not found /environments")
            return 0
        if get("print"):
            found = known.find(get("print")[-1], self._user, wanted, version)
            if found is None:
                raise Failure(1, "Resource not found /environments")
            call.out(_yaml(found))
            return 0
        if not get("list"):
            raise Failure(1, "You must choose an operation")
        users = (OWNER, self._user) if wanted is None else (wanted,)
        shown = [one for one in known.all(self._user, last=not get("show-all-versions")) if "*" in users or one.user in users]
        call.out(_table(shown))
        return 0

    # -- kaconsole3 ---------------------------------------------------------------------------------------------------------------------

    def kaconsole3(self, call: Call) -> int:
        """The console of one node."""
        get, words = _options(call, "m:hv", ("machine=", "help", "version"), {"m": "machine", "h": "help", "v": "version"})
        if get("help") or get("version"):
            call.out(f"Kadeploy version: {VERSION}\n" if get("version") else USAGE.format("kaconsole3"))
            return 0
        nodes = [node for text in (*get("machine"), *words) for node in expand(text)]
        if not nodes:
            raise Failure(1, "No node is chosen")
        if len(nodes) > 1:
            raise Failure(1, "Only one node is allowed")
        self._check_server()
        self._check_known(nodes)
        self._kadeploy.check_nodes(nodes, self._user)
        if not call.has_terminal:
            raise Failure(1, "Kaconsole output must be a TTY.")
        call.out("[Kaconsole] kill sequence: ^[^[^[^[\r\n")
        environment = self._kadeploy.systems.environment_of(nodes[0])
        system = "Debian GNU/Linux" if environment is None else environment.description or environment.name
        try:
            enter = self._enter(nodes[0])
        except (OSError, RuntimeError) as error:
            raise server_error(15, f"Console -- {error}") from None
        console.relay(call, enter, nodes[0], system)
        call.out("\r\n[Kaconsole] Connection closed\r\n")
        return 0

    # -- kavlan -------------------------------------------------------------------------------------------------------------------------

    def kavlan(self, call: Call) -> int:
        """VLANs of a job, of nodes; nodes into a VLAN."""
        get, _ = _options(call, "i:j:m:f:F:u:C:c:k:slgVrdevqh",
                          ("vlan-id=", "oar-jobid=", "machine=", "filename=", "user=", "set-vlan", "get-nodelist", "get-vlan",
                           "show-vlan-id", "disable-dhcp", "enable-dhcp", "verbose", "quiet", "help", "version"),
                          {"i": "vlan-id", "j": "oar-jobid", "m": "machine", "f": "filename", "F": "filename", "u": "user",
                           "s": "set-vlan", "l": "get-nodelist", "g": "get-vlan", "V": "show-vlan-id", "r": "show-vlan-id",
                           "d": "disable-dhcp", "e": "enable-dhcp", "h": "help", "q": "quiet"})
        if get("help"):
            call.out(USAGE.format("kavlan"))
            return 0
        if get("show-vlan-id"):
            call.out("".join(f"{vlan}\n" for vlan in self._vlans_of_job(call, get)))
            return 0
        nodes = [node for text in get("machine") for node in expand(text)]
        for file in get("filename"):
            nodes += call.read(file).split()
        nodes = list(dict.fromkeys(nodes))
        api = self._kadeploy.vlans.of(self._kadeploy.site)
        if get("get-vlan"):
            self._check_machines(nodes)
            call.out("".join(f"{node} : {_shown(api.vlan_of(node))}\n" for node in nodes))
            return 0
        vlan = _last(get("vlan-id")) or self._vlans_of_job(call, get)[0]
        if vlan not in api.types:
            raise Failure(1, f"kavlan: Vlan {vlan} does not exist")
        if get("get-nodelist"):
            call.out("".join(f"{node}\n" for node in api.interfaces_in(vlan)))
        elif get("set-vlan"):
            self._set_vlan(call, nodes, vlan, bool(get("quiet")))
        elif not get("enable-dhcp") and not get("disable-dhcp"):
            raise Failure(1, "kavlan: no action: one of -s, -g, -l, -V, -e, -d")
        return 0

    def _check_machines(self, nodes: Sequence[str]) -> None:
        known = self._kadeploy.vlans.of(self._kadeploy.site).interfaces
        if not nodes:
            raise Failure(1, "kavlan: no node is given: -m or -f")
        if unknown := [node for node in nodes if node not in known]:
            raise Failure(1, f"kavlan: Unknown node '{unknown[0]}'")

    def _set_vlan(self, call: Call, nodes: Sequence[str], vlan: str, quiet: bool) -> None:
        self._check_machines(nodes)
        vlans, site = self._kadeploy.vlans, self._kadeploy.site
        if problem := vlans.problem(site, self._user, vlan, nodes):
            raise Failure(1, f"kavlan: {problem}")
        said = vlans.of(site).put(nodes, vlan)
        if not quiet:
            words = {"success": "changed to vlan", "unchanged": "already in vlan"}
            call.out("".join(f" ... node {node} {words[said[node]['status']]} {_shown(vlan)}\n" for node in nodes))
            call.out(f"all nodes are configured in the vlan {vlan}\n")

    def _vlans_of_job(self, call: Call, get: Callable[[str], list[str]]) -> list[str]:
        number = (get("oar-jobid") or [call.job])[-1]
        job = next((job for job in self._kadeploy.oar.jobs() if str(job["uid"]) == number), None)
        if job is None or job["state"] not in ("running", "launching"):
            raise Failure(1, f"kavlan: no job {number} that runs")
        vlans = [str(vlan) for vlan in job.get("resources_by_type", {}).get("vlans", ())]
        if not vlans:
            call.out("no vlan found\n")
            raise Failure(1, "kavlan: the job has no VLAN")
        return sorted(vlans, key=int)


def _last(values: Sequence[str]) -> str | None:
    return values[-1] if values else None


def _shown(vlan: str) -> str:
    return vlan if vlan == NONE else f"KAVLAN-{vlan}"


def _options(call: Call, short: str, long: Sequence[str], names: dict[str, str]) -> tuple[Callable[[str], list[str]], list[str]]:
    """(what gives the values of an option by its long name, other words)."""
    try:
        options, words = getopt.gnu_getopt(call.words[1:], short, list(long))
    except getopt.GetoptError as error:
        raise Failure(1, f"Option parsing error: invalid option: {error}") from None
    found: dict[str, list[str]] = {}
    for name, value in options:
        bare = name.lstrip("-")
        found.setdefault(names.get(bare, bare) if len(bare) == 1 else bare, []).append(value or "yes")
    return lambda name: found.get(name, []), words


def _table(environments: Sequence[Environment]) -> str:
    rows = [("Name", "Version", "User", "Description"),
            *((one.name, str(one.version), one.user, one.description) for one in environments)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip() for row in rows]
    lines[0:1] = [lines[0], "  ".join(["#" * width for width in widths] + ["#" * 11])]
    return "".join(f"{line}\n" for line in lines)


def _yaml(environment: Environment) -> str:
    """A description as it would be registered."""
    lines = ["---"]

    def put(value: object, indent: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                nested = isinstance(inner, (dict, list)) and inner
                lines.append(f"{indent}{name}:" + ("" if nested else f" {_scalar(inner)}"))
                if nested:
                    put(inner, indent + "  ")
        elif isinstance(value, list):
            for inner in value:
                before = len(lines)
                put(inner, indent + "  ")
                lines[before] = f"{indent}- {lines[before].lstrip()}"
        else:
            lines.append(indent + _scalar(value))

    put({name: value for name, value in environment.item().items() if name != "user"}, "")
    return "\n".join(lines) + "\n"


def _scalar(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return text if isinstance(value, int) or re.fullmatch(r"[A-Za-z/][\w ./:+-]*", text) else f'"{text}"'
