"""Requests to the REST API of Grid'5000: one place for timeouts, repetitions, authentication, pages, and what failures say."""

from __future__ import annotations

import json
import random
import re
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth

from execo.log import logger
from execo.time_utils import get_seconds

from ..config import g5k_configuration
from .secrets import Secret, forget_password, password_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    from typing_extensions import Self

    from execo.time_utils import Duration

    A = TypeVar("A")
    B = TypeVar("B")

PAUSES = (0.2, 0.6, 1.8)
"""Seconds before each repetition of a GET that failed, give or take a quarter."""
PAGE = 500
"""Items of a page: the server's own limit."""
OVERLAP = 20
"""Items that consecutive pages share, so that no item is lost when others vanish in between."""
_CONNECT = 10.0         # seconds; a host that does not answer the beginning of a connection by then is not there
_READ_ONCE = 1 << 20    # bytes of an answer that is kept to be compared by its ETag
_CHUNK = 1 << 22        # bytes; requests alone reads 10 KiB at a time, which costs as much as decoding
_TEMPORARY = (500, 502, 503, 504)


class APIException(Exception):
    """A request to the API failed.

    :param uri: what was asked for.
    :param method: ``GET``, ``POST`` ...
    :param response: the answer, a `requests.Response`, if there was one: its ``status_code`` and ``text`` say more.
    :param exception: what went wrong, if there was no answer or it cannot be read.
    """

    def __init__(self, uri: str, method: str, response: requests.Response | None = None, exception: Exception | None = None) -> None:
        super().__init__(uri, method)
        self.uri = uri
        self.method = method
        self.response = response
        self.exception = exception

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.uri, self.method, self.response, self.exception)

    @property
    def status(self) -> int | None:
        """Of the answer; None if there was none."""
        return None if self.response is None else self.response.status_code

    def __str__(self) -> str:
        said = f"<APIException uri={self.uri!r} method={self.method}"
        if self.response is not None:
            said += f' status={self.response.status_code}/"{self.response.reason}"'
            if self.exception is None:
                said += f' content="{_shortened(self.response.text)}"'
        if self.exception is not None:
            said += f" exception={self.exception}"
        if self.status == 401:
            said += ": user name or password are missing or wrong; see g5k_configuration['api_username']"
        return said + ">"


def _shortened(text: str, limit: int = 2000) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


class APIConnection:
    """The API at one address.  Threads may share it; a context manager, which closes what it keeps open.

    :param base_uri: address; None: ``g5k_configuration['api_uri']``.
    :param username: of the platform's account; None: ``g5k_configuration['api_username']``, which may be None too: inside Grid'5000 no
      authentication is needed.
    :param password: None: from the keyring (extra ``keyring``), ``~/.netrc``, or asked at the terminal, once in a program.
    :param headers: of each request; None: ``{'ACCEPT': 'application/json'}``.
    :param additional_args: of each query; None: ``g5k_configuration['api_additional_args']``.
    :param timeout: a duration: for the answer to begin, and between its parts.
    :raises ValueError: if there is no password for the user name.

    A GET is repeated up to three times if the server fails (500, 502, 503, 504) or the connection does; nothing else ever is.  Certificates
    are verified unless ``g5k_configuration['api_verify_ssl_cert']`` is False.
    """

    def __init__(self, base_uri: str | None = None, username: str | None = None, password: str | None = None,
                 headers: Mapping[str, str] | None = None, additional_args: Mapping[str, Any] | None = None,
                 timeout: Duration | None = 30) -> None:
        base, user_of_uri, password_of_uri = _split_credentials(g5k_configuration["api_uri"] if base_uri is None else base_uri)
        self.base_uri = base
        self.headers = {"ACCEPT": "application/json"} if headers is None else dict(headers)
        self.additional_args = dict(g5k_configuration["api_additional_args"] if additional_args is None else additional_args)
        self.username: str | None = username or user_of_uri or g5k_configuration["api_username"]
        given = password if password is not None else password_of_uri
        if given is None and self.username is not None:
            given = password_for(self.username, base)
        self.password: Secret | None = None if given is None else Secret(given)
        # As bytes, for requests would write characters that are not ASCII in Latin-1.
        self._auth = None if given is None else HTTPBasicAuth((self.username or "").encode(), given.encode())
        self.timeout = timeout
        self._seconds = None if timeout is None else get_seconds(timeout)
        if self._seconds is not None and not self._seconds > 0:
            raise ValueError(f"timeout of the API: expected a duration, found {timeout!r}")
        self._known: dict[str, tuple[str, bytes]] = {}      # by URI: ETag and body of the last answer
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=16)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        if g5k_configuration["api_verify_ssl_cert"] is False:
            warnings.filterwarnings("ignore", "Unverified HTTPS request")       # it was asked for
        self._closing = weakref.finalize(self, _close, self._session)
        if self.password is not None and base.startswith("http://") and urlsplit(base).hostname not in ("localhost", "127.0.0.1", "::1"):
            logger.warning("the password of %s goes to %s without encryption", self.username, base)

    def __repr__(self) -> str:
        return f"APIConnection({self.base_uri!r}, username={self.username!r}, timeout={self.timeout!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is kept open between requests; it may be used again."""
        _close(self._session)

    def get(self, relative_uri: str, headers: Mapping[str, str] | None = None, attempts: int | None = None) -> requests.Response:
        """The answer to a GET, 200 or 304.

        :param headers: more of them, for this request.
        :param attempts: at most so many; None: 4.
        :raises APIException: for any other answer, or none.
        """
        response: requests.Response = self._get(relative_uri, headers, attempts, lambda response: response)
        return response

    def get_json(self, relative_uri: str, **query: Any) -> Any:
        """The decoded answer to a GET.  An answer that is no JSON, as of a server that dies, counts as a failure of the connection.

        :param query: arguments after the ``?``; True is ``yes``, False ``no``, a list is joined by commas, None is left out.
        :raises APIException: as `get`.
        """
        path = with_query(relative_uri, query)
        kept = self._known.get(path)
        if kept is None:
            return self._get(path, None, None, lambda response: self._decoded(path, response))
        return self._get(path, {"If-None-Match": kept[0]}, None, lambda response: self._decoded(path, response, kept[1]))

    def get_decoded(self, relative_uri: str, decode: Callable[[str], A], **query: Any) -> A:
        """What `decode` makes of the text of the answer to a GET, in UTF-8; its ValueError counts as a failure of the connection.

        :raises APIException: as `get`.
        """
        def use(response: requests.Response) -> A:
            return decode(b"".join(response.iter_content(_CHUNK)).decode())

        value: A = self._get(with_query(relative_uri, query), None, None, use, stream=True)
        return value

    def _decoded(self, path: str, response: requests.Response, kept: bytes | None = None) -> Any:
        if response.status_code == 304 and kept is not None:
            return json.loads(kept)
        body = response.content
        value = json.loads(body)
        if (tag := response.headers.get("ETag")) and len(body) <= _READ_ONCE and len(self._known) < 100:
            self._known[path] = tag, body
        return value

    def get_items(self, relative_uri: str, limit: int = PAGE, **query: Any) -> list[dict[str, Any]]:
        """All items of a collection, whatever the server's limit of a page; each once, also when some come or go meanwhile.

        :param limit: of a page.
        :param query: as for `get_json`.
        :raises APIException: as `get`; also if the pages lead nowhere.
        """
        found: dict[Any, dict[str, Any]] = {}
        offset, expected, step_back, idle = 0, False, OVERLAP, 0
        while True:
            page = self.get_json(relative_uri, **query, limit=limit, offset=offset)
            items = items_of(page, self.uri(relative_uri))
            # What was seen and is not there any more has let others move up, between the pages: look further up.
            if expected and not any(_key(item) in found for item in items) and offset > 0:
                offset, step_back = max(0, offset - step_back), 2 * step_back
                continue
            before = len(found)
            found.update((_key(item), item) for item in items)
            idle = idle + 1 if len(found) == before else 0      # some new items may shift the others, but not for ever
            if idle == 3 or page.get("offset", offset) != offset:
                raise APIException(self.uri(relative_uri), "GET", exception=ValueError(
                    f"the page from item {offset} of {page.get('total')} brings nothing new"))
            end = offset + len(items)
            if end >= page.get("total", 0) or not items:
                return list(found.values())
            step_back = min(OVERLAP, len(items) // 2)
            offset, expected = end - step_back, step_back > 0
            step_back = max(1, step_back)

    def post(self, relative_uri: str, json: Any) -> requests.Response:
        """The answer to a POST of JSON: 200, 201, 202 or 304.  It is sent once, whatever happens.

        :raises APIException: for any other answer, or none: then it may have been obeyed or not.
        """
        return self._change("POST", relative_uri, (200, 201, 202, 204, 304), json=json)

    def put(self, relative_uri: str, json: Any = None) -> requests.Response:
        """As `post`, by PUT."""
        return self._change("PUT", relative_uri, (200, 201, 202, 204), json=json)

    def delete(self, relative_uri: str) -> requests.Response:
        """As `post`, by DELETE."""
        return self._change("DELETE", relative_uri, (200, 202, 204))

    def uri(self, relative_uri: str) -> str:
        """The whole URI of a request, without query arguments of its own."""
        return with_query(f"{self.base_uri}/{relative_uri.lstrip('/')}", self.additional_args)

    def _get(self, path: str, headers: Mapping[str, str] | None, attempts: int | None,
             use: Callable[[requests.Response], Any], stream: bool = False) -> Any:
        pauses = PAUSES[:len(PAUSES) if attempts is None else attempts - 1]
        for pause in (*pauses, None):
            try:
                response = self._send("GET", path, headers=headers, stream=stream)
                if response.status_code not in (200, 304):
                    raise self._failed(path, "GET", response)
                try:
                    return use(response)
                except ValueError as not_json:
                    raise APIException(self.uri(path), "GET", response, _NotJSON(str(not_json))) from None
                except requests.RequestException as broken:     # in the middle of a stream
                    raise APIException(self.uri(path), "GET", exception=broken) from broken
            except APIException as failure:
                if pause is None or not _may_pass(failure):
                    raise
                pause *= random.uniform(0.75, 1.25)         # so that many that failed together do not come back together
                logger.debug("again in %.1f s: %s", pause, failure)
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _change(self, method: str, path: str, good: tuple[int, ...], **body: Any) -> requests.Response:
        # A redirection would repeat it, or turn it into a GET.
        response = self._send(method, path, allow_redirects=False, **body)
        if response.status_code not in good:
            raise self._failed(path, method, response)
        return response

    def _failed(self, path: str, method: str, response: requests.Response) -> APIException:
        if response.status_code == 401 and self.username is not None:
            forget_password(self.username, self.base_uri)
        _ = response.content        # of a stream, while it is open
        return APIException(self.uri(path), method, response)

    def _send(self, method: str, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> requests.Response:
        seconds = self._seconds
        verified = g5k_configuration["api_verify_ssl_cert"] is not False
        try:
            return self._session.request(
                method, self.uri(path), headers={**self.headers, **(headers or {})}, **options,
                auth=self._auth,
                timeout=(None if seconds is None else min(_CONNECT, seconds), seconds), verify=verified)
        except requests.RequestException as failure:
            raise APIException(self.uri(path), method, exception=failure) from failure
        except UnicodeError as failure:     # a host name that cannot be one
            raise APIException(self.uri(path), method, exception=failure) from failure


def _close(session: requests.Session) -> None:
    # A session only forgets its pools, and answers that somebody keeps, as an exception does, keep their pool with all connections.
    for adapter in session.adapters.values():
        pools = adapter.poolmanager.pools if isinstance(adapter, HTTPAdapter) else {}
        for key in list(pools.keys()):
            if (pool := pools.get(key)) is not None:
                pool.close()
    session.close()


class _NotJSON(ValueError):
    def __str__(self) -> str:
        return f"the answer is no JSON: {super().__str__()}"


def _may_pass(failure: APIException) -> bool:
    """Whether it may be otherwise in a moment.  Not: what was waited for already, and certificates."""
    what = failure.exception
    if what is None:
        return failure.status in _TEMPORARY
    if isinstance(what, (requests.exceptions.Timeout, requests.exceptions.SSLError)):
        return False
    return isinstance(what, (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError,
                             requests.exceptions.ContentDecodingError, _NotJSON))


def _split_credentials(uri: str) -> tuple[str, str | None, str | None]:
    """An address without the user and password that it may hold, and these."""
    try:
        parts = urlsplit(uri)
        _ = parts.port          # a ValueError for what is none
    except ValueError:          # which would show what is wrong
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.path + parts.query + parts.fragment:
        # Before any @ there may be a password, however badly it is written.
        shown = re.sub(r"(?s)^([a-zA-Z][a-zA-Z0-9+.-]*://)?.*@", r"\1...@", str(uri))
        raise ValueError(f"address of the API: expected http:// or https://, a host and a path, found {shown!r}")
    place = parts.netloc.rpartition("@")[2]
    base = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
    return base, parts.username and unquote(parts.username), None if parts.password is None else unquote(parts.password)


def _as_argument(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(map(str, value))
    return str(value)


def with_query(uri: str, query: Mapping[str, Any]) -> str:
    """A URI with more arguments."""
    given = {name: _as_argument(value) for name, value in query.items() if value is not None}
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode(given, safe=',:', quote_via=quote)}" if given else uri


def _key(item: Mapping[str, Any]) -> Any:
    uid = item.get("uid", item.get("id"))
    return id(item) if uid is None else uid


def items_of(collection: Any, uri: str) -> list[dict[str, Any]]:
    """The items of a collection.

    :raises APIException: if it is none.
    """
    items = collection.get("items") if isinstance(collection, dict) else None
    if not isinstance(items, list):
        raise APIException(uri, "GET", exception=ValueError(f"expected a collection with items, found {_shortened(repr(collection), 200)}"))
    return items


def configured() -> APIConnection:
    """A connection as ``g5k_configuration`` has it."""
    return APIConnection(timeout=g5k_configuration["api_timeout"])


def in_parallel(function: Callable[[A], B], items: Iterable[A], width: int = 8) -> list[B]:
    """Results of `function`, in order, of at most `width` threads at a time; the first exception is raised when all have ended."""
    todo = list(items)
    if len(todo) <= 1:
        return [function(item) for item in todo]
    with ThreadPoolExecutor(min(width, len(todo)), thread_name_prefix="execo-api") as pool:
        futures = [pool.submit(function, item) for item in todo]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:      # those that have not begun need not
                future.cancel()
            raise


def get_resource_attributes(path: str) -> Any:
    """What the API answers to ``GET path`` now, decoded: ``get_resource_attributes("/sites/lyon/status")``.

    :raises APIException: if it refuses, or does not answer.
    """
    with configured() as api:
        return api.get_json(path)
