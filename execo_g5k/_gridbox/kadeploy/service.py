"""The Kadeploy server of one site: who may deploy, what runs, and what it says.  kadeploy3 and the API of the box are its clients."""

from __future__ import annotations

import threading
import time

from execo.hostset import fold
from execo.log import logger

from .environments import Environments
from .faults import MESSAGES
from .standin import MACROS, Run, final_lists, new_id, server_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from ..site import SiteOar
    from ..vlans import Vlans
    from .environments import Environment
    from .faults import Behaviour
    from .systems import Systems

    Json = dict[str, Any]

CANCELLED = "The deployment was cancelled"
WATCH_SECONDS = 0.25
"""So often OAR is asked whether the jobs of deployed nodes have ended."""
HOLDING = ("running", "launching", "tolaunch", "finishing", "suspended", "resuming")
"""States of jobs that have their nodes."""
STOP_SECONDS = 30.0


class Workflow:
    """One deployment."""

    def __init__(self, user: str, site: str, nodes: Sequence[str], environment: Environment, vlan: str | None, date: float) -> None:
        self.wid = new_id()
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

    @property
    def status(self) -> str:
        """In the words of the API."""
        if not self.done.is_set():
            return "processing"
        return "canceled" if self.cancelled.is_set() else "terminated"

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


class _Steps(Run):
    """The steps of a deployment, done to nodes."""

    def __init__(self, workflow: Workflow, kadeploy: Kadeploy, keys: str, level: int) -> None:
        super().__init__({}, level)
        self._workflow = workflow
        self._kadeploy = kadeploy
        self._keys = keys
        self._bad: dict[str, str] = {}
        self._lost = kadeploy.behaviour.draw(workflow.nodes)

    def say(self, prefix: str, text: str) -> None:
        self._workflow.say(prefix + text)

    def macros(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        if self._workflow.vlan is None:
            return MACROS
        *before, (macro, micros) = MACROS
        return (*before, (macro, (*micros[:-1], "set_vlan", micros[-1])))

    def fails(self, node: str, macro: str, micro: str) -> str | None:
        return self._bad.pop(node, None)

    def _ordered(self, node: str, macro: str, micro: str) -> str | None:
        lost = self._lost.get(node)
        if lost is not None and lost[:2] == (macro, micro) and lost[2]:
            self._lost[node] = (macro, micro, lost[2] - 1)
            return MESSAGES.get(micro, f"The step {micro} failed")
        return self._kadeploy.behaviour.next_failure(node, macro, micro)

    def work(self, nodes: list[str], macro: str, micro: str) -> None:
        workflow = self._workflow
        workflow.enter(nodes, macro, micro)
        if not workflow.cancelled.wait(self._kadeploy.behaviour.seconds_of(micro)):
            bad = {node: message for node in nodes if (message := self._ordered(node, macro, micro)) is not None}
            good = [node for node in nodes if node not in bad]
            try:
                bad |= self._kadeploy.do(workflow, good, macro, micro, self._keys)
            except Exception as error:          # the node is at fault, not who deploys
                logger.error("Grid'5000 in a box: %s of %s: %r", micro, fold(good), error)
                bad |= dict.fromkeys(good, f"{type(error).__name__}: {error}")
            self._bad |= bad
        if workflow.cancelled.is_set():
            self._bad |= dict.fromkeys(nodes, CANCELLED)


class Kadeploy:
    """Of one site.  Any thread may call the methods.

    :param default_key: lines of authorized_keys of the user of the box.
    """

    def __init__(self, site: str, nodes: Iterable[str], oar: SiteOar, systems: Systems, vlans: Vlans, behaviour: Behaviour,
                 clock: Callable[[], float], default_key: str) -> None:
        self.site = site
        self.nodes = list(nodes)
        self.oar = oar
        self.systems = systems
        self.vlans = vlans
        self.behaviour = behaviour
        self.clock = clock
        self.default_key = default_key
        self.environments = Environments()
        self._lock = threading.Lock()
        self._workflows: dict[str, Workflow] = {}
        self._busy: set[str] = set()
        self._job_of: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._watch: threading.Thread | None = None

    def start_watch(self) -> None:
        """Have an eye on jobs from now on."""
        self._watch = threading.Thread(target=self._watch_jobs, name=f"{self.site}-kadeploy-jobs", daemon=True)
        self._watch.start()

    # -- questions ----------------------------------------------------------------------------------------------------------------------

    def deployable(self, user: str) -> dict[str, int]:
        """{node: job} of the running deploy jobs of a user."""
        return {node: job["uid"] for job in self.oar.jobs() if job["state"] == "running" and job["user"] == user
                and any(str(kind).partition("=")[0] == "deploy" for kind in job.get("types") or ())
                for node in job.get("assigned_nodes", ())}

    def workflows(self) -> list[Workflow]:
        """Newest first."""
        with self._lock:
            return list(reversed(self._workflows.values()))

    # -- deployments --------------------------------------------------------------------------------------------------------------------

    def check_nodes(self, nodes: Sequence[str], user: str) -> dict[str, int]:
        """:returns: {node: job}
        :raises Failure: if one is not his to deploy.
        """
        mine = self.deployable(user)
        if foreign := sorted(set(nodes) - set(mine)):
            raise server_error(6, f"Insufficient rights -- You do not have sufficient rights on all the nodes: {fold(foreign)}")
        return mine

    def deploy(self, nodes: Sequence[str], environment: Environment, user: str, *, keys: str = "", vlan: str | None = None, level: int = 3,
              key_file: str | None = None, asked: Mapping[str, Any] | None = None) -> Workflow:
        """Begin a deployment; returns at once.

        :param keys: lines of authorized_keys.
        :param key_file: where they are from, to be told.
        :raises Failure: if it is refused.
        """
        jobs = self.check_nodes(nodes, user)
        if vlan is not None:
            self._check_vlan(vlan, nodes, user)
        with self._lock:
            busy = [node for node in nodes if node in self._busy]
            chosen = [node for node in nodes if node not in self._busy]
            if not chosen or self._stopping.is_set():
                raise server_error(14, f"Nothing modified -- The nodes {fold(busy)} are already involved in deployment")
            self._busy.update(chosen)
            self._job_of.update((node, jobs[node]) for node in chosen)
            workflow = Workflow(user, self.site, chosen, environment, vlan, self.clock())
            workflow.asked = dict(asked or {})
            self._workflows[workflow.wid] = workflow
            thread = threading.Thread(target=self._run, args=(workflow, keys, level), name=f"{self.site}-kadeploy", daemon=True)
            self._threads = [*(other for other in self._threads if other.is_alive()), thread]
        workflow.say(f"Deployment #{workflow.wid} started")
        if key_file and level in (3, 4):
            workflow.say(f"Grab the key file {key_file}")
        image = environment.others.get("image")
        workflow.say(f"Grab the tarball file {image['file'] if isinstance(image, dict) else 'server:///unknown'}")
        if busy:
            workflow.say(f"The nodes {fold(busy)} are already involved in deployment, let's discard them")
        workflow.say(f"Launching a deployment on {fold(chosen)}")
        thread.start()
        return workflow

    def _check_vlan(self, vlan: str, nodes: Sequence[str], user: str) -> None:
        problem = self.vlans.problem(self.site, user, vlan, nodes)
        if problem:
            raise server_error(9, f"Invalid VLAN -- {problem}")

    def _run(self, workflow: Workflow, keys: str, level: int) -> None:
        steps = _Steps(workflow, self, keys, level)
        began = time.time()
        try:
            steps.go(list(workflow.nodes), "", 0, 0, 0, began)
        except Exception as error:              # none of it is the fault of who deploys
            logger.exception("Grid'5000 in a box: deployment %s:", workflow.wid)
            workflow.say(f"[Internal Server Error] {error}")
        told = {node: steps.ko.get(node, CANCELLED) for node in workflow.nodes if node not in steps.ok}
        for cluster in dict.fromkeys(node.rpartition("-")[0] for node in workflow.nodes):
            workflow.say(f"End of deployment on cluster {cluster} after {int(time.time() - began)}s")
        workflow.say(f"Deployment #{workflow.wid} done")
        workflow.say("")
        workflow.ok = [node for node in workflow.nodes if node in steps.ok]
        workflow.ko = told
        for line in final_lists(workflow.ok, told):
            workflow.say(line)
        workflow.updated = self.clock()
        with self._lock:
            self._busy.difference_update(workflow.nodes)
        workflow.done.set()

    def do(self, workflow: Workflow, nodes: list[str], macro: str, micro: str, keys: str) -> dict[str, str]:
        """What a step does to nodes: {those that it lost: why}."""
        last = macro == MACROS[-1][0]
        if micro == "reboot":
            self.systems.shut_down(nodes)
            self.vlans.move(self.site, nodes, None)
        elif micro == "manage_user_post_install":
            self.systems.write(nodes, workflow.environment, keys)
        elif micro == "wait_reboot" and last:
            lost = self._boot(nodes)
            if workflow.vlan is not None:
                self.vlans.move(self.site, [node for node in nodes if node not in lost], workflow.vlan)
            return lost
        return {}

    def _boot(self, nodes: list[str]) -> dict[str, str]:
        try:
            self.systems.boot(nodes)
            return {}
        except (OSError, RuntimeError):         # one of them, so each has its own try
            lost = {}
        for node in nodes:
            try:
                self.systems.boot([node])
            except (OSError, RuntimeError) as error:
                lost[node] = f"Unreachable after the reboot ({error})"
        return lost

    def cancel(self, wid: str) -> None:
        """Have a deployment end; its nodes stay as they are.  Returns when it has ended."""
        with self._lock:
            workflow = self._workflows[wid]
        if not workflow.done.is_set():
            workflow.cancelled.set()
            workflow.done.wait(STOP_SECONDS)

    # -- the end of jobs ----------------------------------------------------------------------------------------------------------------

    def _watch_jobs(self) -> None:
        """Nodes go back to the default environment when the job that deployed them, or that put them into a VLAN, has ended."""
        pause = WATCH_SECONDS
        while not self._stopping.wait(pause):
            mine = (set(self.systems.touched()) | set(self.vlans.moved(self.site))).intersection(self.nodes)
            if not mine:
                continue
            began = time.monotonic()
            try:
                self._restore_free(mine)
            except Exception as error:
                if not self._stopping.is_set():
                    logger.error("Grid'5000 in a box: default environment on %s: %r", self.site, error)
            pause = max(WATCH_SECONDS, 10 * (time.monotonic() - began))         # a real OAR takes its time

    def _restore_free(self, mine: set[str]) -> None:
        held = {(node, job["uid"]) for job in self.oar.jobs() if job["state"] in HOLDING for node in job.get("assigned_nodes", ())}
        held_by_any = {node for node, _ in held}
        with self._lock:
            free = sorted(node for node in mine - self._busy
                          if ((node, self._job_of[node]) not in held if node in self._job_of else node not in held_by_any))
            self._busy.update(free)
        if free:
            try:
                self.restore(free)
            finally:
                with self._lock:
                    self._busy.difference_update(free)
                    for node in free:
                        self._job_of.pop(node, None)

    def restore(self, nodes: Sequence[str]) -> None:
        """The default environment and the default VLAN."""
        touched = set(self.systems.touched())
        again = [node for node in nodes if node in touched]
        self.vlans.move(self.site, nodes, None)
        if again:
            logger.debug("Grid'5000 in a box: the default environment for %s", fold(again))
            self.systems.shut_down(again)
            self.systems.reset(again)
            self.systems.boot(again)
            self.systems.forget(again)

    def stop(self) -> None:
        """Returns when nothing of it runs."""
        self._stopping.set()
        for workflow in self.workflows():
            workflow.cancelled.set()
        with self._lock:
            threads = [*self._threads, *([self._watch] if self._watch else [])]
        for thread in threads:
            if thread.ident is not None:
                thread.join(STOP_SECONDS)
