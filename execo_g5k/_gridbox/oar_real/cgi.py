"""Between a request of HTTP and a program of CGI.  Pure."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..http import Request

ROOT = "/oarapi"


def variables(request: Request, user: str | None) -> dict[str, str]:
    """What the program finds in its environment.

    :param request: its path begins below the program; JSON is asked for, whatever was.
    :param user: whom the server in front would have identified.
    """
    path = "/" + "/".join(request.path) + ".json"
    found = {"GATEWAY_INTERFACE": "CGI/1.1", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
             "REMOTE_ADDR": "127.0.0.1", "REQUEST_METHOD": "GET" if request.method == "HEAD" else request.method, "SCRIPT_NAME": ROOT,
             "PATH_INFO": path, "QUERY_STRING": urlencode(request.query), "REQUEST_URI": ROOT + quote(path),
             "CONTENT_LENGTH": str(len(request.body)), "CONTENT_TYPE": request.content_type, "HTTP_ACCEPT": "application/json"}
    return found if user is None else {**found, "HTTP_X_REMOTE_IDENT": user}


def parse(output: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by their names in lower case, and body of what the program printed.

    :raises ValueError: if that is no answer.
    """
    parts = re.split(rb"\r?\n\r?\n", output, maxsplit=1)
    headers = {}
    for line in parts[0].decode("latin-1").splitlines():
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[!-9;-~]+", name):
            raise ValueError(f"expected a header, found {line[:200]!r}")
        headers[name.lower()] = value.strip()
    status = headers.pop("status", "200")[:3]
    if len(parts) < 2 or not re.fullmatch(r"[1-5][0-9][0-9]", status, re.ASCII):
        raise ValueError(f"expected headers with a status, an empty line and a body, found {output[:200]!r}")
    return int(status), headers, parts[1]
