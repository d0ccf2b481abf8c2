"""What the Kadeploy server of a site does to nodes, and what it says: deployments, reboots, power operations."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from execo.hostset import fold
from execo.log import logger

from .faults import MESSAGES
from .options import LEVELS
from .standin import DEPLOY, MACROS, POWER, REBOOT, Run, new_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from ..vlans import Vlans
    from .environments import Environment
    from .faults import Behaviour
    from .standin import Kind
    from .systems import Systems

    Json = dict[str, Any]

CANCELLED = "The deployment was cancelled"
REBOOT_MACROS = {"simple": "Simple", "set_pxe": "SetPXE", "deploy_env": "DeployEnv", "recorded_env": "RecordedEnv"}
"""{kind of reboot: its macro-step}."""


class Workflow:
    """A deployment, a reboot or a power operation.

    :param environment: the one that is deployed or booted, if it is named.
    """

    def __init__(self, kind: Kind, user: str, site: str, nodes: Sequence[str], environment: Environment | None, vlan: str | None,
                 date: float) -> None:
        self.kind = kind
        self.wid = new_id(kind.letter)
        self.user = user
        self.site = site
        self.nodes = list(nodes)
        self.environment = environment
        self.vlan = vlan
        self.created = self.updated = date
        self.ok: list[str] = []
        self.ko: dict[str, str] = {}
        self.done = threading.Event()
        self.cancelled = threading.Event()
        self.taken: dict[str, str] = {}
        """{node that is not his any more: why}; it fails."""
        self.asked: Json = {}
        """What the API was asked for."""
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._steps: dict[str, tuple[str, str]] = {}

    def say(self, text: str) -> None:
        """Print a line."""
        with self._lock:
            self._lines.append(f"{text}\n")

    def said(self, since: int) -> tuple[str, int]:
        """(what was said since, where to go on)."""
        with self._lock:
            return "".join(self._lines[since:]), len(self._lines)

    def enter(self, nodes: Iterable[str], macro: str, micro: str) -> None:
        """They are in this step now."""
        with self._lock:
            self._steps.update(dict.fromkeys(nodes, (macro, micro)))

    def take(self, nodes: Mapping[str, str]) -> None:
        """Have it lose nodes, at the end of their step; at once if they are all.

        :param nodes: {node: why}.
        """
        self.taken |= nodes
        if self.taken.keys() >= set(self.nodes):
            self.cancelled.set()

    @property
    def status(self) -> str:
        """In the words of the API."""
        if not self.done.is_set():
            return "processing"
        return "canceled" if self.cancelled.is_set() else "terminated"

    def shown(self, date: float) -> Json:
        """As Kadeploy shows it."""
        found: Json = {"wid": self.wid, "user": self.user, "done": self.done.is_set(), "error": False, "start_time": int(self.created)}
        if self.environment is not None:
            found["environment"] = self.environment.shown()
        if self.vlan is not None:
            found["vlan"] = self.vlan
        left = [] if self.done.is_set() else self.nodes
        found["nodes"] = {"ok": self.ok, "ko": list(self.ko), "processing": left}
        found["time"] = round((self.updated if self.done.is_set() else date) - self.created, 2)
        return found

    def result(self) -> Json:
        """{node: where it is, or how it ended}."""
        with self._lock:
            steps = dict(self._steps)
        found: Json = {}
        for node in self.nodes:
            macro, micro = steps.get(node, (None, None))
            if not self.done.is_set():
                found[node] = {"macro": macro, "micro": micro, "state": "IN_PROGRESS"}
            elif node in self.ok:
                found[node] = {"macro": None, "micro": None, "state": "OK"}
            else:
                where, _, message = self.ko.get(node, "").partition(": ")
                macro, _, micro = where.partition("-")
                found[node] = {"macro": macro or None, "micro": micro or None, "state": "KO", "error": message or None}
        return found


@dataclass(frozen=True)
class Site:
    """What steps are done with."""

    systems: Systems
    vlans: Vlans
    behaviour: Behaviour


class Steps(Run):
    """The steps of a workflow, done to nodes."""

    def __init__(self, workflow: Workflow, site: Site, level: int) -> None:
        super().__init__({}, level)
        self.workflow = workflow
        self.systems, self.vlans, self.behaviour = site.systems, site.vlans, site.behaviour
        self._bad: dict[str, str] = {}
        self._lost: dict[str, tuple[str, str, int]] = {}

    def say(self, prefix: str, text: str) -> None:
        self.workflow.say(prefix + text)

    def fails(self, node: str, macro: str, micro: str) -> str | None:
        return self._bad.pop(node, None)

    def _ordered(self, node: str, macro: str, micro: str) -> str | None:
        lost = self._lost.get(node)
        if lost is not None and lost[:2] == (macro, micro) and lost[2]:
            self._lost[node] = (macro, micro, lost[2] - 1)
            return MESSAGES.get(micro, f"The step {micro} failed")
        return self.behaviour.next_failure(node, macro, micro)

    def work(self, nodes: list[str], macro: str, micro: str) -> None:
        workflow = self.workflow
        workflow.enter(nodes, macro, micro)
        if not workflow.cancelled.wait(self.behaviour.seconds_of(micro)):
            bad = {node: message for node in nodes if (message := self._ordered(node, macro, micro)) is not None}
            good = [node for node in nodes if node not in bad]
            try:
                bad |= self.do(good, macro, micro)
            except Exception as error:          # the node is at fault, not who deploys
                logger.error("Grid'5000 in a box: %s of %s: %r", micro, fold(good), error)
                bad |= dict.fromkeys(good, f"{type(error).__name__}: {error}")
            self._bad |= bad
        if workflow.cancelled.is_set():
            self._bad |= dict.fromkeys(nodes, CANCELLED)
        self._bad |= {node: workflow.taken[node] for node in nodes if node in workflow.taken}

    def do(self, nodes: list[str], macro: str, micro: str) -> dict[str, str]:
        """What a step does to nodes: {those that it lost: why}."""
        raise NotImplementedError

    def boot(self, nodes: list[str]) -> dict[str, str]:
        """{those that do not boot: why}; the others are in the VLAN that was asked for."""
        lost: dict[str, str] = {}
        off = [node for node in nodes if not self.systems.is_on(node)]
        try:
            self.systems.boot(off)
        except (OSError, RuntimeError):         # one of them, so each has its own try
            for node in off:
                try:
                    self.systems.shut_down([node])      # it may be up, but not in its VLAN
                    self.systems.boot([node])
                except (OSError, RuntimeError) as error:
                    lost[node] = f"Unreachable after the reboot ({error})"
        if self.workflow.vlan is not None:
            self.vlans.move(self.workflow.site, [node for node in nodes if node not in lost], self.workflow.vlan)
        return lost


class Deploying(Steps):
    """The steps of a deployment.

    :param keys: lines of authorized_keys.
    """

    kind = DEPLOY

    def __init__(self, workflow: Workflow, site: Site, level: int, keys: str) -> None:
        super().__init__(workflow, site, level)
        self._keys = keys
        self._lost = self.behaviour.draw(workflow.nodes)

    def macros(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        if self.workflow.vlan is None:
            return MACROS
        *before, (macro, micros) = MACROS
        return (*before, (macro, (*micros[:-1], "set_vlan", micros[-1])))

    def do(self, nodes: list[str], macro: str, micro: str) -> dict[str, str]:
        assert self.workflow.environment is not None
        if micro == "reboot":
            self.systems.shut_down(nodes)
            self.vlans.move(self.workflow.site, nodes, None)
        elif micro == "manage_user_post_install":
            self.systems.write(nodes, self.workflow.environment, self._keys)
        elif micro == "wait_reboot" and macro == MACROS[-1][0]:
            return self.boot(nodes)
        return {}


class Rebooting(Steps):
    """The steps of a reboot.

    :param how: one of `options.REBOOTS`; in "deploy_env", as during a deployment, only Kadeploy gets in.
    :param hard: one of `options.LEVELS`.
    """

    kind = REBOOT

    def __init__(self, workflow: Workflow, site: Site, level: int, how: str, hard: str) -> None:
        super().__init__(workflow, site, level)
        self._how = how
        self._hard = hard

    def macros(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        micros = [() if self._how == "simple" else ("switch_pxe",), ("reboot",), ("set_vlan",) if self.workflow.vlan else (),
                  ("wait_reboot",), ("send_key_in_deploy_env",) if self._how == "deploy_env" else ()]
        return ((REBOOT_MACROS[self._how], tuple(micro for part in micros for micro in part)),)

    def reboot_level(self, attempt: int) -> str:
        return LEVELS[max(attempt, LEVELS.index(self._hard))]

    def do(self, nodes: list[str], macro: str, micro: str) -> dict[str, str]:
        if micro == "reboot":
            self.systems.shut_down(nodes)
        if micro != "wait_reboot" or self._how == "deploy_env":
            return {}
        wanted = self.workflow.environment
        lost = {node: MESSAGES["wait_reboot"] for node in nodes if wanted is not None and self.systems.environment_of(node) != wanted}
        return lost | self.boot([node for node in nodes if node not in lost])


class Powering(Steps):
    """Nodes on or off, or the question whether they are.

    :param operation: "on", "off" or "status".
    """

    kind = POWER

    def __init__(self, workflow: Workflow, site: Site, level: int, operation: str) -> None:
        super().__init__(workflow, site, level)
        self._operation = operation
        self.states: dict[str, str] = {}
        """What was found, by "status"."""

    @property
    def only_asks(self) -> bool:
        return self._operation == "status"

    def macros(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return ((self._operation.capitalize(), ("power",)),)

    def do(self, nodes: list[str], macro: str, micro: str) -> dict[str, str]:
        if self._operation == "on":
            return self.boot(nodes)
        if self._operation == "off":
            self.systems.shut_down(nodes)
        else:
            self.states |= {node: "on" if self.systems.is_on(node) else "off" for node in nodes}
        return {}
