"""What all commands of a frontend work on."""

from __future__ import annotations

from .predicate import columns_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .model import Job, Schedule


class State:
    """A frontend.

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
