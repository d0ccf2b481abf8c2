"""What became of a deployment, and how long each phase took."""

from __future__ import annotations

from dataclasses import dataclass

from execo.time_utils import format_date, format_seconds

from .parse import step_of_reason
from .progress import DEPLOYED, FAILED, PHASES

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from typing import Any

    from .progress import Progress


@dataclass(frozen=True)
class NodeReport:
    """One node, in the last run that it took part in."""

    host: str
    site: str | None
    state: str
    """'deployed', 'failed', 'deploying' or 'waiting'."""
    tries: int
    """Runs that it took part in; 0: it was found deployed."""
    start: float | None
    """Unix seconds, of that run."""
    seconds: float | None
    """Boot-to-boot time: from the start of that run until the node was through; None if it never began."""
    phases: Mapping[str, float]
    """Seconds in each of `PHASES`; what was repeated in the run counts again."""
    step: str
    """Where it failed, ``SetDeploymentEnvUntrusted-wait_reboot``; else the last step that it began."""
    reason: str
    """Why it failed; ''."""
    trace: tuple[tuple[float, str], ...] = ()
    """(date, phase) whenever it came to another phase, and at last (date, state)."""


class DeploymentReport:
    """Of one or several runs: per node and altogether the phases *first check* (boot of the system from which a node is prepared),
    *pre-installation* (of its disk), *transfer* (of the environment), *last check* (boot of the environment), and the boot-to-boot time.

    :param nodes: `NodeReport` of each host.

    It is read only; ``print(report)`` is a table.
    """

    def __init__(self, nodes: Iterable[NodeReport]) -> None:
        self.nodes = {node.host: node for node in nodes}
        """{address: `NodeReport`}"""

    @property
    def deployed(self) -> set[str]:
        """Addresses."""
        return {host for host, node in self.nodes.items() if node.state == DEPLOYED}

    @property
    def failures(self) -> dict[str, str]:
        """{address: reason} of those that failed."""
        return {host: node.reason for host, node in self.nodes.items() if node.state == FAILED}

    @property
    def sites(self) -> list[str | None]:
        """In the order of the hosts."""
        return list(dict.fromkeys(node.site for node in self.nodes.values()))

    def phases(self, site: str | None = None) -> dict[str, float]:
        """Seconds until the slowest deployed node was through a phase, less those until it was through the one before, as in the Grid'5000
        paper's Figure 4; their sum is the boot-to-boot time.

        :param site: of its nodes only; None: of all.
        """
        done = dict.fromkeys(PHASES, 0.0)
        for node in self.nodes.values():
            if node.state != DEPLOYED or not node.tries or (site is not None and node.site != site):
                continue
            total = 0.0
            for phase in PHASES:
                total += node.phases[phase]
                done[phase] = max(done[phase], total)
        before, found = 0.0, {}
        for phase, seconds in done.items():
            found[phase], before = seconds - before, seconds
        return found

    def boot_to_boot(self, site: str | None = None) -> float | None:
        """Seconds until the slowest deployed node was through, in its last run; None if none was deployed.

        :param site: of its nodes only; None: of all.
        """
        seconds = [node.seconds for node in self.nodes.values()
                   if node.state == DEPLOYED and node.seconds is not None and (site is None or node.site == site)]
        return max(seconds, default=None)

    def to_dict(self) -> dict[str, Any]:
        """All of it in dicts, lists, numbers and strings, as JSON takes them."""
        def part(site: str | None) -> dict[str, Any]:
            nodes = [node for node in self.nodes.values() if site is None or node.site == site]
            return {"nodes": len(nodes), "deployed": sum(node.state == DEPLOYED for node in nodes),
                    "boot_to_boot": self.boot_to_boot(site), "phases": self.phases(site)}

        return {
            "overall": part(None),
            "sites": {site: part(site) for site in self.sites if site is not None},
            "nodes": [{"host": node.host, "site": node.site, "state": node.state, "tries": node.tries, "start": node.start,
                       "boot_to_boot": node.seconds, "phases": dict(node.phases), "step": node.step, "reason": node.reason}
                      for node in self.nodes.values()],
        }

    def to_string(self) -> str:
        """A table: a line for each node, each site, and all; times in seconds."""
        heads = ["", "state", "tries", *PHASES, "boot-to-boot", "reason"]
        rows = [heads]
        for node in self.nodes.values():
            rows.append([node.host, node.state, str(node.tries), *_columns(node.phases if node.seconds is not None else None),
                         _tenths(node.seconds), node.reason])
        for site in self.sites if len(self.sites) > 1 else ():
            rows.append([str(site), *self._summary(site)])
        rows.append(["all", *self._summary(None)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
        numeric = range(2, 4 + len(PHASES))
        lines = ["  ".join(cell.rjust(width) if column in numeric else cell.ljust(width)
                           for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]
        return "\n".join(lines) + "\n"

    def _summary(self, site: str | None) -> list[str]:
        nodes = [node for node in self.nodes.values() if site is None or node.site == site]
        seconds = self.boot_to_boot(site)
        return [f"{sum(node.state == DEPLOYED for node in nodes)}/{len(nodes)}", str(max((node.tries for node in nodes), default=0)),
                *_columns(self.phases(site) if seconds is not None else None), _tenths(seconds), ""]

    def __str__(self) -> str:
        return self.to_string()

    def __repr__(self) -> str:
        seconds = self.boot_to_boot()
        took = "" if seconds is None else f", boot-to-boot {format_seconds(round(seconds))}"
        start = min((node.start for node in self.nodes.values() if node.start is not None), default=None)
        begun = "" if start is None else f", started {format_date(start)}"
        return f"<DeploymentReport({len(self.deployed)} of {len(self.nodes)} nodes deployed{took}{begun})>"

    def plot(self, file: str | os.PathLike[str] | None = None, title: str = "") -> Any:
        """The phases, as in the Grid'5000 paper's Figure 4, and how many nodes are in each over time, as in its Figure 5.

        :param file: where to save it; the suffix says how.
        :returns: a matplotlib Figure.
        :raises ImportError: without matplotlib (extra ``plot``).
        """
        from .chart import plot_report

        return plot_report(self, file, title)


def _tenths(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"


def _columns(phases: Mapping[str, float] | None) -> list[str]:
    return [_tenths(None if phases is None else phases[phase]) for phase in PHASES]


def node_report(host: str, site: str | None, progress: Progress, tries: int = 1) -> NodeReport:
    """Of one run."""
    steps, state, reason = list(progress.steps[host]), progress.states[host], progress.reasons.get(host, "")
    end = progress.ends.get(host)
    trace: list[tuple[float, str]] = []
    for step in steps:
        if not trace or trace[-1][1] != step.phase:
            trace.append((step.date, step.phase))
    if end is not None:
        trace.append((end, state))
    phases = progress.phases(host)
    where = "-".join(part for part in step_of_reason(reason) if part) or (steps[-1].name if steps else "")
    return NodeReport(host, site, state, tries, progress.start, sum(phases.values()) if steps else None, phases, where, reason,
                      tuple(trace))
