"""The description of the platform as all functions use it: in memory, else from the disk, else from the API."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from execo.log import logger
from execo.time_utils import get_seconds

from ..config import g5k_configuration
from . import cache
from .connection import APIConnection, APIException, configured, with_query
from .fetch import arranged, fetch_platform, root_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


@dataclass(frozen=True)
class Reference:
    """The description, and where to find what in it."""

    data: dict[str, Any]
    place_of_host: dict[str, tuple[str, str]] = field(init=False)
    """{short name: (site, cluster)}."""
    site_of_cluster: dict[str, str] = field(init=False)
    sites_of_equipment: dict[str, list[str]] = field(init=False)
    """Most names are of one site, but some (``gw``) of many."""

    def __post_init__(self) -> None:
        hierarchy: dict[str, dict[str, list[str]]] = self.data["hierarchy"]
        places = {host: (site, cluster) for site, clusters in hierarchy.items() for cluster, hosts in clusters.items() for host in hosts}
        equipments: dict[str, list[str]] = {}
        for site in hierarchy:
            for name in self.data["network"].get(site, {}):
                equipments.setdefault(name, []).append(site)
        object.__setattr__(self, "place_of_host", places)
        object.__setattr__(self, "site_of_cluster", {cluster: site for site, clusters in hierarchy.items() for cluster in clusters})
        object.__setattr__(self, "sites_of_equipment", equipments)


_known: dict[tuple[str, str], Reference] = {}       # by (source, folder)
_lock = threading.Lock()                            # held while one is fetched, so that threads do it once


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()        # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork)


def default_cache_dir() -> str:
    """Where the copy on disk is: ``g5k_configuration['api_cache_dir']``, else in ``~/.execo``."""
    configured_dir: str | None = g5k_configuration.get("api_cache_dir")
    if configured_dir is not None:
        return os.fspath(configured_dir)
    return os.path.join(os.path.expanduser("~"), ".execo", f"g5k_api_cache-{sys.version_info[0]}.{sys.version_info[1]}")


def _source() -> str:
    """What the API is asked at, without credentials."""
    uri: str = g5k_configuration["api_uri"]
    scheme, _, rest = uri.rstrip("/").partition("://")
    place, slash, path = rest.partition("/")
    return with_query(f"{scheme}://{place.rpartition('@')[2]}{slash}{path}", g5k_configuration["api_additional_args"])


def reference(cache_dir: str | os.PathLike[str] | None = None) -> Reference:
    """The description of the API that is configured now, read at most once by a program."""
    folder = os.path.expanduser(default_cache_dir() if cache_dir is None else os.fspath(cache_dir))
    key = _source(), folder
    found = _known.get(key)
    if found is None:
        with _lock:
            found = _known.get(key)
            if found is None:
                with _without_collections():
                    found = Reference(_read_or_fetch(Path(folder), key[0]))
                _known[key] = found
    return found


def forget() -> None:
    """What is in memory, so that the next use looks at the API again."""
    _known.clear()


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    # A million new objects, none of them garbage: looking for cycles in them again and again takes a third of the time.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if gc.get_freeze_count() == 0:
                # Straight to the oldest generation, or the first small collection would look at all of them.
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def _read_or_fetch(folder: Path, source: str) -> dict[str, Any]:
    has_copy = (folder / "version").exists()
    with configured() as api:
        with ThreadPoolExecutor(1, thread_name_prefix="execo-api") as pool:     # the API is asked while the copy is read
            asked = pool.submit(_current_version, api, has_copy)
            with contextlib.suppress(cache.DamagedError, OSError):      # perhaps it is being written: see below, under the lock
                copy = cache.read(folder, source)
                if copy is not None and _is_good(copy, asked.result(), folder):
                    return arranged(copy.data)
            version = asked.result()
        with cache.locked(folder, 2 * get_seconds(g5k_configuration["api_timeout"] or 30)):
            copy = _readable(folder, source)
            if copy is not None and _is_good(copy, version, folder):
                return arranged(copy.data)
            if isinstance(version, APIException):
                if not has_copy:
                    raise version
                version = root_version(api)     # only now is it worth some patience
            return _fetch(api, version, folder, source)


def _current_version(api: APIConnection, has_copy: bool) -> str | APIException:
    try:
        return root_version(api, attempts=1 if has_copy else None)
    except APIException as failure:
        return failure


def _is_absence(failure: APIException) -> bool:
    """Whether the API is out of order or out of reach, rather than refusing."""
    return failure.exception is not None or failure.status is None or failure.status >= 500


def _is_good(copy: cache.Cached, version: str | APIException, folder: Path) -> bool:
    if not isinstance(version, APIException):
        return copy.api_commit == version
    if not _is_absence(version):
        raise version
    logger.warning("the API cannot be reached, so the description of the platform is the last known one, in %s: %s", folder, version)
    return True


def _readable(folder: Path, source: str) -> cache.Cached | None:
    try:
        return cache.read(folder, source)
    except (cache.DamagedError, OSError) as damage:
        logger.warning("the copy of the API's description of the platform cannot be used, and is fetched anew: %s", damage)
        return None


def _fetch(api: APIConnection, version: str, folder: Path, source: str) -> dict[str, Any]:
    # It may take seconds, in which nothing else is seen to happen.
    logger.info("Retrieving data from API...")
    platform = fetch_platform(api, version)
    try:
        cache.write(folder, source, platform.data["version"], platform.contents)
    except OSError as failure:
        logger.warning("no copy of the API's description of the platform is kept in %s: %s", folder, failure)
    return platform.data
