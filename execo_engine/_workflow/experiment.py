"""What runs a campaign sees of its `SweepEngine`.  For the checker of types alone."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Any, Protocol

    from execo.host import Host

    from ..notebook import Notebook
    from ..results import Results

    class Experiment(Protocol):
        """See `SweepEngine`.  What it defines may change while it runs: it is asked when it matters."""

        check_hosts: bool
        max_refusals: int
        retry_delay: Any
        end_timeout: Any
        notebook: Notebook | None

        @property
        def results(self) -> Results: ...
        @property
        def connection_params(self) -> Any: ...
        def run_combination(self, combination: Any, hosts: list[Host], directory: Path) -> Mapping[str, Any] | None: ...
        def tidy_up(self, combination: Any, hosts: list[Host]) -> None: ...
        def hosts_needed(self, combination: Any) -> int: ...
        def choose_hosts(self, combination: Any, free: list[Host]) -> list[Host]: ...
        def duration(self, combination: Any) -> Any: ...
        def prepare(self, hosts: list[Host]) -> None: ...
        def clean_up(self, hosts: list[Host]) -> None: ...
        def step(self, combination: Any, name: str) -> AbstractContextManager[None]: ...
