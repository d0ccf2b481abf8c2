"""Nodes of Grid'5000 for campaigns: reserved by planning, within the charter, again and again."""

from __future__ import annotations

import copy
import threading
import time

from execo.host import Host
from execo.hostset import fold
from execo.log import logger
from execo.time_utils import format_date, format_duration, get_seconds
from execo.utils import singleton_to_collection

from ._clock import now
from ._kadeploy.command import vlan_of
from ._oar.frontends import place, seconds_of
from ._oar.grid import GridJobs, oardelgrid, oarsubgrid
from ._oar.jobs import ENDED, UNKNOWN_ANSWERS, look_at, nodes_of_jobs, oardel
from ._testbed.networks import add_networks, checked_subnets, checked_vlan, get_addresses, get_vlans
from ._testbed.plan import Slot, Wanted, slots
from .config import g5k_configuration
from .kadeploy import Deployment
from .kadeploy import deploy as deploy_hosts
from .planning import get_jobs_specs
from .utils import get_kavlan_host_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import timedelta
    from typing import Any, Literal

    from ._oar.parse import JobFacts
    from .oar import OarSubmission

__all__ = ["G5kTestbed"]

ASK_SECONDS = 30.0
"""So long a frontend has to say how a job is."""


class G5kTestbed:
    """Nodes of one or several sites, from the first slot of the planning on; for `execo_engine.SweepEngine`.

    :param resources: ``{host, cluster, site or "grid5000": number of hosts}``, or a number of hosts of the whole grid.
    :param walltime: duration of a reservation.
    :param where: only hosts for which this holds: ``"cores >= 8 and memory >= 32GB"``, see `execo_g5k.api_utils.get_g5k_hosts`.
    :param only: ``"nights"``: only in nights, at week-ends and on holidays; ``"any"``: at any time.
    :param charter: pass over slots in which the jobs would break the charter.
    :param job_type: one or several types of the jobs, such as ``"deploy"`` or ``"exotic"``.
    :param queue: None: the default one, or that of clusters that are named.
    :param name: of the jobs.
    :param excluded: sites, clusters and hosts that are not to be taken.
    :param tries: when a site refuses, the next slot is tried, so many in all.
    :param environment: name of an environment that is deployed on the hosts, or a `Deployment` without hosts, for more; then the jobs are
        of type ``"deploy"``, and the testbed has `deploy`.  None: the hosts are used as they are.
    :param deploy_options: more arguments of `execo_g5k.deploy`, such as `num_tries` and `through`.
    :param vlan: "kavlan", "kavlan-local" or "kavlan-global": a VLAN of this type for each site, or a global one for all, into which
        `deploy` puts the hosts; needs an environment.
    :param subnets: for virtual machines, ``{"slash_22": 1}``: so many of this size (/22) on each site.
    :param lead: seconds from the request to the earliest start, so that all sites have it in time.
    :param connection_params: how the nodes are reached; None: plain ssh, as those who have whole nodes may.
    :param frontend_connection_params: overlay on `execo_g5k.config.default_frontend_connection_params`.
    :raises ValueError: for numbers or durations that are none.

    The jobs are advance reservations of hosts by name, on all sites at the same date.  The attribute `jobs` has the current ones, as
    `execo_g5k.oarsubgrid` returns them; `start_date` is when they start.  One thread calls the methods, any one `time_left`.
    """

    def __init__(self, resources: Mapping[str, int] | int, walltime: float | str | timedelta, *, where: str | None = None,
                 only: Literal["any", "nights"] = "any", charter: bool = True, job_type: str | Iterable[str] = (), queue: str | None = None,
                 name: str = "execo", excluded: Iterable[str | Host] = (), tries: int = 3, lead: float = 20.0,
                 environment: str | Deployment | None = None, deploy_options: Mapping[str, Any] | None = None,
                 vlan: str | None = None, subnets: Mapping[str, int] | None = None, connection_params: Mapping[str, Any] | None = None,
                 frontend_connection_params: Mapping[str, Any] | None = None) -> None:
        numbers: dict[str, Any] = {"grid5000": resources} if isinstance(resources, int) else dict(resources)
        if not numbers or any(isinstance(number, bool) or not isinstance(number, int) or number < 1 for number in numbers.values()):
            raise ValueError(f"G5kTestbed: expected numbers of hosts, at least 1, found {resources!r}")
        seconds = get_seconds(walltime)
        if not seconds > 0:
            raise ValueError(f"G5kTestbed: expected a walltime of more than 0 s, found {walltime!r}")
        if only not in ("any", "nights"):
            raise ValueError(f"G5kTestbed: only: expected 'any' or 'nights', found {only!r}")
        if tries < 1 or lead < 0:
            raise ValueError(f"G5kTestbed: expected at least 1 try and no negative lead, found {tries!r} and {lead!r}")
        types = tuple(singleton_to_collection(job_type))
        if environment is not None and "deploy" not in types:
            types = (*types, "deploy")
        if environment is None and deploy_options:
            raise ValueError(f"G5kTestbed: deploy_options without an environment: {deploy_options!r}")
        if isinstance(environment, Deployment) and environment.hosts is not None:
            raise ValueError(f"G5kTestbed deploys the hosts that it gets: expected a Deployment without hosts, found {environment!r}")
        if checked_vlan(vlan) is not None and environment is None:
            raise ValueError(f"G5kTestbed: vlan={vlan!r} needs an environment, for hosts are put into a VLAN when they are deployed")
        if vlan is not None and (subnets or (isinstance(environment, Deployment) and environment.vlan is not None)):
            other = "subnets" if subnets else "a Deployment that names one"
            raise ValueError(f"G5kTestbed: expected vlan={vlan!r} or {other}, found both")
        if "besteffort" in types or queue == "besteffort":
            raise ValueError("G5kTestbed reserves in advance, which OAR refuses for besteffort jobs")
        left_out = tuple(Host(one).address for one in singleton_to_collection(excluded))
        self.n_hosts = sum(numbers.values())
        self.walltime: float | None = float(seconds)
        self.connection_params = connection_params
        self.failures: dict[str, str] = {}
        """{address: reason} of the hosts that `deploy` left out."""
        if environment is not None:
            self._deployment = Deployment(env_name=environment) if isinstance(environment, str) else environment
            self._deploy_options = dict(deploy_options or {})
            self.deploy: Callable[[], list[Host]] = self._deploy         # who has none does not deploy
            if connection_params is None:
                self.connection_params = {"user": "root"}
        self.vlans: dict[str, int] = {}
        """{site: id of the VLAN} of the reservation that has begun."""
        self._vlan, self._subnets = vlan, checked_subnets(subnets)
        self._addresses: list[tuple[str, str]] | None = None
        self.jobs: GridJobs = GridJobs()
        self.start_date: float | None = None
        self.wanted = Wanted(numbers, float(seconds), where, only == "nights", charter, queue, types, left_out, lead)
        self._name = name
        self._tries = tries
        self._frontend_params = frontend_connection_params
        self._hosts: list[Host] = []
        self._end: float | None = None
        self._over = False
        self._stop = threading.Event()
        self._watch: threading.Thread | None = None
        self._next_question = 0.0

    def __repr__(self) -> str:
        conditions = [f"where {self.wanted.where}"] if self.wanted.where else []
        conditions += ["only nights"] if self.wanted.nights else []
        jobs = [f"jobs {', '.join(f'{job_id} on {place(site)}' for job_id, site in self.jobs)}"] if self.jobs else []
        return f"G5kTestbed({', '.join([str(self.wanted.resources), str(format_duration(self.wanted.walltime)), *conditions, *jobs])})"

    @property
    def hosts(self) -> list[Host]:
        return list(self._hosts)

    # Reserving

    def reserve(self, prefer: Sequence[str] = ()) -> None:
        """:raises RuntimeError: if there is no slot in the next four weeks, or OAR refuses all that are tried.
        :raises ValueError: for resources that there are not.
        """
        if self.jobs:
            raise RuntimeError(f"{self!r} has a reservation already")
        tried: list[str] = []
        for slot in slots(self.wanted, prefer):
            tried.append(str(format_date(slot.start_date)))
            logger.info("%r: asking for %s at %s", self, ", ".join(host.name for host in slot.hosts), tried[-1])
            jobs = oarsubgrid(self._specs(slot), reservation_date=slot.start_date, frontend_connection_params=self._frontend_params)
            if jobs:
                self._begin(jobs, slot)
                return
            if len(tried) >= self._tries:
                break
        if tried:
            raise RuntimeError(f"OAR refused {self!r} at {', '.join(tried)}: see the log")
        raise RuntimeError(f"{self!r}: there is no such slot in the next four weeks")

    def _specs(self, slot: Slot) -> list[tuple[OarSubmission, str]]:
        specs = get_jobs_specs({host.name: 1 for host in slot.hosts}, name=self._name)
        for spec, _ in specs:
            spec.walltime = self.wanted.walltime
            spec.job_type = list(dict.fromkeys([*singleton_to_collection(spec.job_type), *self.wanted.job_types]))
            spec.queue = self.wanted.queue or spec.queue
        add_networks(specs, self._vlan, self._subnets)
        return specs

    def _begin(self, jobs: GridJobs, slot: Slot) -> None:
        self.jobs = jobs
        self.start_date = slot.start_date
        self._end = slot.start_date + self.wanted.walltime
        self._over = False
        self._stop = threading.Event()
        self._plan_question()

    # Waiting

    def wait(self, timeout: float | None = None) -> bool:
        """:raises RuntimeError: if a job has ended, OAR does not know it any more, or its time has passed.
        :raises OarError: if OAR does not name the nodes of the jobs, or their VLANs.
        """
        if not self.jobs:
            raise RuntimeError(f"{self!r} has no reservation to wait for")
        if self._watch is not None:
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        unknown = 0
        while True:
            pause = self._next_question - time.monotonic()
            left = pause if deadline is None else deadline - time.monotonic()
            if left < pause:
                self._stop.wait(max(left, 0.0))
                return False
            self._stop.wait(max(pause, 0.0))
            answers = self._ask()
            self._plan_question()
            gone = [job for job, (facts, process) in zip(self.jobs, answers, strict=True) if facts is None and process.exit_code == 0]
            unknown = unknown + 1 if gone else 0
            if unknown >= UNKNOWN_ANSWERS:
                raise RuntimeError(f"OAR on {place(gone[0][1])} does not know job {gone[0][0]}")
            for (job_id, site), (facts, _) in zip(self.jobs, answers, strict=True):
                if facts is not None and facts.state in ENDED:
                    raise RuntimeError(f"job {job_id} on {place(site)} is {facts.state} before it began")
            if self._end is not None and now() >= self._end:
                raise RuntimeError(f"{self!r}: its time has passed, and the jobs have not begun, as far as OAR says")
            if all(facts is not None and facts.state == "Running" for facts, _ in answers):
                self._use([facts for facts, _ in answers if facts is not None])
                return True

    def _plan_question(self) -> None:
        """Rarely before the jobs are due: they may be deleted."""
        due = (self.start_date or 0.0) - now()
        usual, tiny = (get_seconds(g5k_configuration[f"{name}_interval"]) for name in ("polling", "tiny_polling"))
        self._next_question = time.monotonic() + max(tiny, min(usual, due))

    def _ask(self) -> list[tuple[JobFacts | None, Any]]:
        return look_at(self.jobs, self._frontend_params, min(ASK_SECONDS, seconds_of(False) or ASK_SECONDS))

    def _use(self, facts: Iterable[JobFacts]) -> None:
        # Of nodes that are down when it begins, an advance reservation is given the others only: OAR knows which.
        self._hosts = nodes_of_jobs(self.jobs, self._frontend_params, seconds_of(False))
        self.vlans = get_vlans(self._places(), self._vlan, self._frontend_params)
        self._learn_end(facts)
        logger.info("%r: %d hosts until %s", self, len(self._hosts), format_date(self._end))
        self._watch = threading.Thread(target=self._watch_jobs, args=(self._stop,), name="execo-g5k-jobs", daemon=True)
        self._watch.start()

    def _deploy(self) -> list[Host]:
        """Deploy the hosts of the reservation; those that are ready.  The others are in `failures`, with reasons.

        :raises RuntimeError: without a reservation that has begun.
        """
        if not self._hosts:
            raise RuntimeError(f"{self!r}: there are no hosts to be deployed")
        deployment = copy.copy(self._deployment)
        deployment.hosts = list(self._hosts)
        if self.vlans:
            deployment.vlan = dict(self.vlans)
        left = self.time_left()
        if left is not None and left <= 0:
            self.failures = {host.address: "the reservation has ended" for host in self._hosts}
            logger.warning("%r: not deployed, for the reservation has ended", self)
            return []
        options: dict[str, Any] = {"node_connection_params": self.connection_params, "deploy_timeout": left,
                                   "frontend_connection_params": self._frontend_params}
        result = deploy_hosts(deployment, **{**options, **self._deploy_options})
        self.failures = result.failures
        if result.undeployed:
            logger.warning("%r: left out: %s", self, fold(result.undeployed))
        return [_reached(host, vlan_of(deployment, [host.address])) for host in self._hosts if host.address in result.deployed]

    def addresses(self) -> list[tuple[str, str]]:
        """(IP address, hardware address) for virtual machines on the hosts: those of the VLANs, or of the subnets; [] without either.

        :raises RuntimeError: without a reservation that has begun.
        :raises OarError: if OAR does not name them.
        """
        if not self._hosts:
            raise RuntimeError(f"{self!r}: there are no hosts, so no addresses")
        if self._addresses is None:     # those of VLANs are made by chance
            self._addresses = get_addresses(self._places(), self.vlans, self._vlan, self._subnets, self._frontend_params)
        return list(self._addresses)

    def _places(self) -> list[tuple[int, str]]:
        return [(job_id, place(site)) for job_id, site in self.jobs]

    # Noticing the end

    def _learn_end(self, facts: Iterable[JobFacts]) -> None:
        """A walltime may be changed while a job runs, and a job may begin late."""
        ends = [job.start_date + job.walltime for job in facts if job.start_date is not None and job.walltime is not None]
        if len(ends) == len(self.jobs):
            self._end = min(ends)

    def _watch_jobs(self, stop: threading.Event) -> None:
        unknown = 0
        while not stop.wait(get_seconds(g5k_configuration["polling_interval"])):
            answers = self._ask()
            if stop.is_set():
                return
            gone = any(facts is None and process.exit_code == 0 for facts, process in answers)
            unknown = unknown + 1 if gone else 0
            ended = [(job_id, site, facts.state) for (job_id, site), (facts, _) in zip(self.jobs, answers, strict=True)
                     if facts is not None and facts.state in ENDED]
            for job_id, site, state in ended:
                logger.info("job %s on %s is %s", job_id, place(site), state)
            if ended or unknown >= UNKNOWN_ANSWERS:
                self._over = True
                return
            self._learn_end(facts for facts, _ in answers if facts is not None)

    def time_left(self) -> float | None:
        """OAR is asked each ``g5k_configuration['polling_interval']``, by a thread, for jobs may be killed, and walltimes changed."""
        end = self._end
        if self._watch is None or self._over or end is None:
            return 0
        return end - now()

    def leave(self) -> None:
        """Stop to look at the jobs, and leave them running."""
        self._stop.set()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.join()

    def release(self) -> None:
        self.leave()
        jobs, self.jobs = self.jobs, GridJobs()
        self._hosts, self._end, self.start_date, self.vlans, self._addresses = [], None, None, {}, None
        if not jobs:
            return
        if jobs.grid_id is None:
            oardel(jobs, self._frontend_params)
        else:
            try:
                oardelgrid(jobs.grid_id, self._frontend_params)
            except ValueError:          # its note is gone: another program has deleted it; or it cannot be read
                oardel(jobs, self._frontend_params)


def _reached(host: Host, vlan: int | None) -> Host:
    """By the name in its VLAN, if it was put into one."""
    return host if vlan is None else Host(get_kavlan_host_name(host, vlan), host.user, host.keyfile, host.port)
