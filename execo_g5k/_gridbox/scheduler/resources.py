"""The commands that show resources, and those that lead to nodes; Grid'5000's `kavlan` and `g5k-subnets`."""

from __future__ import annotations

import os

from . import network, texts
from .call import VERSION, Answer, Exit, getter, options_of, text_of
from .predicate import PredicateError, parse_predicate
from .state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .call import Call
    from .model import Job


class Resources(State):
    """Resources and nodes."""

    def oarnodes(self, call: Call) -> Answer:
        """Show resources."""
        options, words = options_of(call, "aslr:JYXDVh", (
            "all", "state", "list", "resource=", "sql=", "json", "yaml", "xml", "dumper", "version", "help"))
        get = getter(options, {"s": "state", "l": "list", "J": "json", "V": "version", "r": "resource"})
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
            return Answer(text_of(names))
        if get("state"):
            return Answer(text_of([line for name in names for line in (
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
        options, _ = options_of(call, "j:aimpbnV", ("job=",))
        get = getter(options, {"j": "job"})
        number = (get("job") or [call.variables.get("OAR_JOB_ID", "")])[-1]
        job = self.schedule.jobs.get(int(number)) if number.isdecimal() else None
        if job is None or job.state not in ("Launching", "Running"):
            raise Exit(1, f"{call.words[0]}: no job {number} that runs\n")
        return "".join(name for name, _ in options), network.of_ids(self.rows, job.resources)

    def g5k_subnets(self, call: Call) -> Answer:
        """Subnets of a job."""
        letters, rows = self._network(call)
        return Answer(text_of(network.subnet_lines(rows, letters.replace("j", ""), self.site)))

    def kavlan(self, call: Call) -> Answer:
        """The VLANs of a job (``-V``); nothing else of the real one."""
        letters, rows = self._network(call)
        if "V" not in letters:
            raise Exit(1, "kavlan: only -V is here\n")
        lines = network.kavlan_lines(rows)
        return Answer(text_of(lines)) if lines else Answer("no vlan found\n", "", 1)

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
    options, words = options_of(call, "f:P:F:C:hV", ("file=", "properties=", "format=", "separator=", "help", "version"))
    get = getter(options, {"f": "file"})
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
    return Answer(text_of(texts.printed(lines, "network_address" if words[0] in ("host", "nodes") else words[0])))
