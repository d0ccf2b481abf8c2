"""What kadeploy3 prints, line by line, as it comes.  Pure: no process; who feeds the lines gives their dates.

The formats were observed on Kadeploy 3.3; the headings of the final lists before 3.2 are read too.  Nothing but the final lists says that a
node is deployed, and only names of nodes that were asked for count, so that no line, however strange, makes up a result.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from .progress import DEPLOYED, FAILED, Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ERRORS = {
    0: "configuration", 1: "workflow id", 2: "list of nodes", 3: "client", 4: "option", 5: "file", 6: "rights", 7: "environment",
    8: "custom operation", 9: "VLAN", 10: "existing element", 11: "conflicting elements", 12: "missing option", 13: "conflicting options",
    14: "nothing modified", 15: "execution", 20: "database", 21: "cache", 22: "cache full", 30: "destructive environment",
}
"""What the server means by ``[Kadeploy Error #N]``; N is the exit status too."""

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PREFIX = re.compile(r"\[([\w.-]+)\]( +)")
_LISTS = (
    (re.compile(r"The .+ is successful on nodes:?$"), DEPLOYED),
    (re.compile(r"The .+ failed on nodes:?$"), FAILED),
    (re.compile(r"Nodes correctly deployed on cluster \S+$"), DEPLOYED),
    (re.compile(r"Nodes not correctly deployed on cluster \S+$"), FAILED),
)
_LISTED = re.compile(r"(\S+)(?:\s+\((.*)\))?$")
_REASON = re.compile(r"([A-Z]\w*)-(\w*): ?(.*)$", re.DOTALL)
_WORKFLOW = re.compile(r"[A-Z]\w+ #([A-Z]-[0-9A-Fa-f-]+) (started|done)$")
_LAUNCH = re.compile(r"Launching an? \w+ on (.+)$")
_MACRO = re.compile(r"Performing an? \w+\[(\w+)\] step$")
_MICRO = re.compile(r"  (\w+)$")
_DETAIL = re.compile(r"\s+[*~] ")
_MACRO_END = re.compile(r"End of step \w+\[(\w+)\] after ")
_MACRO_FAILED = re.compile(r"Step \w+\[(\w+)\] failed for (.+) after ")
_MICRO_FAILED = re.compile(r"!!! The nodes? (.+) failed on step (\w+)")
_TIMEOUT = re.compile(r"Timeout in the (\w+) step, let's kill the instance")
_DISCARDED = re.compile(r"The nodes? (.+) (?:are|is) already involved in deployment, let's discard them")
_SPLIT = re.compile(r"Nodeset \[?[\w.-]+\]? split into ?:$")
_PART = re.compile(r"  \[([\w.-]+)\] (.+)$")
_END = re.compile(r"End of \w+ for (.+) after \S+$")
_CLUSTER_END = re.compile(r"End of \w+ on cluster \S+ after \S+$")
_GRAB = re.compile(r"Grab the ")
_ERROR = re.compile(r"\[Kadeploy Error #(\d+)\]$")
_INTERNAL_ERROR = "[Internal Server Error]"
_RANGES = re.compile(r"([^\[\],\s]*)\[([0-9,\s-]+)\]([^\[\],\s]*)")
_OF_SSH = re.compile(r"(Shared c|C)onnection to \S+ closed\.?$|Warning: Permanently added ")
_LONGEST = 500
"""Characters of what it said that are worth to be told again."""


@dataclass
class _Nodeset:
    """Nodes that go through the same steps; kadeploy3 splits one when a part of it fails."""

    nodes: frozenset[str]
    macro: str = ""
    micro: str = ""
    lost: frozenset[str] = frozenset()
    """Those of which a step has failed: they are back if the macro-step begins again, else they belong to another nodeset, or to none."""
    timed_out: str = ""
    splits: bool = False
    """The parts are being told."""

    def begin(self, macro: str) -> None:
        if macro == self.macro:
            self.nodes |= self.lost
        self.macro, self.micro, self.timed_out, self.lost = macro, "", "", frozenset()

    def lose(self, nodes: frozenset[str]) -> None:
        self.lost |= nodes & self.nodes
        self.nodes -= nodes


class Names:
    """Finds the nodes that we know in what kadeploy3 says of them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {name.casefold(): name for name in names}

    def find(self, text: str) -> str | None:
        """The node of this name; we may know it by less, ``host-1.site`` of ``host-1.site.grid5000.fr``."""
        name = text.casefold()
        while name not in self._names:
            name, dot, _ = name.rpartition(".")
            if not dot:
                return None
        return self._names[name]

    def fold(self, text: str) -> frozenset[str]:
        """The nodes in a folded list, ``host-[1-3,7].site,other.site``."""
        found: set[str] = set()
        for prefix, ranges, suffix in _RANGES.findall(text):
            found.update(self._in_ranges(prefix.casefold(), _bounds(ranges), suffix.casefold()))
        for word in re.split(r"[,\s]+", _RANGES.sub(" ", text)):
            if word and (name := self.find(word)) is not None:
                found.add(name)
        return frozenset(found)

    def _in_ranges(self, prefix: str, bounds: list[tuple[int, int]], suffix: str) -> Iterable[str]:
        # We look for what we know, for a list may stand for more than there is memory.
        for folded, name in self._names.items():
            found = re.match(r"([0-9]{1,18})(.*)$", folded[len(prefix):]) if folded.startswith(prefix) else None
            if found is None or not any(low <= int(found[1]) <= high for low, high in bounds):
                continue
            if found[2] == suffix or suffix.startswith(found[2] + "."):
                yield name


def _bounds(ranges: str) -> list[tuple[int, int]]:
    found = []
    for part in ranges.split(","):
        numbers = re.fullmatch(r"\s*([0-9]{1,18})\s*(?:-\s*([0-9]{1,18})\s*)?", part)
        if numbers is not None:
            found.append((int(numbers[1]), int(numbers[2] or numbers[1])))
    return found


class KadeployOutput:
    """What one run of kadeploy3 has said so far.

    :param hosts: the nodes that it was asked to deploy.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self.progress = Progress(hosts)
        self.workflow_id: str | None = None
        self.deployed: set[str] = set()
        """As the final list says."""
        self.undeployed: set[str] = set()
        self.error: tuple[int | None, str] | None = None
        """Number and text of the error that the server reported; the number is None if it crashed."""
        self.interrupted = False
        """It says that it was interrupted."""
        self._names = Names(self.progress.steps)
        self._all = frozenset(self.progress.steps)
        self._sets: dict[tuple[str, str], _Nodeset] = {}        # by (server, prefix)
        self._list: str | None = None           # the final list that is being told: DEPLOYED or FAILED
        self._said: dict[int, deque[str]] = {}  # by stream: the last lines that mean nothing to us, so perhaps something to the user
        self._troubles: dict[str, str] = {}     # by node: what went wrong last, perhaps not for ever

    def feed(self, line: str, date: float, stream: int = 1) -> str | None:
        """One line; the name of a step, if one begins with it.

        :param date: Unix seconds.
        :param stream: 1 or 2: one error is told on one of them.
        """
        line = _COLOURS.sub("", line).rstrip()
        if not line.isascii():          # bytes that are no text cannot be printed again
            line = line.encode("utf-8", "backslashreplace").decode("utf-8")
        if not line:
            return None
        said = self._said.setdefault(stream, deque(maxlen=4))
        server, prefix, line = _without_prefixes(line)
        if self._final(line, date):
            said.clear()
            return None
        known, step = self._event(server, prefix, line, date)
        if known:
            said.clear()
            return step
        if error := _ERROR.match(line):
            self.error = int(error[1]), _short(" ".join(said))
            said.clear()
        elif self.error is not None and self.error == (None, ""):
            self.error = None, _short(line)
        elif self.error is None or self.error[0] is not None:
            if line == _INTERNAL_ERROR:
                self.error = None, ""
            elif line == "SIGINT trapped":
                self.interrupted = True
            elif not _OF_SSH.match(line):
                said.append(line.strip())
        return None

    def _final(self, line: str, date: float) -> bool:
        """Whether it belongs to the lists at the end."""
        for heading, state in _LISTS:
            if heading.match(line):
                self._list = state
                return True
        if self._list is None:
            return False
        listed = _LISTED.match(line)
        if listed is None:
            self._list = None
            return False
        node = self._names.find(listed[1])
        if node is None:
            return True
        if self._list == DEPLOYED:
            self.deployed.add(node)
            self.progress.judge(node, DEPLOYED, "", date)
        else:
            self.undeployed.add(node)
            reason = listed[2] or self._troubles.get(node) or "kadeploy3 gives no reason"
            self.progress.judge(node, FAILED, reason, date)
        return True

    def _set(self, key: tuple[str, str]) -> _Nodeset:
        if key not in self._sets:
            whole = self._sets.get((key[0], ""))
            self._sets[key] = _Nodeset(self._all if whole is None else whole.nodes)
        return self._sets[key]

    def _event(self, server: str, prefix: str, line: str, date: float) -> tuple[bool, str | None]:
        """Whether it tells of the deployment, and the step that begins."""
        nodeset = self._set((server, prefix))
        if nodeset.splits:
            if part := _PART.match(line):
                self._sets[server, part[1]] = _Nodeset(self._names.fold(part[2]), nodeset.macro, nodeset.micro)
                return True, None
            nodeset.splits = False
        if micro := _MICRO.match(line):
            nodeset.micro = micro[1]
            self.progress.enter(nodeset.nodes, nodeset.macro, nodeset.micro, date)
            return True, f"{nodeset.macro}-{nodeset.micro}"
        if macro := _MACRO.match(line):
            nodeset.begin(macro[1])
            self.progress.enter(nodeset.nodes, nodeset.macro, "", date)
            return True, nodeset.macro
        if _DETAIL.match(line) or line == "---" or _MACRO_END.match(line) or _CLUSTER_END.match(line) or _GRAB.match(line):
            return True, None
        return self._rare_event(nodeset, line, date), None

    def _rare_event(self, nodeset: _Nodeset, line: str, date: float) -> bool:
        if workflow := _WORKFLOW.match(line):
            self.workflow_id = workflow[1]
        elif launch := _LAUNCH.match(line):
            launched = self._names.fold(launch[1])
            if launched:            # several clusters may share a prefix
                nodeset.nodes = launched if nodeset.nodes == self._all else nodeset.nodes | launched
        elif _SPLIT.match(line):
            nodeset.splits = True
        elif end := _END.match(line):
            self.progress.leave(self._names.fold(end[1]), date)
        elif timeout := _TIMEOUT.match(line):
            nodeset.timed_out = timeout[1]
        elif micro_failed := _MICRO_FAILED.match(line):
            late = ": timeout" if nodeset.timed_out == micro_failed[2] else ": failed"
            self._trouble(micro_failed[1], f"{nodeset.macro}-{micro_failed[2]}{late}")
            nodeset.lose(self._names.fold(micro_failed[1]))
        elif macro_failed := _MACRO_FAILED.match(line):
            nodes = self._names.fold(macro_failed[2])
            self.progress.leave(nodes, date)
            nodeset.lose(nodes)
            for node in nodes:
                self._troubles.setdefault(node, f"{macro_failed[1]}: failed")
        elif discarded := _DISCARDED.match(line):
            self._trouble(discarded[1], "already involved in another deployment")
        else:
            return False
        return True

    def _trouble(self, folded: str, text: str) -> None:
        for node in self._names.fold(folded):
            self._troubles[node] = text

    def finish(self, date: float, why: str) -> None:
        """Nothing comes any more: what was not judged has failed, with this reason and what is known of the node itself."""
        for node in self._all - self.deployed - self.undeployed:
            trouble, step = self._troubles.get(node), self.progress.step_of(node)
            reason = why
            if trouble:
                reason = f"{trouble}; {why}"
            elif step:
                reason = f"{why}, in {step}"
            self.progress.judge(node, FAILED, reason, date)

    @property
    def complaint(self) -> str:
        """What it says went wrong as a whole; ''."""
        if self.error is not None:
            number, text = self.error
            if number is None:
                return f"the Kadeploy server failed{': ' if text else ''}{text}"
            kind = ERRORS.get(number, "unknown kind")
            return f"Kadeploy error {number} ({kind}){': ' if text else ''}{text}"
        if self.interrupted:
            return "kadeploy3 was interrupted"
        lines = self._said.get(2) or self._said.get(1) or ()
        return _short(" ".join(lines))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _without_prefixes(line: str) -> tuple[str, str, str]:
    """(server, nodeset, rest) of a line: ``[server]    [1] rest``; '' for those that it has not."""
    server = nodeset = ""
    found = _PREFIX.match(line)
    if found is not None and len(found[2]) >= 4 and not line.startswith(("*", "~"), found.end()):
        server, line = found[1], line[found.end(1) + 5:]
        found = _PREFIX.match(line)
    if found is not None:
        nodeset, line = found[1], line[found.end(1) + 2:]
    return server, nodeset, line


def step_of_reason(reason: str) -> tuple[str, str]:
    """(macro-step, micro-step) of a reason of kadeploy3, ``BootNewEnvClassical-wait_reboot: ...``; '' if it does not."""
    found = _REASON.match(reason)
    return (found[1], found[2]) if found is not None else ("", "")
