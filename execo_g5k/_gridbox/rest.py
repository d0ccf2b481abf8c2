"""The REST server of the box, on a free port of the loopback; and faults, for tests of clients."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import ssl
import threading
import time
import traceback
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from execo.log import logger

from .http import COLLECTION, ITEM, TEXT, Answer, Problem, Request
from .reference import Reference, make_reference
from .rest_reference import ReferenceApi
from .rest_site import SiteApi
from .static import StaticOar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from typing_extensions import Self

    from .rest_vlans import VlanApi
    from .site import SiteOar

    Json = dict[str, Any]
    Extension = Callable[[Request, str], Answer]

VERSION = re.compile(r"/(stable|sid|\d+\.\d+)(?=/|$)")
STOPPING_SECONDS = 5.0
LARGEST_BODY = 1 << 24


@dataclass
class _Fault:
    """What happens to the next requests that match, instead of or to their answers."""

    what: str
    left: int
    path: re.Pattern[str]
    status: int = 0


class RestServer:
    """Serves a reference, and one `SiteOar` for each of its sites, from `start` to `stop`; also a context manager.

    :param oars: {site: its OAR}; a site without one has no dynamic part.
    :param clock: the date.
    :param users: {name: password} by HTTP Basic, without which nothing is answered; None: who comes is the user of the site's OAR.
    :param tls: (certificate file, key file), for https.
    :param vlan_rights: see `SiteApi`.
    """

    def __init__(self, reference: Reference, oars: Mapping[str, SiteOar] | None = None, *, clock: Callable[[], float] = time.time,
                 users: Mapping[str, str] | None = None, tls: tuple[str, str] | None = None, vlan_rights: bool = False) -> None:
        self.reference = reference
        self.log: list[tuple[str, str, int]] = []
        """(method, path with query, status) of each answer, in the order of their ends."""
        self.delay = 0.0
        """Seconds before each answer."""
        self.extensions: dict[str, Extension] = {}
        """{first step below a site, as "deployments": what answers it, given the request and the site}."""
        self.users = None if users is None else dict(users)
        self._oars = dict(oars or {})
        self._reference_api = ReferenceApi(reference, clock)
        self._sites = {site: SiteApi(reference, site, oar, clock, vlan_rights) for site, oar in self._oars.items()}
        self._tls = tls
        self._lock = threading.Lock()
        self._faults: list[_Fault] = []
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        context = None
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
        self._server = _Server(self, context)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="gridbox-api", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Returns when no connection is left."""
        server, thread, self._server, self._thread = self._server, self._thread, None, None
        if server is not None and thread is not None:
            server.shutdown()
            thread.join()
            server.close_all()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the server of the API does not run")
        return int(self._server.server_address[1])

    @property
    def uri(self) -> str:
        """For ``g5k_configuration["api_uri"]``."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}/3.0/"

    def vlans(self, site: str) -> VlanApi:
        """The VLANs of a site that has an OAR."""
        return self._sites[site].vlans

    def fail_next(self, status: int, n: int = 1, path: str = "") -> None:
        """The next `n` requests whose path has this regular expression in it are answered with this status."""
        self._add(_Fault("fail", n, re.compile(path), status))

    def truncate_next(self, n: int = 1, path: str = "") -> None:
        """The next answers end in the middle."""
        self._add(_Fault("truncate", n, re.compile(path)))

    def drop_next(self, n: int = 1, path: str = "") -> None:
        """The next requests get no answer: the connection ends."""
        self._add(_Fault("drop", n, re.compile(path)))

    def garble_next(self, n: int = 1, path: str = "") -> None:
        """The next answers have a whole body that is no JSON."""
        self._add(_Fault("garble", n, re.compile(path)))

    def _add(self, fault: _Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def _fault(self, path: str) -> _Fault | None:
        with self._lock:
            fault = next((fault for fault in self._faults if fault.path.search(path)), None)
            if fault is not None:
                fault.left -= 1
                if fault.left <= 0:
                    self._faults.remove(fault)
            return fault

    def user_of(self, authorization: str, asserted: str | None, site: str | None) -> str | None:
        """Who asks.

        :param asserted: what the header says that a front proxy would have set.
        :raises Problem: 401.
        """
        name = password = None
        if authorization.startswith("Basic "):
            name, _, password = base64.b64decode(authorization[6:]).decode(errors="replace").partition(":")
        if self.users is not None:
            if name is None or self.users.get(name) != password:
                raise Problem(401, "Authorization Required", {"WWW-Authenticate": 'Basic realm="Grid\'5000 API"'})
            return name
        if asserted is not None:
            return asserted
        if name is not None:
            return name
        oar = self._oars.get(site or "") or next(iter(self._oars.values()), None)
        return oar.user if oar else None

    def answer(self, request: Request) -> Answer:
        """:raises Problem:"""
        if len(request.path) >= 3 and request.path[0] == "sites" and request.path[1] in self.reference.sites:
            site, service = request.path[1], request.path[2]
            if service in self.extensions:
                return self.extensions[service](request, site)
            dynamic = self._sites[site].answer(request) if site in self._sites else None
            if dynamic is not None:
                return dynamic
        return self._reference_api.answer(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, rest: RestServer, context: ssl.SSLContext | None) -> None:
        self.rest = rest
        self.context = context
        self._open: dict[socket.socket, threading.Thread] = {}
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._serve, args=(request, client_address), name="gridbox-api-client", daemon=True)
        with self._open_lock:
            self._open[request] = thread
        thread.start()

    def _serve(self, connection: socket.socket, client_address: Any) -> None:
        try:
            # here, not where connections are accepted: a client that says nothing must hold up nobody
            used = connection if self.context is None else self.context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False)
            if isinstance(used, ssl.SSLSocket):
                with self._open_lock:
                    self._open[used] = self._open.pop(connection)
                connection = used
                used.do_handshake()
            self.finish_request(used, client_address)
        except (OSError, ValueError):       # the client has gone, or does not trust us, or `close_all` was quicker
            pass
        finally:
            with self._open_lock:
                self._open.pop(connection, None)
            self.shutdown_request(connection)

    def close_all(self) -> None:
        self.server_close()
        with self._open_lock:
            still = dict(self._open)
        for connection in still:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in still.values():
            thread.join(STOPPING_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "execo-gridbox"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = 1 << 16                      # head and body leave together
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug("gridbox: %s", format % args)

    def do_GET(self) -> None:
        rest = self.server.rest
        url = urlsplit(self.path)
        path = re.sub("/+", "/", unquote(url.path))
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST_BODY:
            self.close_connection = True
            length = 0
        body = self.rfile.read(length)
        fault = rest._fault(self.path)
        if rest.delay:
            time.sleep(rest.delay)
        if fault is not None and fault.what == "drop":
            self.close_connection = True
            rest.log.append((self.command, self.path, 0))
            return
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        try:
            if fault is not None and fault.what == "fail":
                raise Problem(fault.status, f"{self.responses.get(fault.status, ('Failure',))[0]}, as ordered")
            answer = rest.answer(self._request(rest, path, query, body))
        except Problem as problem:
            answer = Answer(problem.text, problem.status, problem.headers, TEXT)
        except Exception as error:          # as the API does; and the log has where it came from
            logger.error("gridbox: %s %s failed:\n%s", self.command, self.path, traceback.format_exc())
            answer = Answer(str(error) or "Internal Server Error", 500, {}, TEXT)
        self._send(answer, query, fault.what if fault else "")

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _request(self, rest: RestServer, path: str, query: dict[str, str], body: bytes) -> Request:
        version = VERSION.match(path)
        prefix = version[0] if version else ""
        bare = path[len(prefix):].rstrip("/")
        steps = tuple(bare.removesuffix(".json").split("/")[1:])
        site = steps[1] if len(steps) > 1 and steps[0] == "sites" else None
        user = rest.user_of(self.headers.get("Authorization", ""), self.headers.get("X-Api-User-Cn"), site)
        base = f"{'http' if self.server.context is None else 'https'}://{self.headers.get('Host', '127.0.0.1')}"
        return Request(self.command, steps, query, prefix, base, user, self.headers.get("Content-Type", ""), body)

    def _send(self, answer: Answer, query: Mapping[str, str], fault: str) -> None:
        headers, status = dict(answer.headers), answer.status
        if isinstance(answer.body, str):
            content, kind = answer.body.encode(), answer.content_type or TEXT
        else:
            indent = 2 if "pretty" in query or self.headers.get("X-Rack-PrettyJSON") else None
            content = json.dumps(answer.body, indent=indent, ensure_ascii=False).encode()
            kind = answer.content_type or self._json_type(answer)
            if status == 200 and self.command in ("GET", "HEAD") and "Cache-Control" in headers:
                headers["ETag"] = f'W/"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
                if self._unchanged(headers):
                    status, content = 304, b""
        if fault == "garble":
            content = b"<html>" + content[:100]
        self.server.rest.log.append((self.command, self.path, status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        if fault == "truncate":
            content = content[:len(content) // 2]
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(content)

    def _json_type(self, answer: Answer) -> str:
        own = COLLECTION if isinstance(answer.body, dict) and "items" in answer.body else ITEM
        wanted = own in (self.headers.get("Accept") or "") and not answer.plain_json
        return f"{own if wanted else 'application/json'}; charset=utf-8"

    def _unchanged(self, headers: Mapping[str, str]) -> bool:
        tags, since = self.headers.get("If-None-Match"), self.headers.get("If-Modified-Since")
        if tags is not None:
            return headers["ETag"] in [tag.strip() for tag in tags.split(",")]
        if since is None or "Last-Modified" not in headers:
            return False
        try:
            return parsedate_to_datetime(since) >= parsedate_to_datetime(headers["Last-Modified"])
        except (ValueError, TypeError):     # not a date
            return False


@contextlib.contextmanager
def serve_reference(jobs: Mapping[str, Iterable[Json]] | None = None, *, reference: Reference | None = None,
                    clock: Callable[[], float] = time.time, users: Mapping[str, str] | None = None, tls: tuple[str, str] | None = None,
                    vlan_rights: bool = False) -> Iterator[RestServer]:
    """The API alone, of sites where nothing runs.

    :param jobs: {site: jobs, as `execo_g5k._gridbox.static.make_job` makes them}.
    :param reference: None: a new one, the whole platform of the box.
    """
    reference = make_reference() if reference is None else reference
    unknown = set(jobs or {}) - set(reference.sites)
    if unknown:
        raise ValueError(f"jobs on unknown sites: {', '.join(sorted(unknown))}; there are {', '.join(reference.sites)}")
    oars: dict[str, SiteOar] = {site: StaticOar(reference.oar_rows(site), (jobs or {}).get(site, ()), clock=clock)
                                for site, described in reference.sites.items() if described["clusters"]}
    with RestServer(reference, oars, clock=clock, users=users, tls=tls, vlan_rights=vlan_rights) as server:
        yield server
