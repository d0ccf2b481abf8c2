"""Jobs of OAR: submit, delete, look at, wait for."""

from __future__ import annotations

from dataclasses import dataclass

from execo.host import Host
from execo.log import logger
from execo.time_utils import Timer, get_seconds, get_unixts, sleep
from execo.utils import checked_min, singleton_to_collection

from .._clock import now
from ..config import g5k_configuration
from .frontends import (
    OarError,
    command_of,
    complain,
    connection_broke,
    failure_of,
    given_job_id,
    make_processes,
    place,
    run_all,
    run_on_frontends,
    seconds_of,
)
from .parse import (
    JobFacts,
    oar_message,
    parse_host_names,
    parse_job_ids,
    parse_jobs,
    parse_kavlan,
    parse_oarsub,
    parse_subnet_addresses,
    parse_subnet_params,
    printable,
)
from .submission import OarSubmission, get_oarsub_commandline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from execo.process import Process
    from execo.time_utils import Date

    from .frontends import Frontend, Params, Timeout

ENDED = frozenset({"Terminated", "Error", "toError", "toTerminate", "Finishing"})
"""States from which no job comes to run."""
UNKNOWN_ANSWERS = 3
"""So many times in a row oarstat has to know nothing of a job, until we believe that there is none."""
INTERRUPTED_TIMEOUT = 20.0
"""Seconds for each command after Ctrl-C, when somebody waits for the prompt."""
LAST_QUESTION = 2.0
"""Seconds that OAR has for its answer, also shortly before a timeout."""


# Submission

@dataclass(frozen=True)
class Outcome:
    """What became of one submission."""

    frontend: Frontend
    process: Process
    job_id: int | None
    """None: refused, or nobody knows."""
    reason: str
    """'' if it was accepted."""
    printed: tuple[int, ...]
    """All ids that oarsub printed, whatever became of them: more than one for an array."""
    doubtful: bool
    """The connection broke: there may be a job."""


def checked_specs(job_specs: Iterable[Any]) -> list[tuple[OarSubmission, Frontend]]:
    """The pairs.

    :raises TypeError: for what is no pair of a submission and a frontend.
    """
    pairs = []
    for pair in job_specs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], OarSubmission):
            raise TypeError(f"job_specs: expected pairs (OarSubmission, frontend), found {pair!r}")
        pairs.append((pair[0], pair[1]))
    return pairs


def submit(job_specs: Sequence[tuple[OarSubmission, Frontend]], params: Params, timeout: float | None,
           interrupted: Callable[[list[Outcome]], None] | None = None) -> list[Outcome]:
    """All at once; in the order of the arguments.

    :param interrupted: called by an interruption (Ctrl-C) with what had become of those that were begun.
    """
    commands = [(get_oarsub_commandline(spec), frontend) for spec, frontend in job_specs]
    processes = make_processes(commands, params, timeout)
    try:
        run_all(processes)
    except BaseException:
        if interrupted is not None:
            interrupted([_outcome(spec, frontend, process) for (spec, frontend), process in zip(job_specs, processes, strict=True)
                         if process.started])
        raise
    return [_outcome(spec, frontend, process) for (spec, frontend), process in zip(job_specs, processes, strict=True)]


def _outcome(spec: OarSubmission, frontend: Frontend, process: Process) -> Outcome:
    said = parse_oarsub(process.stdout)
    reason = failure_of(process)
    broke = connection_broke(process)
    if said.reservation is False or said.negative:
        broke = False
        reason = reason or oar_message(process.stdout, process.stderr, process.exit_code) or "refused"
    elif not said.job_ids:
        reason = reason or "oarsub printed no job id: " + printable((process.stdout + process.stderr).strip()[-200:])
    elif broke and (spec.reservation_date is None or said.reservation):
        reason = ""                 # the job is there, only the rest of the conversation is lost
    elif broke:
        reason = f"{reason}; job {said.job_ids[0]} may have been reserved"
    job_id = said.job_ids[0] if said.job_ids and not reason else None
    if reason:
        reason = f"oarsub on {place(frontend)}: {reason}: {command_of(process)}"
    return Outcome(frontend, process, job_id, reason, said.job_ids, broke and bool(reason))


def oarsub(job_specs: Iterable[tuple[OarSubmission, Frontend]], frontend_connection_params: Params = None, timeout: Timeout = False,
           abort_on_error: bool = False) -> list[tuple[int | None, Frontend]]:
    """Submit jobs, all at once.

    :param job_specs: pairs (`OarSubmission`, frontend); frontend None is the default one.
    :param timeout: for each; False: ``g5k_configuration['default_timeout']``; None: none.
    :param abort_on_error: raise if one fails.
    :returns: pairs (job id, frontend) in the order of `job_specs`; the id is None where OAR refused, and the log says why.  The id of an
      array is that of its first job.
    :raises OarError: with `abort_on_error`.
    """
    outcomes = submit(checked_specs(job_specs), frontend_connection_params, seconds_of(timeout))
    failed = [outcome for outcome in outcomes if outcome.reason]
    for outcome in failed:
        complain(outcome.reason)
    if failed and abort_on_error:
        raise OarError([outcome.process for outcome in failed], [outcome.reason for outcome in failed])
    return [(outcome.job_id, outcome.frontend) for outcome in outcomes]


def delete(jobs: Sequence[tuple[int, Frontend]], params: Params, timeout: float | None) -> list[tuple[int, Frontend, str]]:
    """Delete jobs, all at once; returns those that may still live, with the reason."""
    processes = run_on_frontends([(f"oardel {given_job_id(job_id)}", frontend) for job_id, frontend in jobs], params, timeout)
    kept = []
    for (job_id, frontend), process in zip(jobs, processes, strict=True):
        reason = failure_of(process)
        if reason and "already killed" not in process.stdout + process.stderr:
            kept.append((job_id, frontend, reason))
    return kept


def _accepted(jobs: Iterable[tuple[int | None, Frontend]]) -> list[tuple[int, Frontend]]:
    return [(job_id, frontend) for job_id, frontend in jobs if job_id is not None]


def oardel(job_specs: Iterable[tuple[int | None, Frontend]], frontend_connection_params: Params = None, timeout: Timeout = False) -> None:
    """Delete jobs, all at once.  A failure is no error (the job may have ended), but is logged at level INFO.

    :param job_specs: pairs (job id, frontend); those whose id is None are passed over, so that the result of `oarsub` can be given.
    """
    for job_id, frontend, reason in delete(_accepted(job_specs), frontend_connection_params, seconds_of(timeout)):
        logger.info("oardel %s on %s: %s", job_id, place(frontend), reason)


# Information

def look_at(jobs: Sequence[tuple[int, Frontend]], params: Params, timeout: float | None) -> list[tuple[JobFacts | None, Process]]:
    """What OAR says of jobs now; None where it answered and knows none, or did not answer."""
    processes = run_on_frontends([(f"oarstat -fj {job_id}", frontend) for job_id, frontend in jobs], params, timeout)
    answers: list[tuple[JobFacts | None, Process]] = []
    for (job_id, _), process in zip(jobs, processes, strict=True):
        found = parse_jobs(process.stdout) if process.exit_code == 0 else []
        answers.append((next((job for job in found if job.job_id == job_id), None), process))
    return answers


def _info(facts: JobFacts | None) -> dict[str, Any]:
    names = ("start_date", "walltime", "scheduled_start", "state", "name")
    return {name: value for name in names if (value := getattr(facts, name, None)) is not None}


def get_oar_job_info(oar_job_id: int | str | None = None, frontend: Frontend = None, frontend_connection_params: Params = None,
                     timeout: Timeout = False, nolog_exit_code: bool = False, nolog_timeout: bool = False,
                     nolog_error: bool = False) -> dict[str, Any]:
    """What OAR knows of a job; an empty dict if it knows none, or cannot be asked (the log says why).

    :param oar_job_id: None: the job in which this program runs.
    :returns: those that are known of `start_date`, `walltime`, `scheduled_start`, `state` and `name`; Unix seconds and seconds.
    :raises ValueError: if there is no job id.
    """
    job_id = given_job_id(oar_job_id)
    ((facts, process),) = look_at([(job_id, frontend)], frontend_connection_params, seconds_of(timeout))
    if reason := failure_of(process):
        quiet = nolog_timeout if process.timeouted else nolog_error if process.error else nolog_exit_code
        complain(f"oarstat of job {job_id} on {place(frontend)}: {reason}", quiet)
    return _info(facts)


def get_current_oar_jobs(frontends: Frontend | Iterable[Frontend] = None, start_between: tuple[Date | None, Date | None] | None = None,
                         end_between: tuple[Date | None, Date | None] | None = None, frontend_connection_params: Params = None,
                         timeout: Timeout = False, abort_on_error: bool = False) -> list[tuple[int, Frontend]]:
    """Own jobs that have not ended.

    :param frontends: one or several; None: the default one.
    :param start_between: only those whose start, or predicted start, is in this pair of dates (None: open); one that OAR cannot predict
      is in none.
    :param end_between: the same, of start plus walltime.
    :param abort_on_error: raise if a frontend does not answer; else the log says so.
    :returns: pairs (job id, frontend).
    :raises OarError: with `abort_on_error`.
    """
    seconds = seconds_of(timeout)
    asked: list[Frontend] = [None] if frontends is None else list(singleton_to_collection(frontends))
    ranges = [None if dates is None else tuple(get_unixts(date) for date in dates) for dates in (start_between, end_between)]
    processes = run_on_frontends([("oarstat -u", frontend) for frontend in asked], frontend_connection_params, seconds)
    jobs = [(job_id, frontend) for frontend, process in zip(asked, processes, strict=True) if process.exit_code == 0
            for job_id in parse_job_ids(process.stdout)]
    failed = [(f"oarstat on {place(frontend)}: {reason}", process) for frontend, process in zip(asked, processes, strict=True)
              if (reason := failure_of(process))]
    if any(ranges) and jobs:
        answers = look_at(jobs, frontend_connection_params, seconds)
        failed += [(f"oarstat of job {job[0]} on {place(job[1])}: {reason}", process)
                   for job, (_, process) in zip(jobs, answers, strict=True) if (reason := failure_of(process))]
        jobs = [job for job, (facts, _) in zip(jobs, answers, strict=True) if facts is not None and _is_in(facts, *ranges)]
    for reason, _ in failed:
        complain(reason)
    if failed and abort_on_error:
        raise OarError([process for _, process in failed], [reason for reason, _ in failed])
    return jobs


def _is_in(facts: JobFacts, starts: tuple[float | None, ...] | None, ends: tuple[float | None, ...] | None) -> bool:
    start = facts.start_date if facts.start_date is not None else facts.scheduled_start
    end = None if start is None or facts.walltime is None else start + facts.walltime
    for date, dates in ((start, starts), (end, ends)):
        if dates is None:
            continue
        low, high = dates
        if date is None or (low is not None and date < low) or (high is not None and date > high):
            return False
    return True


def get_oar_array_jobs(oar_array_id: int, frontend: Frontend = None, frontend_connection_params: Params = None,
                       timeout: Timeout = False) -> list[int]:
    """Ids of the jobs of an array, also of those that have ended.

    :param oar_array_id: the id that `oarsub` returned for it.
    :raises OarError: if OAR does not answer.
    """
    (process,) = run_on_frontends([(f"oarstat --array {given_job_id(oar_array_id)} -J", frontend)], frontend_connection_params,
                                  seconds_of(timeout))
    if reason := failure_of(process):
        raise OarError([process], [f"oarstat of array {oar_array_id} on {place(frontend)}: {reason}"])
    return sorted(parse_job_ids(process.stdout))


# Waiting

def _pause(polls: int, facts: Iterable[JobFacts | None]) -> float:
    """Seconds until OAR is asked again: soon after the submission and around a predicted start, else rarely."""
    usual: float = get_seconds(g5k_configuration["polling_interval"])
    tiny: float = get_seconds(g5k_configuration["tiny_polling_interval"])
    pause = min(usual, 2.0 ** min(polls, 20))
    here = now()
    for job in facts:
        predicted = None if job is None else job.scheduled_start or job.start_date
        if predicted is not None and predicted - here < usual:
            pause = min(pause, max(predicted - here, tiny))
    return pause


def wait_for_starts(jobs: Sequence[tuple[int, Frontend]], params: Params, limit: float | None, each: float | None,
                    prediction_callback: Callable[[float], object] | None = None) -> tuple[str, Process | None]:
    """Wait until all run; ('', ...) then, else why one will not, or has not within `limit` seconds.

    A frontend that does not answer is asked again, and the log says why, each time that the reason changes; but one to which ssh knows no
    way at the first question (a wrong name, no key) ends the wait.

    :param each: timeout of each question.
    """
    timer = Timer(limit)
    waiting = list(jobs)
    unknown = dict.fromkeys(jobs, 0)
    silent: dict[str, str] = {}         # {frontend: why it does not answer; '' if it does}
    told: float | None = None
    process: Process | None = None
    polls = 0
    while waiting:
        left = timer.remaining()
        answers = look_at(waiting, params, checked_min(each, None if left is None else max(left, LAST_QUESTION)))
        predictions = []
        still = []
        for job, (facts, process) in zip(waiting, answers, strict=True):
            job_id, frontend = job
            reason, before = failure_of(process), silent.get(place(frontend))
            if reason and before is None and process.connection_failure is not None and not process.connection_failure.retryable:
                return f"job {job_id} on {place(frontend)}: {reason}", process
            if reason and reason != before:
                complain(f"waiting for job {job_id} on {place(frontend)}: {reason}")
            silent[place(frontend)] = reason
            if facts is None:
                unknown[job] = unknown[job] + 1 if process.exit_code == 0 else 0
                if unknown[job] >= UNKNOWN_ANSWERS:
                    return f"OAR on {place(frontend)} knows no job {job_id}", process
            elif facts.state == "Running":
                continue
            elif facts.state in ENDED:
                return f"job {job_id} on {place(frontend)} is {facts.state}", process
            else:
                unknown[job] = 0
                predictions.append(facts.scheduled_start if facts.scheduled_start is not None else facts.start_date)
            still.append(job)
        waiting = still
        known = [date for date in predictions if date is not None]
        if waiting and known and max(known) != told:
            told = max(known)
            if prediction_callback is not None:
                prediction_callback(told)
        if waiting:
            left = timer.remaining()
            if left is not None and left <= 0:
                ids = ", ".join(f"job {job_id} on {place(frontend)}" for job_id, frontend in waiting)
                return _with_last_failure(f"not running within the timeout: {ids}", process), process
            sleep(checked_min(_pause(polls, [facts for facts, _ in answers]), left))
            polls += 1
    return "", process


def _with_last_failure(text: str, process: Process | None) -> str:
    reason = "" if process is None else failure_of(process)
    return f"{text} ({reason})" if reason else text


def wait_oar_job_start(oar_job_id: int | str | None = None, frontend: Frontend = None, frontend_connection_params: Params = None,
                       timeout: Timeout = None, prediction_callback: Callable[[float], object] | None = None) -> bool:
    """Wait until a job runs.

    :param timeout: for the whole wait; None: none; False: ``g5k_configuration['default_timeout']``.
    :param prediction_callback: called with the predicted start, in Unix seconds, each time that it changes.
    :returns: False if it has ended, if OAR does not know it, or at the timeout.
    :raises ValueError: if there is no job id.
    """
    reason, _ = wait_for_starts([(given_job_id(oar_job_id), frontend)], frontend_connection_params, seconds_of(timeout), seconds_of(False),
                                prediction_callback)
    if reason:
        complain(reason)
    return not reason


# What a running job has

def ask_running(jobs: Sequence[tuple[int, Frontend]], commands: Sequence[str], params: Params, timeout: float | None) -> list[Process]:
    """Wait until the jobs run, then run each command for each job, all at once: the processes of the first job first.

    :param commands: with ``{id}`` where the job's id goes.
    :raises OarError: if one does not come to run, or a frontend cannot be reached within `timeout` seconds, which is for all of this.
    """
    timer = Timer(timeout)
    reason, last = wait_for_starts(jobs, params, timeout, timeout)
    if reason:
        raise OarError([] if last is None else [last], [reason])
    left = timer.remaining()
    todo = [(command.format(id=job_id), frontend) for job_id, frontend in jobs for command in commands]
    return run_on_frontends(todo, params, None if left is None else max(left, 1.0))


def _checked(process: Process, what: str, job_id: int, frontend: Frontend) -> str:
    if reason := failure_of(process):
        raise OarError([process], [f"{what} of job {job_id} on {place(frontend)}: {reason}"])
    return process.stdout


def nodes_of_jobs(jobs: Sequence[tuple[int, Frontend]], params: Params, timeout: float | None) -> list[Host]:
    """Nodes of several jobs, in the order of the jobs."""
    processes = ask_running(jobs, ["oarstat -pj {id} | oarprint network_address -f -"], params, timeout)
    nodes = []
    for (job_id, frontend), process in zip(jobs, processes, strict=True):
        names = parse_host_names(_checked(process, "nodes", job_id, frontend))
        if not names:
            raise OarError([process], [f"nodes of job {job_id} on {place(frontend)}: OAR names none"])
        nodes += [Host(name) for name in names]
    return nodes


def get_oar_job_nodes(oar_job_id: int | str | None = None, frontend: Frontend = None, frontend_connection_params: Params = None,
                      timeout: Timeout = False) -> list[Host]:
    """Nodes of a job, after waiting for its start.

    :param timeout: for all of it; False: ``g5k_configuration['default_timeout']``; None: none.
    :raises OarError: if it has ended, does not start in time, or OAR does not answer.
    :raises ValueError: if there is no job id.
    """
    return nodes_of_jobs([(given_job_id(oar_job_id), frontend)], frontend_connection_params, seconds_of(timeout))


def get_oar_job_subnets(oar_job_id: int | str | None = None, frontend: Frontend = None, frontend_connection_params: Params = None,
                        timeout: Timeout = False) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Addresses of the subnets of a job, after waiting for its start.

    :returns: pairs (IP address, hardware address), and a dict of `ip_prefix`, `broadcast`, `netmask`, `gateway`, `network`,
      `dns_hostname` and `dns_ip`; both empty if it has no subnet.
    :raises OarError: as `get_oar_job_nodes`.
    """
    job_id = given_job_id(oar_job_id)
    processes = ask_running([(job_id, frontend)], ["g5k-subnets -im -j {id}", "g5k-subnets -a -j {id}"], frontend_connection_params,
                            seconds_of(timeout))
    addresses, params = (_checked(process, "subnets", job_id, frontend) for process in processes)
    return parse_subnet_addresses(addresses), parse_subnet_params(params)


def get_oar_job_kavlan(oar_job_id: int | str | None = None, frontend: Frontend = None, frontend_connection_params: Params = None,
                       timeout: Timeout = False) -> list[int]:
    """Ids of the VLANs of a job, after waiting for its start; none: an empty list.

    :raises OarError: as `get_oar_job_nodes`.
    """
    job_id = given_job_id(oar_job_id)
    (process,) = ask_running([(job_id, frontend)], ["kavlan -j {id} -V"], frontend_connection_params, seconds_of(timeout))
    unasked = process.exit_code is None or process.connection_failure is not None or process.exit_code in (126, 127)
    if unasked or connection_broke(process):
        _checked(process, "VLANs", job_id, frontend)
    return parse_kavlan(process.stdout) if process.exit_code == 0 else []       # its other codes say that there is none
