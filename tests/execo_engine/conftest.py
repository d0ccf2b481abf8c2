"""For the tests of execo_engine."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def same_log_level() -> Iterator[None]:
    """An engine that was started with -l leaves its level to the program, which goes on with another test here."""
    logger = logging.getLogger("execo.engine")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A directory in memory where there is one: a killed process loses nothing that it wrote, with or without a disk."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="execo-sweep-", dir=parent))
    yield path
    shutil.rmtree(path)
