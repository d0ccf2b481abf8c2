"""How far each node is: its steps with their dates, and the phases that they make up.  Pure: who knows the dates gives them.

Threads: one writes, any may read.
"""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PHASES = ("first check", "pre-installation", "transfer", "last check")
"""As in Figures 4 and 5 of Bolze et al., Grid'5000, IJHPCA 20(4), 2006: boot of the system from which the node is prepared; preparation of
its disk; transfer of the environment; boot of the environment."""
WAITING, DEPLOYING, DEPLOYED, FAILED = "waiting", "deploying", "deployed", "failed"

# Micro-steps of SetDeploymentEnv up to the moment at which the preparing system answers; all others there prepare the disk.
_BOOTS = frozenset({"", "switch_pxe", "set_default_vlan", "set_vlan", "reboot", "kexec", "wait_reboot", "create_kexec_repository",
                    "get_deploy_files", "kexec_reboot"})


@dataclass(frozen=True, slots=True)
class Step:
    """A node has begun a step."""

    date: float
    """Unix seconds."""
    macro: str
    """As ``SetDeploymentEnvUntrusted``."""
    micro: str
    """As ``wait_reboot``; '' at the beginning of a macro-step."""

    @property
    def name(self) -> str:
        """``SetDeploymentEnvUntrusted-wait_reboot``, as kadeploy3 itself writes it."""
        return "-".join(part for part in (self.macro, self.micro) if part)

    @property
    def phase(self) -> str:
        """One of `PHASES`."""
        if self.macro.startswith("BroadcastEnv"):
            return PHASES[2]
        if self.macro.startswith("BootNewEnv"):
            return PHASES[3]
        return PHASES[0] if self.micro in _BOOTS or not self.macro else PHASES[1]


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """Where a node is."""

    state: str
    """'waiting', 'deploying', 'deployed' or 'failed'."""
    macro: str
    micro: str
    since: float | None
    """Unix seconds; None: nothing is known yet."""
    reason: str
    """Why it failed; '' if it did not."""


class Progress:
    """Of the nodes that one server deploys.

    :param nodes: their names.
    """

    def __init__(self, nodes: Iterable[str]) -> None:
        self.start: float | None = None
        """Unix seconds."""
        self.steps: dict[str, list[Step]] = {node: [] for node in nodes}
        self.ends: dict[str, float] = {}
        """When each node was through, well or badly."""
        self.states: dict[str, str] = dict.fromkeys(self.steps, WAITING)
        self.reasons: dict[str, str] = {}

    def enter(self, nodes: Iterable[str], macro: str, micro: str, date: float) -> None:
        """They begin a step, also those that had left; not those that were judged."""
        step = Step(date, macro, micro)
        for node in nodes:
            if self.states[node] not in (DEPLOYED, FAILED):
                self.steps[node].append(step)
                self.states[node] = DEPLOYING
                self.ends.pop(node, None)

    def leave(self, nodes: Iterable[str], date: float) -> None:
        """Their last step has ended."""
        for node in nodes:
            self.ends.setdefault(node, date)

    def judge(self, node: str, state: str, reason: str, date: float) -> None:
        """It is deployed, or failed."""
        self.states[node] = state
        self.reasons.pop(node, None)
        if state == FAILED:
            self.reasons[node] = reason
        self.ends.setdefault(node, date)

    def step_of(self, node: str) -> str:
        """Name of the last step that it began; ''."""
        steps = self.steps[node]
        return steps[-1].name if steps else ""

    def look(self) -> dict[str, NodeProgress]:
        """Where they are now."""
        now = {}
        for node, steps in self.steps.items():
            last = steps[-1] if steps else None
            macro, micro = (last.macro, last.micro) if last else ("", "")
            since = self.ends.get(node, last.date if last else self.start)
            now[node] = NodeProgress(self.states[node], macro, micro, since, self.reasons.get(node, ""))
        return now

    def phases(self, node: str) -> dict[str, float]:
        """Seconds that it spent in each of `PHASES`, from the start on; what it did again counts again."""
        spent = dict.fromkeys(PHASES, 0.0)
        steps = list(self.steps[node])
        if not steps:
            return spent
        begin = steps[0].date if self.start is None else min(self.start, steps[0].date)
        spent[PHASES[0]] += steps[0].date - begin
        ends = [step.date for step in steps[1:]] + [self.ends.get(node, steps[-1].date)]
        for step, end in zip(steps, ends, strict=True):
            spent[step.phase] += max(0.0, end - step.date)
        return spent
