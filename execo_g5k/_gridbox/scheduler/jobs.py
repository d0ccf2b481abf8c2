"""The commands that show and change the jobs that there are."""

from __future__ import annotations

import re

from ..._oar.formats import format_oar_duration
from . import network, texts
from .call import VERSION, Answer, Call, Exit, getter, options_of
from .model import ALIVE
from .request import parse_walltime
from .state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .model import Job


class Jobs(State):
    """Jobs that there are."""

    def oardel(self, call: Call) -> Answer:
        """Delete."""
        options, words = options_of(call, "cs:bhV", ("checkpoint", "signal=", "besteffort", "array", "sql=", "help", "version"))
        get = getter(options, {})
        if get("array"):
            words = [str(job.job_id) for word in words for job in self.schedule.jobs.values() if str(job.array_id) == word]
        if not words:
            raise Exit(1, "", "Usage: oardel [options] <job_id> [job_id [...] ] \n\nOptions:\n      --array  all jobs of arrays\n")
        answer, done = Answer(), []
        for word in words:
            if not word.isdecimal():
                raise Exit(4, f'[ERROR] "{word}" is not a valid job identifier\n', answer.stdout)
            job = self.schedule.jobs.get(int(word))
            if job is None or job.user != self.user:
                problem, answer.code = "You are not the right user.", 1
            elif not self.schedule.delete(job, self.clock(), self.user):
                problem, answer.code = "This job was already killed.", 6
            else:
                problem = ""
                done.append(word)
            answer.stdout += f"Deleting the job = {word} ...{'ERROR' if problem else 'REGISTERED'}.\n"
            answer.stderr += f"Cannot frag {word} ; {problem}\n" if problem else ""
        if done:
            answer.stdout += f"The job(s) [ {' '.join(done)} ] will be deleted in the near future.\n"
        return answer

    def oarstat(self, call: Call) -> Answer:
        """Show jobs."""
        # the value of -u may be left out
        words = list(call.words[1:])
        user: str | None = None
        for index, word in enumerate(words):
            if word in ("-u", "--user"):
                following = words[index + 1:index + 2]
                user = following[0] if following and not following[0].startswith("-") else self.user
                del words[index:index + (2 if following and following[0] == user else 1)]
                break
        options, _ = options_of(Call([call.words[0], *words]), "j:fspecJYXDVhg:", (
            "job=", "full", "state", "properties", "events", "compact", "json", "yaml", "xml", "dumper", "version", "help", "gantt=",
            "array=", "sql=", "accounting="))
        get = getter(options, {"j": "job", "f": "full", "s": "state", "p": "properties", "e": "events", "J": "json", "Y": "yaml",
                                "V": "version"})
        if get("version"):
            return Answer(VERSION)
        jobs = list(self.schedule.jobs.values())
        if get("job"):
            if not all(text.isdecimal() for text in get("job")):
                raise Exit(255, "/!\\ ERROR: No job id provided in command line or environment variables\n")
            jobs = [self.schedule.jobs[int(text)] for text in get("job") if int(text) in self.schedule.jobs]
        elif get("array"):
            jobs = [job for job in jobs if str(job.array_id) == get("array")[-1]]
        else:
            jobs = [job for job in jobs if job.state in ALIVE]
        if user is not None:
            jobs = [job for job in jobs if job.user == user]
        return Answer(self._shown(jobs, get) if jobs else "")

    def _shown(self, jobs: list[Job], get: Callable[[str], list[str]]) -> str:
        if get("properties"):
            return "".join(texts.properties_line(self.rows[number]) for job in jobs for number in job.resources
                           if job.start_date and job.state != "Waiting")
        if get("state"):
            states = {str(job.job_id): job.state for job in jobs}
            return texts.as_json(states) if get("json") else "".join(f"{number}: {state}\n" for number, state in states.items())
        if get("events"):
            return "".join(map(texts.events_text, jobs))
        if get("json") or get("yaml"):
            form = texts.full if get("full") else texts.short
            shown = {str(job.job_id): form(job, self.rows) for job in jobs}
            return texts.as_json(shown) if get("json") else texts.as_yaml(shown)
        if get("full"):
            return "".join(texts.full_text(job, self.rows) for job in jobs)
        return texts.table(jobs, self.clock())

    def oarresume(self, call: Call) -> Answer:
        """Let jobs that are held wait."""
        answer = Answer()
        for word in call.words[1:]:
            job = self._own_job(word)
            self.schedule.resume(job, self.clock())
            answer.stdout += f"[{word}] Resume request was sent to the OAR server.\n"
        return answer

    def oarwalltime(self, call: Call) -> Answer:
        """Change a walltime: ``oarwalltime JOB [+-]H:M:S``."""
        words = [word for word in call.words[1:] if not re.match(r"-{1,2}[a-zA-Z]", word)]
        if not words:
            raise Exit(1, "Usage: oarwalltime [options] <job id> [new walltime]\n")
        job = self._own_job(words[0])
        if len(words) == 1:
            return Answer(f"Walltime change status for job {job.job_id} (job is {job.state.lower()}):\n"
                          f"  Current walltime:   {format_oar_duration(job.walltime):>10}\n")
        found = re.fullmatch(r"([+-]?)(\d+(?::\d+){0,2})", words[1])
        if not found:
            raise Exit(1, f"Error: syntax error in the new walltime: {words[1]}\n")
        if job.state != "Running":
            raise Exit(3, f"Forbidden: job {job.job_id} is not running.\n")
        seconds = parse_walltime(found[2])
        wanted = seconds if not found[1] else job.walltime + (seconds if found[1] == "+" else -seconds)
        if not self.schedule.change_walltime(job, wanted, self.clock()):
            raise Exit(2, f"Refused: the resources of job {job.job_id} are reserved by others before.\n")
        return Answer(f"Accepted: walltime change request updated for job {job.job_id}, it will be handled shortly.\n")

    def _own_job(self, word: str) -> Job:
        job = self.schedule.jobs.get(int(word)) if word.isdecimal() else None
        if job is None:
            raise Exit(4, f"[ERROR] no job {word}\n")
        if job.user != self.user:
            raise Exit(3, f"Forbidden: job {word} does not belong to you.\n")
        return job

    def job_item_fields(self, job: Job) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
        """Its fields, and its resources: assigned, reserved or predicted."""
        return texts.full(job, self.rows), network.of_ids(self.rows, job.resources)
