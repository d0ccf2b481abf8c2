"""For the tests of execo_g5k: its configuration is restored, and real sites with OAR."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from requirements import require

from execo_g5k import config
from execo_g5k._gridbox.oar_real.oarsite import OarSite, connection_params


@pytest.fixture(autouse=True)
def _g5k_configuration_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    dicts: list[dict[str, Any]] = [config.g5k_configuration, config.default_frontend_connection_params, config.default_oarsh_oarcp_params]
    saved = copy.deepcopy(dicts)
    for name in [name for name in os.environ if name.startswith("OAR")]:
        monkeypatch.delenv(name)
    config.g5k_configuration["grid_dir"] = str(tmp_path / "grids")
    yield
    for live, value in zip(dicts, saved, strict=True):
        live.clear()
        live.update(value)


@pytest.fixture(scope="session")
def home_site() -> Iterator[OarSite]:
    """A site with three hosts."""
    require("oar")
    with OarSite("home") as site:
        yield site


@pytest.fixture(scope="session")
def away_site(home_site: OarSite) -> Iterator[OarSite]:
    """Another one, with one host."""
    with OarSite("away", 1, key_of=home_site) as site:
        yield site


@pytest.fixture
def home(home_site: OarSite) -> OarSite:
    """The site, configured as the default frontend, which is reached by ssh."""
    config.g5k_configuration.update(default_frontend="home", polling_interval=1, tiny_polling_interval=0.3, default_timeout=60)
    config.default_frontend_connection_params.update(connection_params(home_site))
    return home_site


@pytest.fixture
def away(home: OarSite, away_site: OarSite) -> Iterator[OarSite]:
    """The second site, configured beside the first one."""
    config.default_frontend_connection_params.update(connection_params(home, away_site))
    yield away_site
    away_site.clear()
