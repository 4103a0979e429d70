"""Where a report goes: a folder of plain files, or one file that holds everything."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..output_file import write_output

_TYPES = {"png": "image/png", "wav": "audio/wav"}
# Scripts and styles are the page's own, pictures and sounds too; nothing else is loaded, and nothing is sent but to
# the server that the page came from. plotly.js draws many points with WebGL, whose programs it compiles.
_POLICY = (
    "default-src 'none'; script-src 'self' file: 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' file: 'unsafe-inline'; img-src 'self' file: data: blob:; "
    "media-src 'self' file: data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'"
)
INDEX = "index.html"


class Folder:
    """A report as a folder: `index.html`, and beside it scripts, data and media."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved: set[str] = set()

    def save(self, ending: str, content: bytes) -> str:
        """Write a picture or a sound; where the page finds it. The same content is written once."""
        name = f"media/{hashlib.sha256(content).hexdigest()[:16]}.{ending}"
        if name not in self._saved:
            self._saved.add(name)
            self._write(name, content)
        return name

    def size(self, content: bytes, ending: str) -> int:
        """Bytes that a picture or a sound takes."""
        return len(content)

    def finish(self, parts: Mapping[str, bytes], data: Any, details: list[dict[str, Any]]) -> Path:
        """Write everything else, the page last; returns the page. `details` are loaded one by one when needed."""
        for name, content in parts.items():
            self._write(f"assets/{name}", content)
        for number, chunk in enumerate(details):
            self._write(f"data/details-{number}.js", f"report.details({script_json(chunk)});\n".encode())
        self._write("data/report.js", f"window.REPORT = {script_json(data)};\n".encode())
        styles = "\n".join(f'<link rel="stylesheet" href="assets/{name}">' for name in parts if name.endswith(".css"))
        scripts = ["data/report.js", *(f"assets/{name}" for name in parts if name.endswith(".js"))]
        page = shell(styles, "\n".join(f'<script defer src="{name}"></script>' for name in scripts))
        write_output(self.path / INDEX, page.encode())
        return self.path / INDEX

    def _write(self, name: str, content: bytes) -> None:
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)  # not flushed one by one: the page itself, which is, comes last
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}; name another folder with --out") from None


class SingleFile:
    """A report as one file: pictures and sounds are inside."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, ending: str, content: bytes) -> str:
        """A picture or a sound as the address that holds it."""
        return f"data:{_TYPES[ending]};base64,{base64.b64encode(content).decode()}"

    def size(self, content: bytes, ending: str) -> int:
        """Bytes that a picture or a sound takes."""
        return len(self.save(ending, content))

    def finish(self, parts: Mapping[str, bytes], data: Any, details: list[dict[str, Any]]) -> Path:
        """Write the file; returns it."""
        styles = "\n".join(
            f"<style>{_inline(content, 'style')}</style>" for name, content in parts.items() if name.endswith(".css")
        )
        scripts = [f"window.REPORT = {script_json(data)};"]
        scripts += [_inline(content, "script") for name, content in parts.items() if name.endswith(".js")]
        scripts += [f"report.details({script_json(chunk)});" for chunk in details]
        # at the end of the body, where what comes before has been read
        write_output(self.path, shell(styles, "", "\n".join(f"<script>{text}</script>" for text in scripts)).encode())
        return self.path


def script_json(value: Any) -> str:
    """JSON that means the same as a script: nothing in it ends the element that it stands in, or begins a comment."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _inline(content: bytes, element: str) -> str:
    """A script or a style as the content of its element, which its own text must not end."""
    return content.decode().replace(f"</{element}", f"<\\/{element}").replace("<!--", "<\\!--")


def shell(styles: str, head_scripts: str, body_scripts: str = "") -> str:
    """The page before its scripts have filled it. Nothing in it comes from a run."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>latentbench report</title>
<link rel="icon" href="data:,">
{styles}
{head_scripts}
</head>
<body>
<a class="skip" href="#main" data-skip>Skip to content</a>
<header id="top"></header>
<main id="main" tabindex="-1"><p class="quiet">This page needs JavaScript, which it brings along.</p></main>
<footer id="foot"></footer>
{body_scripts}
</body>
</html>
"""
