"""What a request asks and what is answered; nothing of the network is here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Json = dict[str, Any]

ITEM, COLLECTION = "application/vnd.grid5000.item+json", "application/vnd.grid5000.collection+json"
TEXT = "text/plain; charset=utf-8"
NOBODY = (None, "", "unknown", "(unknown)")
ANONYMOUS = "anonymous"


class Problem(Exception):
    """An answer that is no success.

    :param text: its body.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Request:
    method: str
    path: Sequence[str]
    """Steps, without the version and without ``.json``."""
    query: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    """The version of the API as it was asked for, ``/3.0``."""
    base: str = ""
    """``http://127.0.0.1:8000``, as the client called it."""
    user: str | None = None
    content_type: str = ""
    body: bytes = b""

    @property
    def url(self) -> str:
        """The path as text, ``/sites/lyon``; '' for the root."""
        return "".join(f"/{step}" for step in self.path)

    def writer(self) -> str:
        """The user, if this one may change something."""
        if self.user in NOBODY or self.user == ANONYMOUS:
            raise Problem(403, "You are not authorized to access this resource")
        assert self.user is not None
        return self.user

    def json(self) -> Any:
        """What was sent, of which nothing else than JSON is taken."""
        if self.content_type.partition(";")[0].strip() != "application/json":
            raise Problem(415, f"Content-Type '{self.content_type}' is not supported")
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Problem(400, f"Bad Request: {error}") from None

    def fields(self) -> Json:
        """What was sent, JSON or a form."""
        if not self.content_type.startswith("application/x-www-form-urlencoded"):
            sent = self.json() if self.body else {}
            if not isinstance(sent, dict):
                raise Problem(400, "Bad Request")
            return sent
        from urllib.parse import parse_qsl

        found: Json = {}
        for name, value in parse_qsl(self.body.decode(), keep_blank_values=True):
            if name.endswith("[]"):
                found.setdefault(name[:-2], []).append(value)
            else:
                found[name] = value
        return found

    def number(self, name: str, default: int) -> int:
        """A number of the query."""
        text = self.query.get(name) or str(default)
        if not text.isdigit():
            raise Problem(400, f"Bad Request: {name}: expected a number, found {text!r}")
        return int(text)

    def link(self, rel: str, path: str, kind: str = ITEM) -> Json:
        return {"rel": rel, "href": self.prefix + (path or "/"), "type": kind}

    def location(self, path: str) -> dict[str, str]:
        return {"Location": self.base + self.prefix + path}


@dataclass
class Answer:
    body: Json | list[Any] | str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    """None: one of JSON, as the client wants it."""
    plain_json: bool = False
    """Of a service behind, that knows no types of ours."""


def page(request: Request, items: Sequence[Any], path: str, parent: str) -> Json:
    """A collection cut to what is asked for, and to 500 whatever is asked for."""
    offset, limit = request.number("offset", 0), min(request.number("limit", 50), 500)
    return {"total": len(items), "offset": offset, "items": list(items[offset:offset + limit]),
            "links": [request.link("self", path, COLLECTION), request.link("parent", parent)]}


def collection(request: Request, items: Sequence[Any], path: str, parent: str, **more: Any) -> Json:
    """A collection that is never cut."""
    return {"total": len(items), "offset": 0, "items": list(items), **more,
            "links": [request.link("self", path, COLLECTION), request.link("parent", parent)]}
