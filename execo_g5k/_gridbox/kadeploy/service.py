"""The Kadeploy server of one site: who may deploy, what runs, and what it says.  kadeploy3 and the API of the box are its clients."""

from __future__ import annotations

import contextlib
import threading
import time

from execo.hostset import fold
from execo.log import logger

from .environments import Environments
from .options import Failure, server_error
from .standin import DEPLOY, POWER, REBOOT, final_lists, new_id
from .workflow import CANCELLED, Deploying, Powering, Rebooting, Site, Workflow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from ..site import SiteOar
    from ..vlans import Vlans
    from .environments import Environment
    from .faults import Behaviour
    from .standin import Kind
    from .systems import Systems
    from .workflow import Steps

    Json = dict[str, Any]

WATCH_SECONDS = 0.25
"""So often OAR is asked whether the jobs of deployed nodes have ended."""
HOLDING = ("running", "launching", "tolaunch", "finishing", "suspended", "resuming")
"""States of jobs that have their nodes."""
STOP_SECONDS = 30.0
STATES = {DEPLOY: ("deploying", "deployed", "deploy_failed"), REBOOT: ("rebooting", "rebooted", "reboot_failed"),
          POWER: ("powering", "powered", "power_failed")}
"""What is said of a node meanwhile, then, and if it failed."""


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
        self._site = Site(systems, vlans, behaviour)
        self._lock = threading.Lock()
        self._workflows: dict[str, Workflow] = {}
        self._consoles: dict[str, Json] = {}
        self._states: dict[str, tuple[str, str]] = {}
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

    def workflows(self, kind: Kind = DEPLOY) -> list[Workflow]:
        """Newest first."""
        with self._lock:
            return [workflow for workflow in reversed(self._workflows.values()) if workflow.kind is kind]

    def running(self, kinds: Iterable[str]) -> list[Json]:
        """What goes on, as Kadeploy shows it.

        :param kinds: letters of their ids; of consoles, C.
        """
        letters = tuple(kinds)
        with self._lock:
            workflows = [one for one in self._workflows.values() if one.wid.startswith(letters) and not one.done.is_set()]
            return [*(one.shown(self.clock()) for one in workflows), *(self._consoles.values() if "C" in letters else ())]

    def find(self, wid: str) -> Json | None:
        """One, also when it has ended."""
        with self._lock:
            return self._consoles.get(wid) or (self._workflows[wid].shown(self.clock()) if wid in self._workflows else None)

    def states(self, nodes: Iterable[str]) -> dict[str, Json]:
        """What Kadeploy says of nodes: what was done to them last, by whom, and their environment."""
        with self._lock:
            known = dict(self._states)
        shown: dict[str, Json] = {}
        for node in nodes:
            state, user = known.get(node, ("prod_env", None))
            environment = self.systems.environment_of(node)
            shown[node] = {"state": state, **({"user": user} if user else {}),
                           **({"environment": environment.shown()} if environment is not None else {})}
        return shown

    @contextlib.contextmanager
    def console(self, node: str, user: str) -> Iterator[None]:
        """A console is open, which `running` shows."""
        wid = new_id("C")
        with self._lock:
            self._consoles[wid] = {"wid": wid, "user": user, "start_time": int(self.clock()), "nodes": [node]}
        try:
            yield
        finally:
            with self._lock:
                del self._consoles[wid]

    def check_server(self) -> None:
        """:raises Failure: if the server does not answer."""
        if self.site in self.behaviour.down:
            raise Failure(1, f"The kadeploy.{self.site}.grid5000.fr server is unreachable")

    def check_known(self, nodes: Iterable[str]) -> None:
        """:raises Failure: if it does not have one of these."""
        if unknown := [node for node in nodes if node not in self.nodes]:
            raise Failure(1, f"The nodes {fold(unknown)} does not belongs to any server")

    # -- what is done to nodes ----------------------------------------------------------------------------------------------------------

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
        before = []
        if key_file and level in (3, 4):
            before.append(f"Grab the key file {key_file}")
        image = environment.others.get("image")
        before.append(f"Grab the tarball file {image['file'] if isinstance(image, dict) else 'server:///unknown'}")
        return self._begin(DEPLOY, nodes, user, lambda workflow: Deploying(workflow, self._site, level, keys), environment=environment,
                           vlan=vlan, asked=asked, before=before)

    def reboot(self, nodes: Sequence[str], user: str, how: str = "simple", hard: str = "soft", *, environment: Environment | None = None,
               vlan: str | None = None, level: int = 3) -> Workflow:
        """Begin to reboot nodes; see `Rebooting`.

        :param environment: what they must boot.
        :raises Failure: if it is refused.
        """
        return self._begin(REBOOT, nodes, user, lambda workflow: Rebooting(workflow, self._site, level, how, hard), environment=environment,
                           vlan=vlan)

    def power(self, nodes: Sequence[str], user: str, operation: str, level: int = 3) -> Workflow:
        """Begin to switch nodes; see `Powering`.

        :raises Failure: if it is refused.
        """
        return self._begin(POWER, nodes, user, lambda workflow: Powering(workflow, self._site, level, operation))

    def _begin(self, kind: Kind, nodes: Sequence[str], user: str, make: Callable[[Workflow], Steps], *,
               environment: Environment | None = None, vlan: str | None = None, asked: Mapping[str, Any] | None = None,
               before: Iterable[str] = ()) -> Workflow:
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
            workflow = Workflow(kind, user, self.site, chosen, environment, vlan, self.clock())
            workflow.asked = dict(asked or {})
            steps = make(workflow)
            self._workflows[workflow.wid] = workflow
            if not (isinstance(steps, Powering) and steps.only_asks):
                self._states.update(dict.fromkeys(chosen, (STATES[kind][0], user)))
            thread = threading.Thread(target=self._run, args=(workflow, steps), name=f"{self.site}-kadeploy", daemon=True)
            self._threads = [*(other for other in self._threads if other.is_alive()), thread]
        workflow.say(f"{kind.name.capitalize()} #{workflow.wid} started")
        for line in before:
            workflow.say(line)
        if busy:
            workflow.say(f"The nodes {fold(busy)} are already involved in deployment, let's discard them")
        workflow.say(f"Launching a {kind.name} on {fold(chosen)}")
        thread.start()
        return workflow

    def _check_vlan(self, vlan: str, nodes: Sequence[str], user: str) -> None:
        problem = self.vlans.problem(self.site, user, vlan, nodes)
        if problem:
            raise server_error(9, f"Invalid VLAN -- {problem}")

    def _run(self, workflow: Workflow, steps: Steps) -> None:
        kind, began = workflow.kind, time.time()
        try:
            steps.go(list(workflow.nodes), "", 0, 0, 0, began)
        except Exception as error:              # none of it is the fault of who deploys
            logger.exception("Grid'5000 in a box: %s %s:", kind.name, workflow.wid)
            workflow.say(f"[Internal Server Error] {error}")
        told = {node: steps.ko.get(node, CANCELLED) for node in workflow.nodes if node not in steps.ok}
        for cluster in dict.fromkeys(node.rpartition("-")[0] for node in workflow.nodes):
            workflow.say(f"End of {kind.name} on cluster {cluster} after {int(time.time() - began)}s")
        workflow.say(f"{kind.name.capitalize()} #{workflow.wid} done")
        workflow.say("")
        workflow.ok = [node for node in workflow.nodes if node in steps.ok]
        workflow.ko = told
        only_asks = isinstance(steps, Powering) and steps.only_asks
        if isinstance(steps, Powering) and steps.states:
            for line in ("---", *(f"{node}: {steps.states[node]}" for node in workflow.nodes if node in steps.states), "---"):
                workflow.say(line)
        for line in final_lists(workflow.ok, told, kind):
            workflow.say(line)
        workflow.updated = self.clock()
        _, done, failed = STATES[kind]
        with self._lock:
            if not only_asks:
                lost = "aborted" if workflow.cancelled.is_set() else failed
                self._states.update((node, (lost if node in told else done, workflow.user)) for node in workflow.nodes)
            self._busy.difference_update(workflow.nodes)
        workflow.done.set()

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
            with self._lock:
                had = set(self._job_of)
            mine = (had | set(self.systems.touched()) | set(self.vlans.moved(self.site))).intersection(self.nodes)
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
        with self._lock:
            job_of = dict(self._job_of)
        held = {(node, job["uid"]) for job in self.oar.jobs() if job["state"] in HOLDING for node in job.get("assigned_nodes", ())}
        held_by_any = {node for node, _ in held}
        with self._lock:
            over = {node for node in mine if ((node, job_of[node]) not in held if node in job_of else node not in held_by_any)
                    and self._job_of.get(node) == job_of.get(node)}         # another job's by now: OAR was asked before it began
            for workflow in self._workflows.values():
                if not workflow.done.is_set() and (lost := over.intersection(workflow.nodes)):
                    workflow.take({node: f"The job {self._job_of[node]} has ended" for node in lost})
            free = sorted(over - self._busy)
            self._busy.update(free)
        if free:
            try:
                self.restore(free)
            finally:
                with self._lock:
                    self._busy.difference_update(free)
                    for node in free:
                        self._job_of.pop(node, None)
                        self._states.pop(node, None)

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
        with self._lock:
            for workflow in self._workflows.values():
                workflow.cancelled.set()
            threads = [*self._threads, *([self._watch] if self._watch else [])]
        for thread in threads:
            if thread.ident is not None:
                thread.join(STOP_SECONDS)
