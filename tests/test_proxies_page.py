"""docs/proxies.md names every proxy with its version and what it cost."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from latentbench.tasks.proxies import proxies

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def update(docs_script: Callable[[str], ModuleType]) -> ModuleType:
    return docs_script("update_proxies")


def test_versions_and_seconds_on_grids_are_those_of_the_registry_and_the_files(update: ModuleType) -> None:
    page = (ROOT / "docs" / "proxies.md").read_text()
    costs = update.read(page)
    assert update.replaced(page, update.table(costs)) == page, "python -P docs/update_proxies.py --keep"
    ours = {name for name in proxies.names() if proxies.get(name).__module__.startswith("latentbench.")}
    assert set(costs) == ours
    assert all(seconds.startswith("<") or float(seconds) > 0 for seconds, _ in costs.values())
    for name in ours:  # and what each is stands above
        assert f"| `{name}`" in page.partition(update.BEGIN)[0], name


def test_another_version_is_seen(update: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "proxies.md").read_text()
    monkeypatch.setattr(proxies.get("viv"), "version", 99)
    assert "| `viv` | 99 |" in update.table(update.read(page))


@pytest.mark.slow
def test_what_is_measured_is_what_the_proxy_takes(update: ModuleType) -> None:
    """The products of a fit by a network are counted; codes' use has none, and is quick."""
    inputs = update.latents(300)
    assert update.measured("nonlinear_predictability", inputs)[1].endswith("%")
    seconds, flops = update.measured("codes", inputs)
    assert (seconds.startswith("<") or float(seconds) < 1, flops) == (True, "–")
