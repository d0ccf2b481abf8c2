"""A package index on the loopback that serves decoys, and remembers what it was asked for."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def write_wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel of one module `NAME.py` with `origin = "decoy"`, as anybody could upload it."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": 'origin = "decoy"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


class DecoyIndex:
    """What is served and what was asked for.  `asked` may be read between two installations."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.asked: list[str] = []
        """Names of projects, normalised, in the order of the requests."""

    def page(self, project: str) -> str | None:
        """The simple page of a project, or None if there is no such project."""
        wheels = [wheel.name for wheel in sorted(self.folder.glob("*.whl"))
                  if re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower() == project]
        links = "".join(f'<a href="/files/{html.escape(name)}">{html.escape(name)}</a>\n' for name in wheels)
        return f"<!DOCTYPE html><html><body>\n{links}</body></html>\n" if wheels else None


@contextmanager
def serve(folder: Path) -> Iterator[DecoyIndex]:
    """Serve the wheels of this folder until the end of the block."""
    index = DecoyIndex(folder, "")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            body: bytes | None = None
            kind = "text/html"
            if parts[0] == "simple" and len(parts) == 2:
                index.asked.append(parts[1])
                page = index.page(parts[1])
                body = page.encode() if page is not None else None
            elif parts[0] == "files" and len(parts) == 2 and (folder / parts[1]).is_file():
                body, kind = (folder / parts[1]).read_bytes(), "application/octet-stream"
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index.url = f"http://127.0.0.1:{server.server_port}/simple/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="decoy-index")
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
