"""Deployments through the REST API of Grid'5000: no frontend, no ssh."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

from execo.config import make_connection_params
from execo.log import logger
from execo.time_utils import format_seconds, get_seconds

from .._api.connection import APIException, configured
from ..config import g5k_configuration
from .command import Deployment, by_frontend, hosts_of
from .progress import DEPLOYED, FAILED, Progress
from .report import DeploymentReport, node_report
from .request import follow, request_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from typing_extensions import Self

    from .._api.connection import APIConnection
    from .progress import NodeProgress

CANCEL_SECONDS = 20.0
"""The API has so long to tell that a deployment is cancelled."""
SILENT_SECONDS = 900.0
"""Without an answer of the API for so long, a deployment is given up, for nothing else would end it."""


class ApiDeployer:
    """Deploys the hosts of a `Deployment` once, through the API, on all sites at once.

    :param deployment: its environment is a name or a URL.
    :param key: public keys that may log in: their text, their URL, or the name of a file; None: that of `connection_params`, else those of
      ``~/.ssh``.
    :param connection_params: how the nodes will be reached; only `keyfile` is used.
    :raises ValueError: for what the API has no word for, or a host whose site is not known.

    `timeout` is an attribute, for each site; None: none.  A timeout, or the end of `run` by an exception, cancels the deployments.
    """

    def __init__(self, deployment: Deployment, key: str | None = None, connection_params: Mapping[str, Any] | None = None) -> None:
        self.deployment = deployment
        self.timeout: Any = None
        self.uids: dict[str, str] = {}
        """{site: id of its deployment}"""
        self._stop = threading.Event()
        keys = _key(key, connection_params)
        self._requests: dict[str, dict[str, Any]] = {}
        self._names: dict[str, dict[str, str]] = {}             # by site: {name in the API: our address}
        self._progress: dict[str, Progress] = {}
        for site, addresses in by_frontend(host.address for host in hosts_of(deployment)).items():
            if site is None or not re.fullmatch(r"[a-z0-9_-]+", site):
                raise ValueError(f"hosts to deploy: the site of {addresses[0]!r} is not known; write host-1.site.grid5000.fr")
            self._names[site] = {_whole(address, site): address for address in addresses}
            self._requests[site] = request_of(deployment, self._names[site], keys)
            self._progress[site] = Progress(addresses)

    def run(self) -> Self:
        """Deploy; returns when all sites have ended."""
        if any(progress.start is not None for progress in self._progress.values()):
            raise ValueError(f"run a second time: {self.deployment!r}")
        seconds = get_seconds(self.timeout)
        if not all("key" in request for request in self._requests.values()):
            logger.warning("no public key (~/.ssh/id_*.pub): nobody may be able to log in to the deployed hosts")
        # Not `join`, which takes a thread for ended when a signal interrupts it (Python before 3.13).
        ends = {site: threading.Event() for site in self._names}
        threads = [threading.Thread(target=self._run_site, args=(site, seconds, end), name=f"execo-deploy-{site}", daemon=True)
                   for site, end in ends.items()]
        for thread in threads:
            thread.start()
        try:
            for end in ends.values():
                end.wait()
        except BaseException:           # Ctrl-C: what goes on would keep the nodes
            self.kill()
            deadline = time.monotonic() + CANCEL_SECONDS
            for end in ends.values():
                end.wait(max(0.0, deadline - time.monotonic()))
            raise
        for thread in threads:
            thread.join()
        return self

    def kill(self) -> Self:
        """Cancel what runs; does not wait."""
        self._stop.set()
        return self

    def _run_site(self, site: str, seconds: float | None, end: threading.Event) -> None:
        try:
            self._deploy_site(site, seconds)
        finally:
            end.set()

    def _deploy_site(self, site: str, seconds: float | None) -> None:
        progress = self._progress[site]
        progress.start = time.time()
        try:
            with configured() as api:
                why = self._follow_site(api, site, seconds)
        except APIException as failure:
            why = _text(failure)
        except Exception as failure:
            logger.exception("deployment through the API on %s:", site)
            why = f"{type(failure).__name__}: {failure}"
        for address, state in list(progress.states.items()):
            if state not in (DEPLOYED, FAILED):
                progress.judge(address, FAILED, why, time.time())

    def _follow_site(self, api: APIConnection, site: str, seconds: float | None) -> str:
        """Submit and follow; why what was not told of is not deployed."""
        deadline = None if seconds is None else time.monotonic() + seconds
        collection = f"/sites/{site}/deployments"
        response = api.post(collection, self._requests[site])
        try:
            uid = str(response.json()["uid"])
        except (KeyError, TypeError, ValueError) as wrong:
            raise APIException(api.uri(collection), "POST", response, ValueError(f"no deployment: {wrong!r}")) from None
        self.uids[site] = uid
        path = f"{collection}/{uid}"
        logger.debug("deployment %s on %s", uid, site)
        pause = get_seconds(g5k_configuration["tiny_polling_interval"]) or 0.0
        answered = time.monotonic()
        while not (ended := self._look(api, path, site)):
            now = time.monotonic()
            if ended is not None:
                answered = now
            if deadline is not None and now >= deadline:
                why = f"the deployment did not end within {format_seconds(seconds)}"
            elif now - answered >= SILENT_SECONDS:
                why = f"the API has not answered for {format_seconds(SILENT_SECONDS)}"
            elif self._stop.wait(pause if deadline is None else min(pause, deadline - now)):
                why = "it was cancelled"
            else:
                continue
            self._cancel(api, path)
            return why
        return "the API says nothing of it"

    def _look(self, api: APIConnection, path: str, site: str) -> bool | None:
        """Whether it has ended; None: no answer."""
        try:
            item = api.get_json(path)
        except APIException as failure:
            if failure.status is not None and failure.status < 500:
                raise
            logger.warning("deployment on %s: %s", site, failure)       # asked again: it goes on without us
            return None
        return follow(self._progress[site], item, self._names[site], time.time())

    def _cancel(self, api: APIConnection, path: str) -> None:
        """Have it end, and wait a while until it has: a next deployment finds its nodes busy until then."""
        try:
            api.delete(path)
            deadline = time.monotonic() + CANCEL_SECONDS
            while api.get_json(path).get("status") in ("waiting", "processing") and time.monotonic() < deadline:
                time.sleep(min(1.0, get_seconds(g5k_configuration["tiny_polling_interval"]) or 1.0))
        except APIException as failure:
            logger.warning("the deployment may go on: %s", failure)

    @property
    def deployed_hosts(self) -> set[str]:
        """Addresses."""
        return {host for progress in self._progress.values() for host, state in list(progress.states.items()) if state == DEPLOYED}

    @property
    def undeployed_hosts(self) -> set[str]:
        """Addresses of those that failed."""
        return set(self.failures)

    @property
    def failures(self) -> dict[str, str]:
        """{address: reason} of those that failed."""
        return {host: reason for progress in self._progress.values() for host, reason in list(progress.reasons.items())}

    @property
    def steps(self) -> dict[str | None, dict[str, NodeProgress]]:
        """{site: {address: `NodeProgress`}}; dates are those of the questions, so as exact as ``tiny_polling_interval``."""
        return {site: progress.look() for site, progress in self._progress.items()}

    @property
    def report(self) -> DeploymentReport:
        """Of each host, as far as it is known now."""
        return DeploymentReport(node_report(address, site, progress)
                                for site, progress in self._progress.items() for address in progress.steps)

    @property
    def ok(self) -> bool:
        """All hosts are deployed."""
        return all(state == DEPLOYED for progress in self._progress.values() for state in progress.states.values())


def _whole(address: str, site: str) -> str:
    if address.count(".") >= 2:
        return address
    return f"{address.partition('.')[0]}.{site}.grid5000.fr"


def _text(failure: APIException) -> str:
    """What the API says, as one line."""
    if failure.response is not None and failure.exception is None:
        return f"the API refuses ({failure.status}): {' '.join(failure.response.text.split())[:500]}"
    return str(failure)


def _key(given: str | None, params: Mapping[str, Any] | None) -> str | None:
    """Public keys, as text or URL."""
    if given is not None:
        if re.match(r"https?://|ssh-|ecdsa-|sk-", given):
            return given
        return Path(given).expanduser().read_text(encoding="utf-8")
    keyfile = make_connection_params(params)["keyfile"]
    files = [Path(f"{keyfile}.pub").expanduser()] if keyfile else sorted((Path.home() / ".ssh").glob("id_*.pub"))
    texts = [file.read_text(encoding="utf-8").strip() for file in files if file.is_file()]
    return "\n".join(texts) or None
