"""High-frequency energy, against scipy's DCT."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from torch import nn

from latentbench.tokenizers.interface import Latents


def energy(x: torch.Tensor) -> float:
    """Of `[N, C, H, W]` where u/(H-1) + v/(W-1) > 1."""
    u, v = np.meshgrid(*(np.arange(n) / (n - 1) for n in x.shape[2:]), indexing="ij")
    return float((dctn(x.double().numpy(), axes=(2, 3), norm="ortho") ** 2 * (u + v > 1 + 1e-9)).sum())


def blurring(toys: SimpleNamespace, signal: Any) -> Any:
    class Blurred(toys.Identity):  # type: ignore[misc,name-defined]
        def decode(self, latents: Latents) -> torch.Tensor:
            rank = latents.values.ndim - 2
            pool = {2: nn.functional.avg_pool2d, 3: nn.functional.avg_pool3d}[rank]
            return pool(latents.values, (1, 3, 3)[-rank:], stride=1, padding=(0, 1, 1)[-rank:])

    return Blurred(signal)


def test_it_is_the_ratio_of_energies(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    probe_input = probed(blurring(toys, toys.IMAGE))
    (metric,) = measured("high_frequency", probe_input).values()
    x = probe_input.data.val.data
    back = probe_input.decode(probe_input.tokenizer.encode(x))
    assert metric.value == pytest.approx(energy(back) / energy(x), rel=1e-5)
    assert metric.value < 0.5
    low, high = metric.interval
    assert low < metric.value < high


def test_frames_count_as_pictures(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    probe_input = probed(blurring(toys, toys.VIDEO))
    (metric,) = measured("high_frequency", probe_input).values()
    frames = probe_input.data.val.data.transpose(1, 2).flatten(0, 1)
    back = probe_input.decode(probe_input.tokenizer.encode(probe_input.data.val.data)).transpose(1, 2).flatten(0, 1)
    assert metric.value == pytest.approx(energy(back) / energy(frames), rel=1e-5)


def test_the_identity_keeps_all(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    assert measured("high_frequency", probed(toys.Identity()))["high_frequency_ratio"].value == pytest.approx(1)
