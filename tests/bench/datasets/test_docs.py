"""docs/datasets.md keeps its word."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from latentbench.bench.datasets import DataConfig, open_dataset
from latentbench.bench.datasets.config import Modality
from latentbench.bench.datasets.folder import EXTENSIONS
from latentbench.tokenizers.validation import check

PAGE = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text()


def test_a_source_in_under_forty_lines(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(code.splitlines()) < 40
    exec(compile(code, "docs/datasets.md", "exec"), {"__name__": "docs"})
    config = check(DataConfig, {"source": "sines", "modality": "waveform", "samples": 20}, where="data")
    data = open_dataset(config, cache=cache)
    assert (len(data.train), len(data.val)) == (20, 100)
    wave = data.train.batch(np.arange(20), torch.device("cpu"))
    assert wave.shape == (20, 1, 16384)
    assert wave.abs().max() == pytest.approx(0.5, abs=1e-3)
    spectrum = torch.fft.rfft(wave[:, 0]).abs()
    assert (spectrum.argmax(1) / 1.024 < 1001).all()


def test_every_option_is_in_the_table() -> None:
    table = PAGE.split("## Options")[1].split("## Sources")[0]
    documented = set(re.findall(r"`([a-z_]+)`", "".join(row.split("|")[1] for row in table.splitlines() if "|" in row)))
    assert {field.name for field in dataclasses.fields(DataConfig)} == documented


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.VIDEO, Modality.WAVEFORM])
def test_extensions_are_those_stated(modality: Modality) -> None:
    assert f"(`{' '.join(e[1:] for e in EXTENSIONS[modality])}`)" in PAGE
