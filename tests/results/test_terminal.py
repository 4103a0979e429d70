"""A table on a terminal: the three questions are answered in 80 columns, and notes are of what is shown."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from latentbench.results.leaderboard import show
from latentbench.results.metric import Metric
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]

# As a run on images measures them, in the order of its records.
MEASURED = [
    Metric(name="psnr", value=27.2, interval=(27.1, 27.3), direction="higher", protocol="p", role="distortion"),
    Metric(name="ssim", value=0.758, interval=(0.75, 0.77), direction="higher", protocol="s", role="distortion"),
    Metric(name="rate_bits", value=1111.6, n=256, protocol="r", role="rate"),
    Metric(name="rfd_own", value=26.0, n=256, direction="lower", protocol="d", role="distribution", shown="first"),
    Metric(name="gfd_own", value=31.6, n=256, direction="lower", protocol="g", role="distribution", shown="first"),
    Metric(name="gkd_own", value=3.2, n=256, direction="lower", protocol="k", role="distribution"),
    Metric(name="viv", value=1.09, direction="lower", protocol="v", role="modelability"),
]


@pytest.fixture
def tables(tmp_path: Path, add: Add) -> Callable[..., str]:
    """What is shown of a run of two tokenizers on a terminal of so many columns."""
    store = Store(tmp_path / "out")
    store.write_suite("demo", [add(store, name, metrics=MEASURED, recipe=name) for name in ("kl-vae", "vq-vae")])

    def text(width: int, **options: Any) -> str:
        console = Console(width=width, record=True, file=io.StringIO())
        show([store.root], console, **options)
        return console.export_text()

    return text


def test_distortion_and_generation_fit_beside_each_other(tables: Callable[..., str]) -> None:
    text = tables(80)
    assert max(map(len, text.splitlines())) <= 80
    head = text.partition("───")[0]
    assert "PSNR" in head
    assert "rFD" in head
    assert "gFD" in head
    assert "VIV" in head
    assert "kl-vae" in text


def test_notes_are_of_the_columns_that_are_shown(tables: Callable[..., str]) -> None:
    narrow, whole = tables(50), tables(60, wide=True)
    hidden = narrow.partition("Not shown: ")[2]
    assert "ssim" in hidden
    assert " ssim: s." not in narrow
    assert " ssim: s." in whole
    assert "¹ psnr: p." in narrow
    assert "half of the 95 %" in narrow  # of the whole table


def test_tables_share_the_notes_on_how_columns_were_measured(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path)
    for suite in ("one", "two"):
        store.write_suite(suite, [add(store, f"{suite}-{i}", metrics=MEASURED, recipe=f"r{i}") for i in range(2)])
    console = Console(width=80, record=True, file=io.StringIO())
    show([tmp_path], console)
    text = console.export_text()
    assert text.count("PSNR ↑¹") == 2
    assert text.count("psnr: p.") == 1
    assert text.count("±: half of") == 1
    assert text.rindex("───") < text.index("psnr: p.")


def test_a_narrow_terminal_has_one_digit_of_each_margin(tables: Callable[..., str]) -> None:
    assert "27.2±0.1" in tables(80)
    assert "27.20±0.10" in tables(120)
