"""`oarsub`."""

from __future__ import annotations

import os
import re

from ..._oar.formats import format_oar_date, oar_date_to_unixts
from . import texts
from .admission import AdmissionError, Submission, admit
from .call import VERSION, Answer, Exit, getter, options_of, text_of
from .model import QUEUES, Job, NotEnough, NotPossible
from .predicate import PredicateError
from .request import RequestError, Wanted, parse_request
from .state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .call import Call

BAD_DATE = '[ERROR] Syntax error near the -r or --reservation option. The reservation date synstax is : "2027-03-25 17:32:12".\n'
FAILED = "[ERROR] Oarsub failed, please verify your request syntax.\n"


class Submitting(State):
    """Jobs are submitted."""

    def oarsub(self, call: Call) -> Answer:
        """Submit."""
        options, words = options_of(call, "IC:l:q:p:r:t:d:n:a:ki:e:O:E:Ss:DXYJhV", (
            "interactive", "connect=", "resource=", "array=", "array-param-file=", "scanscript", "queue=", "property=", "reservation=",
            "checkpoint=", "signal=", "type=", "directory=", "project=", "name=", "anterior=", "notify=", "resubmit=", "use-job-key",
            "import-job-key-from-file=", "import-job-key-inline=", "export-job-key-to-file=", "stdout=", "stderr=", "hold", "stagein=",
            "stagein-md5sum=", "dumper", "xml", "yaml", "json", "help", "version"), anywhere=False)
        get = getter(options, {"l": "resource", "q": "queue", "p": "property", "r": "reservation", "t": "type", "d": "directory",
                                "n": "name", "a": "anterior", "k": "use-job-key", "i": "import-job-key-from-file", "O": "stdout",
                                "E": "stderr", "e": "export-job-key-to-file", "J": "json", "V": "version", "h": "help", "I": "interactive",
                                "C": "connect", "S": "scanscript"})
        if get("version"):
            return Answer(VERSION)
        if get("help"):
            return Answer(USAGE)
        if get("interactive") or get("connect"):
            raise Exit(1, "[ERROR] the box's own scheduler has no interactive jobs\n")
        date = self._reservation(get("reservation")[-1]) if get("reservation") else None
        command = " ".join(words)
        try:
            requests = [parse_request(text) for text in get("resource") or ["/host=1"]]
        except RequestError as error:
            raise Exit(255, f"{error}\n") from None
        count = _count(get("array"))
        asked = Submission(requests, (get("property") or [""])[-1], get("queue")[-1] if get("queue") else None, list(get("type")),
                           date is not None)
        if not command and date is None and not {"noop", "noop=standby"} & set(asked.types):
            raise Exit(5, "", USAGE)
        try:
            admit(asked, QUEUES, self.columns)
        except AdmissionError as refused:
            raise Exit(254, f"{refused}\n\n", text_of(asked.said)) from None
        said = text_of(asked.said)
        if asked.queue not in QUEUES:
            raise Exit(248, f"ERROR : The queue {asked.queue} does not exist\n", said)
        if any(not group.levels for request in asked.requests for group in request.groups):
            raise Exit(255, "Modification of non-creatable array value attempted, subscript -1: a group without resources\n", said)
        wanted = self._bound(asked, said)
        key, told = self._key(get, call)
        said += told
        initial = " ".join(call.words)
        anteriors = [int(text) for text in get("anterior") if text.isdecimal()]
        jobs = [Job(self.user, command, (get("name") or [""])[-1] or None, (get("project") or ["default"])[-1], asked.queue, asked.types,
                    (get("directory") or [call.folder])[-1], asked.properties, date, anteriors, initial, (get("stdout") or [""])[-1],
                    (get("stderr") or [""])[-1], key, bool(get("hold")), wanted=wanted) for _ in range(count or 1)]
        return self._submit(jobs, said, count, bool(get("json")))

    def _bound(self, asked: Submission, said: str) -> list[Wanted]:
        try:
            # what each resource of a real one has
            rows = [{"desktop_computing": "NO", "drain": "NO", **row} for row in self.ordered]
            columns = {"desktop_computing": str, "drain": str, **self.columns}
            return [Wanted(request, rows, columns, asked.properties) for request in asked.requests]
        except PredicateError as error:
            raise Exit(8, f"Bad resource request (ERROR:  {error})\n{FAILED}", said + "OAR_JOB_ID=-5\n") from None

    def _submit(self, jobs: list[Job], said: str, array: int | None, as_json: bool) -> Answer:
        answer = Answer(said)
        if array:
            answer.stderr += "Simple array job submission is used\n"
        for job in jobs:
            for objection in self._objections(job):
                raise Exit(254, f"[ADMISSION RULE] {objection}\n\n", said)
        refused: NotPossible | None = None
        try:
            self.schedule.submit(jobs, self.clock())
        except NotEnough:
            return Answer(said + "OAR_JOB_ID=-5\n", f"There are not enough resources for your request\n{FAILED}", 8)
        except NotPossible as impossible:
            refused = impossible
        for job in jobs:
            name = f"{job.name}." if job.name else ""
            job.stdout_file = job.stdout_file.replace("%jobid%", str(job.job_id)) or f"OAR.{name}{job.job_id}.stdout"
            job.stderr_file = job.stderr_file.replace("%jobid%", str(job.job_id)) or f"OAR.{name}{job.job_id}.stderr"
            answer.stdout += f"OAR_JOB_ID={job.job_id}\n"
        if array:
            answer.stdout += f"OAR_ARRAY_ID={jobs[0].job_id}\n"
        if as_json:
            answer.stdout += "\n##########\n" + texts.as_json({"job_id": jobs[0].job_id}) + "\n##########\n\n"
        if jobs[0].reserved:
            answer.stdout += "Reservation mode: waiting validation...\n"
            if refused is None:
                answer.stdout += "Reservation valid --> OK\n"
            else:
                reason = refused.reason + ("" if refused.date is None else f" {format_oar_date(refused.date)}")
                answer.stdout += f"Reservation not valid --> KO ({reason})\n"
                answer.code = 10
        return answer

    def _reservation(self, text: str) -> float:
        if text == "now":
            return self.clock() // 1
        if not re.fullmatch(r"\s*\d{4}-\d{1,2}-\d{1,2}\s+\d{1,2}:\d{1,2}(:\d{1,2})?\s*(,.*)?", text):
            raise Exit(7, BAD_DATE)
        try:
            return oar_date_to_unixts(text.partition(",")[0])
        except ValueError as error:
            raise Exit(7, f"[ERROR] Syntax error near the -r or --reservation option: {error}\n") from None

    def _key(self, get: Callable[[str], list[str]], call: Call) -> tuple[str | None, str]:
        files = get("import-job-key-from-file")
        if files:
            path = os.path.join(call.folder, os.path.expanduser(files[-1]))
            try:
                with open(path, encoding="utf-8") as file:
                    return file.read(), f"Import job key from file: {files[-1]}\n"
            except (OSError, UnicodeDecodeError) as error:
                raise Exit(14, f"[ERROR] Unable to read the job key from {files[-1]}: {error}\n") from None
        if get("import-job-key-inline"):
            return get("import-job-key-inline")[-1], "Import job key inline.\n"
        if not get("use-job-key"):
            return None, ""
        key, told = self._make_key(), "Generate a job key...\n"
        if get("export-job-key-to-file"):
            name = get("export-job-key-to-file")[-1].replace("%jobid%", str(max(self.schedule.jobs, default=0) + 1))
            path = os.path.join(call.folder, os.path.expanduser(name))
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(key)
            told += f"Export job key to file: {name}\n"
        return key, told


def _count(given: Sequence[str]) -> int | None:
    if not given:
        return None
    if not given[-1].isdecimal() or int(given[-1]) < 1:
        raise Exit(6, "[ERROR] An array job must have a positive number of sub-jobs.\n", USAGE)
    return int(given[-1])


USAGE = """Usage: oarsub [options] <command>
Submit a job to the scheduler of the box
Options are:
 -l, --resource=<list>         {SQL}/LEVEL=N/...+...,walltime=H:M:S
 -p, --property=<SQL>          condition on the resources
 -t, --type=<type>             deploy, besteffort, exotic, day, night, noop ...
 -q, --queue=<queue>           default, production, testing, besteffort, admin
 -r, --reservation=<date>      an advance reservation, "YYYY-MM-DD HH:MM:SS" or "now"
 -n, --name=<txt>  --project=<txt>  -d, --directory=<dir>  -O, --stdout=<file>  -E, --stderr=<file>
 -k, --use-job-key  -i, --import-job-key-from-file=<file>  -e, --export-job-key-to-file=<file>
 -a, --anterior=<job id>  --array <number>  --hold  -J, --json
"""
