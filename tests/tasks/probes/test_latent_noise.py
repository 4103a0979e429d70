"""Noise on latents whose effect is known in closed form."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from latentbench.tasks.probes.config import LatentNoiseConfig
from latentbench.tasks.probes.latent_noise import SCALES, slopes


def test_the_identity_loses_what_the_noise_weighs(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    data = toys.Data(val=40)
    for split in (data.train, data.val):  # nothing is clamped: decoded values stay inside [-1, 1]
        split.data = split.data.clamp(-0.3, 0.3)
    probe_input = probed(toys.Identity(error=0.02), data)
    metrics = measured("latent_noise", probe_input)
    std = probe_input.latents.std
    for scale in SCALES[:2]:
        mse = 0.02**2 + float((scale * std).square().mean())
        expected = 10 * math.log10(4 / mse)
        assert metrics[f"psnr_noise_{round(100 * scale)}"].value == pytest.approx(expected, abs=0.1)
    assert metrics["psnr_noise_10"].value > metrics["psnr_noise_20"].value > metrics["psnr_noise_50"].value
    assert metrics["noise_slope"].value < 0


def test_the_slope_is_that_of_least_squares() -> None:
    x, y = torch.tensor((0.0, *SCALES), dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    expected = [np.polyfit(x.numpy(), row.numpy(), 1)[0] for row in y]
    assert slopes(x, y).tolist() == pytest.approx(expected)


def test_batches_make_no_difference(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    values = [
        measured("latent_noise", probed(toys.Identity(error=0.1), batch_size=size))["psnr_noise_50"].value
        for size in (3, 20)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-9)


def test_codes_are_refused(toys: SimpleNamespace, probed: Any) -> None:
    assert "codes" in LatentNoiseConfig().build().unsupported_reason(probed(toys.Levels()))
