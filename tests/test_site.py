"""The documentation as a site: what `mkdocs build` would refuse, without mkdocs; `tox run -e docs` builds it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml; what its tags would compute stays None."""


_Loader.add_multi_constructor("", lambda loader, suffix, node: None)
SITE: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=_Loader)


@pytest.fixture(scope="module")
def hooks(docs_script: Callable[[str], ModuleType]) -> ModuleType:
    return docs_script("site_hooks")


def entries(nav: Any) -> list[str]:
    """The pages of a part of the navigation."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in entries(part)]


def test_the_navigation_has_every_page_once_and_no_other(hooks: ModuleType) -> None:
    assert all((ROOT / file).is_file() for file in hooks.ELSEWHERE)
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(entries(SITE["nav"])) == sorted([*pages, *hooks.ELSEWHERE.values()])


def test_nothing_is_asked_of_another_host() -> None:
    """Fonts are the system's, scripts the theme's; the strict build looks at what comes out."""
    assert SITE["theme"]["font"] is False
    assert all("//" not in path for key in ("extra_css", "extra_javascript") for path in SITE.get(key, ()))
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert [page.name for page in pages if "```mermaid" in page.read_text()] == [], "its script comes from another host"


@pytest.mark.parametrize(
    ("page", "markdown", "expected"),
    [
        ("index.md", "[a](docs/suites.md#keys), ![b](docs/b.svg)", "[a](suites.md#keys), ![b](b.svg)"),
        ("index.md", "[a](CONTRIBUTING.md) [b](#pages)", "[a](contributing.md) [b](#pages)"),
        ("tutorials/images.md", "[a](../../README.md#quickstart)", "[a](../index.md#quickstart)"),
        ("tutorials/images.md", "[a](sounds.md), [b](../suites.md)", "[a](sounds.md), [b](../suites.md)"),
        ("architecture.md", "[`tests/perf/`](../tests/perf/README.md)", "[`tests/perf/`](benches.md)"),
        ("architecture.md", "[the `[[x]]` of](../bench/plan.py) it", "the `[[x]]` of it"),
        ("benches.md", "[a](../../docs/metrics.md)", "[a](metrics.md)"),
        ("suites.md", "[a](https://x.y/z.md) `[b](../b.py)`", "[a](https://x.y/z.md) `[b](../b.py)`"),
        ("suites.md", "```py\n[a](../b.py)\n```\n[c](../d.py)", "```py\n[a](../b.py)\n```\nc"),
    ],
)
def test_links_lead_to_the_sites_pages(hooks: ModuleType, page: str, markdown: str, expected: str) -> None:
    assert hooks.site_markdown(markdown, page, "") == expected


def test_links_to_the_source_lead_where_it_is_shown(hooks: ModuleType) -> None:
    markdown = hooks.site_markdown("[a](../bench/plan.py), [b](suites.md)", "kinds.md", "https://host/main/")
    assert markdown == "[a](https://host/main/bench/plan.py), [b](suites.md)"


def test_a_page_that_asks_another_host_is_noticed(hooks: ModuleType) -> None:
    own = '<a href="https://x.y">a</a><img src="a.png"><link rel="canonical" href="https://x.y">'
    assert hooks.external_requests(own) == []
    html = '<script src="https://x.y/a.js"></script><link rel="stylesheet" href="//x.y/b.css"><img src="http://x.y/c">'
    assert hooks.external_requests(html) == ["https://x.y/a.js", "//x.y/b.css", "http://x.y/c"]


def test_ci_builds_the_site_with_what_the_extra_installs() -> None:
    tox, ci = (ROOT / "tox.ini").read_text(), (ROOT / ".ci" / "run").read_text()
    (deps,) = re.findall(r"\[testenv:docs\].*?deps =\n((?:    [^\n]*\n)+)", tox, flags=re.DOTALL)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert deps.split() == project["optional-dependencies"]["docs"]
    assert "--strict" in tox
    assert "-e lint,types,docs\n" in ci


def test_the_python_pages_name_what_exists() -> None:
    """Without importing: `latentbench.a.b.name` is a class, function or import at the top of a/b.py or a/b/."""
    names = [name for page in (ROOT / "docs" / "api").glob("*.md") for name in directives(page)]
    assert len(names) == len(set(names)) > 80
    for name in names:
        *folders, symbol = name.split(".")[1:]
        path = ROOT.joinpath(*folders)
        source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        assert re.search(rf"^(class|def) {symbol}\b|import .*\b{symbol}\b", source, flags=re.MULTILINE), name


def directives(page: Path) -> list[str]:
    return re.findall(r"^::: (latentbench\.[\w.]+)$", page.read_text(), flags=re.MULTILINE)
