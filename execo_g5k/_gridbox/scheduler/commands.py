"""The commands of OAR 2.5.9 over a `Schedule`, and Grid'5000's `kavlan` and `g5k-subnets`: words in, texts and an exit code out."""

from __future__ import annotations

from .call import Answer, Call, Exit
from .jobs import Jobs
from .resources import Resources, oarprint
from .submission import Submitting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Answer", "Call", "Commands"]


class Commands(Submitting, Jobs, Resources):
    """All of them; see `State` for what they are made with."""

    @property
    def _table(self) -> dict[str, Callable[[Call], Answer]]:
        return {
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
