"""Descriptions of platforms to ask the API about: the one of the box, and today's whole Grid'5000 where its data is at hand.

That data has no licence, so it is not here: who has it puts it beside the clone, in a folder `g5k` of some folder.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from execo_g5k import g5k_configuration
from execo_g5k._api import reference
from execo_g5k._gridbox.reference import make_reference
from execo_g5k._gridbox.rest import serve_reference

ROOT = Path(__file__).resolve().parents[2]
_SERVERS = sorted(ROOT.parent.glob("*/g5k/tools/serve.py"))

PLATFORMS = ["box", *(["today"] if _SERVERS else [])]
"""For `pytest.fixture(params=...)`: what is absent makes no test, and no skip."""


@contextmanager
def serve(platform: str) -> Iterator[str]:
    """Serve one of `PLATFORMS`; yields its address."""
    if platform == "box":
        with serve_reference(reference=make_reference(other_scheduler=True)) as api:
            yield api.uri
        return
    server = subprocess.Popen([sys.executable, str(_SERVERS[0]), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1]
    finally:
        server.kill()
        server.communicate()


@contextmanager
def configured(uri: str, folder: Path) -> Iterator[None]:
    """`execo_g5k` asks there, keeps its copy in a folder of the test's, and remembers nothing afterwards."""
    before = dict(g5k_configuration)
    g5k_configuration.update(api_uri=uri, api_cache_dir=str(folder), api_timeout=20)
    reference.forget()
    try:
        yield
    finally:
        g5k_configuration.clear()
        g5k_configuration.update(before)
        reference.forget()
