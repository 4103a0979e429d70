"""`latentbench serve`: the report of runs that may still be going on, made anew as records come.

Only files of the report itself are given out, by a list of their names: no path of a request ever reaches the disk.
"""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import UserError
from ..filters import select
from ..rows import Row, rows
from .build import report
from .output import INDEX
from .progress import fingerprint, progress

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".png": "image/png", ".wav": "audio/wav"}
_PAUSE = 15.0  # seconds between two reports: pages that are being read should not jump


class Live:
    """The report in a folder of its own, and how the run goes on. Safe to be asked by several threads."""

    def __init__(self, dirs: Sequence[Path], folder: Path, *, where: Sequence[str] = (), pause: float = _PAUSE) -> None:
        self.dirs, self.folder, self.where, self.pause = list(dirs), folder, list(where), pause
        self._lock = threading.Lock()
        self._built: tuple[int, int] | None = None
        self._built_at = 0.0
        self._read: tuple[int, int] | None = None
        self._rows: list[Row] = []
        self._files: dict[str, Path] = {}

    def refresh(self) -> None:
        """Make the report anew, if records have come since and the last one is old enough. Raises UserError."""
        with self._lock:
            current = fingerprint(self.dirs)
            if current == self._built or (time.monotonic() - self._built_at < self.pause and self._built is not None):
                return
            report(self.dirs, out=self.folder, where=self.where, live=True)
            self._built, self._built_at = current, time.monotonic()
            plain = (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
            self._files = {path.relative_to(self.folder).as_posix(): path for path in plain}

    def file(self, name: str) -> Path | None:
        """The report's file of that name; None for any other name."""
        return self._files.get(name)

    def progress(self) -> dict[str, Any]:
        """How the run goes on; `revision` is another as soon as a page that is loaded now would show more."""
        with self._lock:
            current = fingerprint(self.dirs)
            if current != self._read:
                self._rows, self._read = select(rows(self.dirs, boards=False), self.where), current
            table, built = self._rows, self._built
            due = current != built and time.monotonic() - self._built_at >= self.pause
        shown = current if due else built
        return progress(self.dirs, table) | {"revision": "-".join(map(str, shown or ()))}


def server(live: Live, *, host: str = "127.0.0.1", port: int = 8000) -> ThreadingHTTPServer:
    """A server of the live report, not yet serving; port 0 takes any that is free. Raises UserError."""
    try:
        return (_IPv6Server if ":" in host else ThreadingHTTPServer)((host, port), _handler(live, host))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot serve on {_address(host, port)}: {reason}; name another with --port, or 0 for any"
        ) from None


def serve(
    dirs: Sequence[Path], *, host: str = "127.0.0.1", port: int = 8000, where: Sequence[str] = (), say: Any = print
) -> None:
    """Serve the report of the runs in `dirs` until interrupted; `say` is told the address. Raises UserError."""
    with tempfile.TemporaryDirectory(prefix="latentbench-report-") as folder:
        live = Live(dirs, Path(folder), where=where)
        live.refresh()
        with server(live, host=host, port=port) as http:
            say(f"http://{_address(host, int(http.server_address[1]))}/ (Ctrl-C ends it)")
            http.serve_forever()


class _IPv6Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _handler(live: Live, host: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version, protocol_version = "latentbench", "", "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            name = unquote(urlsplit(self.path).path).lstrip("/") or INDEX
            if not allowed(self.headers.get("Host", ""), host):
                self._send(403, "text/plain", b"this server answers to its own name alone\n", body)
                return
            try:
                if name == "progress.json":
                    self._send(200, "application/json", json.dumps(live.progress()).encode(), body)
                    return
                if name == INDEX:
                    live.refresh()
                path = live.file(name)
                if path is None:
                    self._send(404, "text/plain", b"there is no such file\n", body)
                    return
                self._send(200, _TYPES.get(path.suffix, "application/octet-stream"), path.read_bytes(), body)
            except (UserError, OSError) as error:
                self._send(503, "text/plain", f"{error}\n".encode("utf-8", "backslashreplace"), body)

        def _send(self, code: int, kind: str, content: bytes, body: bool) -> None:
            self.send_response(code)
            self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text") else kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *values: Any) -> None:
            pass  # a page that asks every other second would fill the terminal

    return Handler


def allowed(asked: str, host: str) -> bool:
    """Whether a request that names `asked` as its host is meant for a server on `host`.

    On loopback only loopback's names are: a page of another site whose name was made to lead here (DNS rebinding) can
    then read nothing.
    """
    if host not in LOOPBACK:
        return True
    name = urlsplit(f"//{asked}").hostname if asked else None
    return name in LOOPBACK
