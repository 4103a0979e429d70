"""Runs to draw: a grid of options, codecs beside trained tokenizers, intervals of all sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.metric import Metric
from latentbench.results.record import Record
from latentbench.results.store import Store

from ..conftest import add_cell


@pytest.fixture
def add() -> Callable[..., dict[str, Any]]:
    return add_cell


def measured(psnr: float, rate: float, half: float = 0.5) -> list[Metric]:
    """A distortion and a rate, with the interval of the former."""
    around = (psnr - half, psnr + half)
    return [
        Metric(
            name="psnr",
            value=psnr,
            n=64,
            unit="dB",
            direction="higher",
            interval=around,
            role="distortion",
            shown="first",
        ),
        Metric(name="real_bits_per_pixel", value=rate, n=64, unit="bit", direction="lower", role="rate", shown="first"),
    ]


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    """Curves of a codec, which has no parameters, and of a trained tokenizer."""
    store = Store(tmp_path / "curves")
    cells = []
    for name in ("jpeg", "kl-vae"):
        for i in range(4):
            rate = 0.5 * (i + 1)
            psnr = 20 + 2 * i + (name == "jpeg")
            axes = {"codec.quality" if name == "jpeg" else "channels": i + 1}
            cells.append(add_cell(store, f"{name}-{i}", metrics=measured(psnr, rate), recipe=name, axes=axes))
            if name == "jpeg":
                free = {"parameters": 0, "flops": 0}
                store.save(Record(kind="tokenizer", key=f"{name}-{i}-0", status="finished", extra=free))
    store.write_suite("curves", cells)
    return store.root


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A tokenizer at two rates of downsampling by three numbers of channels, one of them missing."""
    store = Store(tmp_path / "grid")
    cells = []
    for downsample in (16, 4):
        for channels in (2, 8, 16):
            axes = {"downsample": downsample, "channels": channels}
            metrics = measured(20 + channels / downsample, channels / downsample)
            missing = (downsample, channels) == (16, 2)
            cells.append(add_cell(store, f"c{downsample}-{channels}", metrics=metrics, axes=axes, missing=missing))
    store.write_suite("grid", cells)
    return store.root
