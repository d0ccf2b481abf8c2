"""The commands of OAR 2.5.9 over a `Schedule`, and Grid'5000's `kavlan` and `g5k-subnets`: words in, texts and an exit code out."""

from __future__ import annotations

import getopt
import os
import re
from dataclasses import dataclass, field

from ..._oar.formats import format_oar_date, format_oar_duration, oar_date_to_unixts
from . import network, texts
from .admission import AdmissionError, Submission, admit
from .model import ALIVE, QUEUES, Job, NotEnough, NotPossible, Schedule
from .predicate import PredicateError, columns_of, parse_predicate
from .request import RequestError, Wanted, parse_request, parse_walltime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

VERSION = "OAR version : 2.5.9 (not OAR: the box's own scheduler)\n"
BAD_DATE = '[ERROR] Syntax error near the -r or --reservation option. The reservation date synstax is : "2027-03-25 17:32:12".\n'
FAILED = "[ERROR] Oarsub failed, please verify your request syntax.\n"


@dataclass
class Call:
    """How a command was called."""

    words: Sequence[str]
    """Its name and arguments."""
    folder: str = "/"
    variables: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    """Its standard input."""


@dataclass
class Answer:
    """What a command prints, and its exit code; or the program that it becomes."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0
    become: list[str] | None = None


class Exit(Exception):
    """A command ends before its time."""

    def __init__(self, code: int, stderr: str = "", stdout: str = "") -> None:
        super().__init__(stderr)
        self.answer = Answer(stdout, stderr, code)


class Commands:
    """The commands on a frontend.

    :param site: its name.
    :param rows: its resources.
    :param user: whose jobs are submitted and deleted.
    :param reach: (program, options before the host, host and the rest): the words by which `oarsh` and `oarcp` reach nodes.
    :param make_key: makes the key of a job, as the text of a private one.
    :param objections: reasons of the site not to take a job, as lines.
    """

    def __init__(self, site: str, rows: Sequence[Mapping[str, Any]], schedule: Schedule, clock: Callable[[], float], user: str,
                 reach: Callable[[str], list[str]], make_key: Callable[[], str],
                 objections: Callable[[Job], list[str]] = lambda job: []) -> None:
        self.site = site
        self.rows = {row["resource_id"]: row for row in rows}
        self.ordered = list(rows)
        self.columns = columns_of(self.ordered)
        self.schedule = schedule
        self.clock = clock
        self.user = user
        self._reach = reach
        self._make_key = make_key
        self._objections = objections
        self._table: dict[str, Callable[[Call], Answer]] = {
            "oarsub": self.oarsub, "oardel": self.oardel, "oarstat": self.oarstat, "oarnodes": self.oarnodes, "oarprint": oarprint,
            "oarsh": self.oarsh, "oarcp": self.oarcp, "oarwalltime": self.oarwalltime, "oarresume": self.oarresume,
            "g5k-subnets": self.g5k_subnets, "kavlan": self.kavlan}

    @property
    def names(self) -> list[str]:
        """Of all commands."""
        return list(self._table)

    def run(self, call: Call, user: str | None = None) -> Answer:
        """The answer to a call; `user`: not the one of the frontend."""
        command = self._table.get(call.words[0]) if call.words else None
        if command is None:
            return Answer("", "no such command\n", 127)
        before = self.user
        if user is not None:
            self.user = user
        try:
            return command(call)
        except Exit as ended:
            return ended.answer
        finally:
            self.user = before

    # Submission

    def oarsub(self, call: Call) -> Answer:
        """Submit."""
        options, words = _options(call, "IC:l:q:p:r:t:d:n:a:ki:e:O:E:Ss:DXYJhV", (
            "interactive", "connect=", "resource=", "array=", "array-param-file=", "scanscript", "queue=", "property=", "reservation=",
            "checkpoint=", "signal=", "type=", "directory=", "project=", "name=", "anterior=", "notify=", "resubmit=", "use-job-key",
            "import-job-key-from-file=", "import-job-key-inline=", "export-job-key-to-file=", "stdout=", "stderr=", "hold", "stagein=",
            "stagein-md5sum=", "dumper", "xml", "yaml", "json", "help", "version"), anywhere=False)
        get = _getter(options, {"l": "resource", "q": "queue", "p": "property", "r": "reservation", "t": "type", "d": "directory",
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
            raise Exit(254, f"{refused}\n\n", _lines(asked.said)) from None
        said = _lines(asked.said)
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

    # Jobs that there are

    def oardel(self, call: Call) -> Answer:
        """Delete."""
        options, words = _options(call, "cs:bhV", ("checkpoint", "signal=", "besteffort", "array", "sql=", "help", "version"))
        get = _getter(options, {})
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
        options, _ = _options(Call([call.words[0], *words]), "j:fspecJYXDVhg:", (
            "job=", "full", "state", "properties", "events", "compact", "json", "yaml", "xml", "dumper", "version", "help", "gantt=",
            "array=", "sql=", "accounting="))
        get = _getter(options, {"j": "job", "f": "full", "s": "state", "p": "properties", "e": "events", "J": "json", "Y": "yaml",
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

    # Resources

    def oarnodes(self, call: Call) -> Answer:
        """Show resources."""
        options, words = _options(call, "aslr:JYXDVh", (
            "all", "state", "list", "resource=", "sql=", "json", "yaml", "xml", "dumper", "version", "help"))
        get = _getter(options, {"s": "state", "l": "list", "J": "json", "V": "version", "r": "resource"})
        if get("version"):
            return Answer(VERSION)
        try:
            wanted = parse_predicate(get("sql")[-1], self.columns) if get("sql") else None
        except PredicateError as error:
            raise Exit(255, f"ERROR:  {error}\n") from None
        rows = [row for row in self.ordered if (not words or row.get("network_address") in words) and (wanted is None or wanted(row))
                and (not get("resource") or str(row["resource_id"]) in get("resource"))]
        names = list(dict.fromkeys(row["network_address"] for row in rows if row.get("network_address")))
        if get("list"):
            return Answer(_lines(names))
        if get("state"):
            return Answer(_lines([line for name in names for line in (
                name, *(f"    {row['resource_id']} : {row['state']}" for row in rows if row["network_address"] == name))]))
        running: dict[int, list[int]] = {}
        for job in self.schedule.jobs.values():
            if job.state in ("Launching", "Running", "Finishing"):
                for number in job.resources:
                    running.setdefault(number, []).append(job.job_id)
        if get("json"):
            shown = {str(row["resource_id"]): dict(row) for row in rows}
            for number, jobs in running.items():
                if str(number) in shown:
                    shown[str(number)]["jobs"] = ", ".join(map(str, jobs))
            return Answer(texts.as_json(shown) + "\n")
        return Answer(texts.nodes_text(rows, running))

    def _network(self, call: Call) -> tuple[str, list[Mapping[str, Any]]]:
        """Letters of the options, and the resources of the job."""
        options, _ = _options(call, "j:aimpbnV", ("job=",))
        get = _getter(options, {"j": "job"})
        number = (get("job") or [call.variables.get("OAR_JOB_ID", "")])[-1]
        job = self.schedule.jobs.get(int(number)) if number.isdecimal() else None
        if job is None or job.state not in ("Launching", "Running"):
            raise Exit(1, f"{call.words[0]}: no job {number} that runs\n")
        return "".join(name for name, _ in options), network.of_ids(self.rows, job.resources)

    def g5k_subnets(self, call: Call) -> Answer:
        """Subnets of a job."""
        letters, rows = self._network(call)
        return Answer(_lines(network.subnet_lines(rows, letters.replace("j", ""), self.site)))

    def kavlan(self, call: Call) -> Answer:
        """The VLANs of a job (``-V``); nothing else of the real one."""
        letters, rows = self._network(call)
        if "V" not in letters:
            raise Exit(1, "kavlan: only -V is here\n")
        lines = network.kavlan_lines(rows)
        return Answer(_lines(lines)) if lines else Answer("no vlan found\n", "", 1)

    # On nodes

    def oarsh(self, call: Call) -> Answer:
        """Become an ssh to a node of a job."""
        if len(call.words) < 2:
            raise Exit(7, "", "oarsh: cannot retrieve host\n")
        words = self._with_job(call)
        return Answer(become=[*self._reach("ssh"), *words])

    def oarcp(self, call: Call) -> Answer:
        """Become an scp to or from a node of a job."""
        return Answer(become=[*self._reach("scp"), *self._with_job(call)])

    def _with_job(self, call: Call) -> list[str]:
        words = list(call.words[1:])
        while words[:1] == ["-F"]:      # another configuration of ssh would not know the nodes
            words = words[2:]
        file = call.variables.get("OAR_JOB_KEY_FILE")
        if words[:1] == ["-i"] and len(words) > 1:
            file, words = words[1], words[2:]
        if call.variables.get("OAR_JOB_ID", "").isdecimal():
            job = self.schedule.jobs.get(int(call.variables["OAR_JOB_ID"]))
        elif file:
            job = self._job_with_key(os.path.join(call.folder, os.path.expanduser(file)))
        else:
            raise Exit(6, "oarsh: Cannot connect. Please set either a job id or a job key in your\n"
                          "oarsh: environment using the OAR_JOB_ID or the OAR_JOB_KEY_FILE variable.\n")
        if job is None or job.state not in ("Launching", "Running") or job.user != self.user:
            raise Exit(255, "oarsh: Permission denied: no such job runs\n")
        return words

    def _job_with_key(self, path: str) -> Job | None:
        try:
            with open(path, encoding="utf-8") as file:
                key = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise Exit(255, f"oarsh: {error}\n") from None
        return next((job for job in self.schedule.jobs.values() if job.key == key and job.state == "Running"), None)


def oarprint(call: Call) -> Answer:
    """Values of a property of resources, of those in a file or on the standard input."""
    options, words = _options(call, "f:P:F:C:hV", ("file=", "properties=", "format=", "separator=", "help", "version"))
    get = _getter(options, {"f": "file"})
    path = (get("file") or [call.variables.get("OAR_RESOURCE_PROPERTIES_FILE", "")])[-1]
    if not words or not path:
        raise Exit(255, "oarprint: no input data available\n")
    if path == "-":
        lines = call.text.splitlines()
    else:
        try:
            with open(os.path.join(call.folder, path), encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Exit(255, f"oarprint: {error}\n") from None
    return Answer(_lines(texts.printed(lines, "network_address" if words[0] in ("host", "nodes") else words[0])))


def _options(call: Call, short: str, long: Sequence[str], anywhere: bool = True) -> tuple[list[tuple[str, str]], list[str]]:
    """(options without their dashes, words)."""
    try:
        found, words = (getopt.gnu_getopt if anywhere else getopt.getopt)(list(call.words[1:]), short, list(long))
    except getopt.GetoptError as error:
        named = "requires" in error.msg or "not a unique" in error.msg
        raise Exit(1, f"{error.msg}\n" if named else f"Unknown option: {error.opt}\n") from None
    return [(name.lstrip("-"), value) for name, value in found], words


def _getter(options: Sequence[tuple[str, str]], longs: Mapping[str, str]) -> Callable[[str], list[str]]:
    """By the long name of an option, all values that it was given; [''] if it has none."""
    values: dict[str, list[str]] = {}
    for name, value in options:
        values.setdefault(longs.get(name, name), []).append(value)
    return lambda name: values.get(name, [])


def _count(given: Sequence[str]) -> int | None:
    if not given:
        return None
    if not given[-1].isdecimal() or int(given[-1]) < 1:
        raise Exit(6, "[ERROR] An array job must have a positive number of sub-jobs.\n", USAGE)
    return int(given[-1])


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


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
