"""What `execo_g5k.kadeploy.deploy` returns."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from typing_extensions import Self

    from .report import DeploymentReport


class DeploymentResult(tuple[set[str], set[str]]):
    """The pair (deployed, undeployed) of sets of addresses, and why, and how long it took: ``deployed, undeployed = deploy(...)``."""

    failures: dict[str, str]
    """{address: reason} of each host that is not deployed."""
    report: DeploymentReport
    """Steps and times of all runs."""

    def __new__(cls, deployed: Iterable[str], undeployed: Iterable[str], failures: Mapping[str, str],
                report: DeploymentReport) -> Self:
        result = super().__new__(cls, (set(deployed), set(undeployed)))
        result.failures = dict(failures)
        result.report = report
        return result

    def __getnewargs__(self) -> Any:
        return self.deployed, self.undeployed, self.failures, self.report

    @property
    def deployed(self) -> set[str]:
        """Addresses."""
        return self[0]

    @property
    def undeployed(self) -> set[str]:
        """Addresses."""
        return self[1]
