"""What the box asks of the OAR of one site, whichever that is."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any, Protocol

    from .http import Answer, Request

    class SiteOar(Protocol):
        """The OAR of a site and its frontend.  All methods may be called from any thread, several at once."""

        kind: str
        """What it is, in words: "OAR 2.5.9", or "the box's own scheduler, not OAR"."""
        user: str
        """The account that logs in on the frontend, and whose jobs these are."""
        proxy_command: list[str]
        """Words that, run here, speak ssh (an ``sshd -i``) for the frontend of the site."""
        commands: Path
        """A folder of commands to be run here, without ssh, that act as on the frontend: oarsub, oardel, oarstat, oarsh, oarcp."""

        def start(self) -> None:
            """Returns when it takes jobs."""

        def stop(self) -> None:
            """Returns when nothing of it runs any more.  Also after a start that failed, and twice."""

        def jobs(self) -> list[dict[str, Any]]:
            """As the API shows them, with ``resources_by_type`` and ``assigned_nodes``, without ``links``; newest first; ended ones too."""

        def submit(self, fields: Mapping[str, Any], user: str) -> int:
            """A job by the fields of the API's POST: its id.

            :raises Refused: with the text of OAR.
            """

        def delete(self, job_id: int, user: str) -> None:
            """Returns when the deletion is registered.

            :raises Refused: 403 for somebody else's job, 404 for an unknown one.
            """

        def change_walltime(self, job_id: int, fields: Mapping[str, Any], user: str) -> None:
            """By the fields of the API's POST, ``{"walltime": "+0:30:00"}``.

            :raises Refused: as `delete`, and for a job that does not run.
            """

        def resources(self) -> list[dict[str, Any]]:
            """Rows of OAR's resources, one for each core, disk, VLAN and subnet."""

        def oarapi(self, request: Request) -> Answer:
            """What OAR's own REST API answers, JSON; also what it refuses.

            :param request: its path begins below that API: ``("jobs", "12")``.
            :raises Problem: if it does not answer.
            """

    class SiteFrontend(SiteOar, Protocol):
        """An OAR with a frontend, which can have more commands."""

        @property
        def shared(self) -> Path:
            """A folder that has the same name here and on the frontend, once it has started."""

        def add_commands(self, names: Iterable[str], socket: str) -> None:
            """Commands that ask the server behind this socket, as `execo_g5k._gridbox.kadeploy.client` says; instead of those that have
            these names."""


@dataclass(frozen=True)
class SiteSetup:
    """What the box gives to the OAR of a site: ``RealOar(setup)`` and ``OwnOar(setup)`` are made with it."""

    site: str
    directory: Path
    """A folder of its own, which exists and is empty; the box removes it."""
    rows: Sequence[Mapping[str, Any]]
    """Its resources, as `SiteOar.resources` is to give them."""
    hosts: Mapping[str, str]
    """{FQDN of a node: the address that answers for it}."""
    key: Path
    """Private key of the user of the box; beside it ``.pub``, which the frontend has to let in."""
    ssh_config: Path
    """For ``ssh -F``, here: with it nodes answer by FQDN and by short name.  It is there when `SiteOar.start` is called."""
    clock: Callable[[], float]
    """The date."""
    charter: bool = False
    """Refuse jobs that break the usage policy (own scheduler only)."""


class Refused(Exception):
    """OAR refuses what it was asked.

    :param status: that of HTTP.
    :param text: what OAR says.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text

    def __str__(self) -> str:
        return self.text
