"""The same tests with pidfds and without them: `pytestmark = pytest.mark.usefixtures("reaping")` after importing the fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from own_conductor import own_conductor


@pytest.fixture(params=["pidfd", "asking"])
def reaping(request: pytest.FixtureRequest) -> Iterator[str]:
    """How ends are seen: by the I/O thread of all tests, or by one that lives as on a kernel without pidfds."""
    if request.param == "pidfd":
        yield request.param
        return
    with own_conductor(use_pidfd=False):
        yield request.param
