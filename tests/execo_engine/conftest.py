"""For the tests of execo_engine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A directory in memory where there is one: a killed process loses nothing that it wrote, with or without a disk."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="execo-sweep-", dir=parent))
    yield path
    shutil.rmtree(path)
