"""What `mkdocs build` does besides rendering docs/: pages from elsewhere in the repository, links, and a check.

Pages are written for a code host, where `../bench/plan.py` and `../README.md` lead somewhere. In the site README.md is
the first page, and a link to a file that is no page leads to `extra.source` or becomes plain text.
"""

from __future__ import annotations

import atexit
import posixpath
import re
import shutil
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Pages of the site that do not lie in docs/, by the file that they are.
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "tests/perf/README.md": "benches.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", flags=re.DOTALL | re.MULTILINE)
_HELD = re.compile("\x00(\\d+)\x00")
# What a browser fetches by itself when it shows a page, unlike <a href>.
_FETCHED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "script": "src",
    "source": "src",
    "video": "src",
}


def on_startup(command: str, dirty: bool) -> None:
    """Lets docstrings be read from this folder by the package's name, without importing or installing it."""
    folder = tempfile.mkdtemp(prefix="latentbench-site-")
    atexit.register(shutil.rmtree, folder)  # the link in it, not what it leads to
    (Path(folder) / "latentbench").symlink_to(ROOT)
    sys.path.insert(0, folder)


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages of `ELSEWHERE`."""
    from mkdocs.structure.files import File

    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page with links of the site; the first one has no list of its section's pages, being the only one."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]
    return site_markdown(markdown, page.file.src_uri, config["extra"].get("source", ""))


def on_post_build(config: Any) -> None:
    """Raises PluginError where a page that was built would make a browser ask another host for something."""
    from mkdocs.exceptions import PluginError

    for path in sorted(Path(config["site_dir"]).rglob("*.html")):
        requests = external_requests(path.read_text(encoding="utf-8"))
        if requests:
            raise PluginError(f"{path} asks another host for {requests[0]}; a page has to do without")


def site_markdown(markdown: str, page: str, source: str) -> str:
    """`markdown` of the site's `page` (its path in the site) with links for the site; code stays as it is.

    Links between pages stay relative. One to another file of the repository leads below `source`, where that is not
    empty, else its text alone is left.
    """
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(match[0])
        return f"\x00{len(held) - 1}\x00"

    text = _LINK.sub(lambda match: _site_link(match, page, source), _CODE.sub(hold, markdown))
    return _HELD.sub(lambda match: held[int(match[1])], text)


def external_requests(html: str) -> list[str]:
    """The addresses on other hosts that a browser would fetch to show the page `html`."""
    parser = _Requests()
    parser.feed(html)
    return parser.addresses


def _site_link(match: re.Match[str], page: str, source: str) -> str:
    image, text, target = match.groups()
    path, hash_sign, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", target):
        return match[0]
    repository = _in_repository(page)
    file = posixpath.normpath(posixpath.join(posixpath.dirname(repository), path))
    if file in ELSEWHERE or file.startswith("docs/"):
        there = ELSEWHERE.get(file, file.removeprefix("docs/"))
        return f"{image}[{text}]({posixpath.relpath(there, posixpath.dirname(page) or '.')}{hash_sign}{anchor})"
    return f"[{text}]({source.rstrip('/')}/{file})" if source else text


def _in_repository(page: str) -> str:
    """The path in the repository of a page of the site."""
    return next((file for file, there in ELSEWHERE.items() if there == page), f"docs/{page}")


class _Requests(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        address = values.get(_FETCHED.get(tag, "")) or ""
        if tag == "link" and values.get("rel") in ("canonical", "next", "prev"):
            return
        if re.match(r"(https?:)?//", address):
            self.addresses.append(address)
