"""The commands of Kadeploy, and kavlan, as they are on a frontend: what they print, and their exit codes."""

from __future__ import annotations

import os
from functools import partial

from execo.hostset import expand

from . import console, options
from .call import USAGE, VERSION, short_options
from .environments import BadEnvironment, Environment, described
from .kaenv import kaenv3
from .kavlan import kavlan
from .options import DEFAULT_KEY, Failure, server_error
from .yaml import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from .call import Call
    from .frontend import Command
    from .service import Kadeploy
    from .workflow import Workflow

PORT = 25300
LISTS = {"get_deployments": "D", "get_reboots": "R", "get_powers": "P", "get_consoles": "C"}
"""{option of kanodes3: letter of the ids of what it lists}."""


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
        return {"kadeploy3": self.kadeploy3, "kareboot3": self.kareboot3, "kapower3": self.kapower3, "kanodes3": self.kanodes3,
                "kaenv3": partial(kaenv3, self._kadeploy), "kaconsole3": self.kaconsole3, "kavlan": partial(kavlan, self._kadeploy)}

    @property
    def _user(self) -> str:
        return self._kadeploy.oar.user

    def _given(self, call: Call, parser: options.Parser) -> argparse.Namespace | None:
        """Its options; None if it has told of itself, and that is all."""
        given = parser.parse_args(call.words[1:])
        site = self._kadeploy.site
        if given.help or given.version:
            call.out(f"Kadeploy version: {VERSION}\n" if given.version else USAGE.format(parser.prog))
        elif given.server_info:
            call.out(f"{site} (default)\n  kadeploy.{site}.grid5000.fr:{PORT}\n")
        else:
            if given.server not in (None, site):
                raise Failure(1, f"The {given.server} server is unreachable")
            return given
        return None

    # -- what is done to nodes ----------------------------------------------------------------------------------------------------------

    def kadeploy3(self, call: Call) -> int:
        """Deploy, and show how it goes on, until it has ended."""
        given = self._given(call, options.kadeploy_parser())
        if given is None:
            return 0
        nodes = self._named_nodes(call, given, options.check_environment)
        environment = self._environment(call, given)
        keys, key_file = self._keys(call, given.key)
        return self._work(call, given, lambda: self._kadeploy.deploy(
            nodes, environment, self._user, keys=keys, vlan=given.vlan, level=given.verbose_level, key_file=key_file))

    def kareboot3(self, call: Call) -> int:
        """Reboot, and show how it goes on, until it has ended."""
        given = self._given(call, options.kareboot_parser())
        if given is None:
            return 0
        is_named = given.reboot_kind == "recorded_env"
        nodes = self._named_nodes(call, given, options.check_environment if is_named else None)
        environment = self._environment(call, given) if is_named else None
        self._keys(call, given.key)
        return self._work(call, given, lambda: self._kadeploy.reboot(
            nodes, self._user, given.reboot_kind, given.reboot_level, environment=environment, vlan=given.vlan, level=given.verbose_level))

    def kapower3(self, call: Call) -> int:
        """Switch nodes on or off, or ask whether they are."""
        given = self._given(call, options.kapower_parser())
        if given is None:
            return 0
        if given.operation is None:
            raise Failure(1, "You must choose an operation")
        nodes = self._named_nodes(call, given)
        return self._work(call, given, lambda: self._kadeploy.power(nodes, self._user, given.operation, given.verbose_level))

    def _named_nodes(self, call: Call, given: argparse.Namespace, check: Callable[[argparse.Namespace], None] | None = None) -> list[str]:
        """Its nodes; makes the files for the lists of those at the end."""
        for file in options.output_files(given):
            call.write(file, "")
        if given.script and not os.access(call.path(given.script), os.X_OK):
            raise Failure(1, f"Option parsing error: invalid argument: {given.script}: no program")
        nodes = options.named_nodes(given, call.read)
        if check is not None:
            check(given)
        self._kadeploy.check_server()
        self._kadeploy.check_known(nodes)
        return nodes

    def _work(self, call: Call, given: argparse.Namespace, begin: Callable[[], Workflow]) -> int:
        if given.dry_run:
            return 0
        workflow = begin()
        if given.write_workflow_id:
            call.write(given.write_workflow_id, workflow.wid)
        if not given.wait:
            resource = workflow.kind.verb.lower() if workflow.wid[0] != "D" else "deployment"
            call.out(f"{workflow.wid} http://kadeploy.{self._kadeploy.site}.grid5000.fr:{PORT}/{resource}/{workflow.wid}\n")
            return 0
        if not self._follow(call, workflow, f"[{self._kadeploy.site}]    " if given.multi_server else ""):
            return 1
        for file, listed in ((given.output_ok_nodes, workflow.ok), (given.output_ko_nodes, list(workflow.ko))):
            if file:
                call.write(file, "".join(f"{node}\n" for node in listed))
        if given.script:
            call.run(os.path.join(call.folder, given.script))
        return 0

    def _follow(self, call: Call, workflow: Workflow, prefix: str) -> bool:
        """Show what is said; False if it was interrupted, and so cancelled.  A caller that is just gone changes nothing."""
        seen = 0
        while True:
            ended = workflow.done.is_set()
            text, seen = workflow.said(seen)
            call.out("".join(prefix + line for line in text.splitlines(keepends=True)))
            if ended:
                return True
            if call.is_interrupted(self._kadeploy.behaviour.polling):
                self._kadeploy.cancel(workflow.wid)
                call.out("\nSIGINT trapped\n")
                return False

    def _environment(self, call: Call, given: argparse.Namespace) -> Environment:
        if getattr(given, "env_file", None):
            try:
                return described(call.read_or_fetch(given.env_file), self._user)
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
        return call.read_or_fetch(file), file

    # -- questions ----------------------------------------------------------------------------------------------------------------------

    def kanodes3(self, call: Call) -> int:
        """What nodes run, and what is done to them."""
        given = self._given(call, options.kanodes_parser())
        if given is None:
            return 0
        nodes = options.machines(given, call.read)
        self._kadeploy.check_server()
        self._kadeploy.check_known(nodes)
        if given.workflow:
            found = self._kadeploy.find(given.workflow)
            if found is None:
                raise server_error(1, f"Invalid workflow ID -- {given.workflow}")
            call.out(dump(found))
            return 0
        letters = [letter for name, letter in LISTS.items() if getattr(given, name) or given.get_all]
        if letters:
            call.out(dump(self._kadeploy.running(letters)))
        elif given.get_status or nodes:
            call.out(dump(self._kadeploy.states(nodes or self._kadeploy.nodes)))
        else:
            raise Failure(1, "You must choose an operation")
        return 0

    def kaconsole3(self, call: Call) -> int:
        """The console of one node."""
        get, words = short_options(call, "m:hv", ("machine=", "help", "version"), {"m": "machine", "h": "help", "v": "version"})
        if get("help") or get("version"):
            call.out(f"Kadeploy version: {VERSION}\n" if get("version") else USAGE.format("kaconsole3"))
            return 0
        nodes = [node for text in (*get("machine"), *words) for node in expand(text)]
        if not nodes:
            raise Failure(1, "No node is chosen")
        if len(nodes) > 1:
            raise Failure(1, "Only one node is allowed")
        self._kadeploy.check_server()
        self._kadeploy.check_known(nodes)
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
        with self._kadeploy.console(nodes[0], self._user):
            console.relay(call, enter, nodes[0], system)
        call.out("\r\n[Kaconsole] Connection closed\r\n")
        return 0
