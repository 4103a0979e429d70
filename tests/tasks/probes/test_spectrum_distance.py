"""Spectra that are known: of the signal itself, of white latents, of a random walk by Fourier's own formula."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from torch import Tensor

from latentbench.tasks.probes.config import SpectrumDistanceConfig
from latentbench.tasks.probes.spectrum_distance import BANDS, band_powers, divergence


def test_powers_are_scipys() -> None:
    x = torch.randn(3, 2, 8, 12)
    power = (dctn(x.numpy(), axes=(2, 3), norm="ortho") ** 2).mean(1)
    radius = np.sqrt(((np.arange(8) / 8)[:, None] ** 2 + (np.arange(12) / 12)[None] ** 2) / 2)
    band = np.minimum((radius * 4).astype(int), 3)
    band[0, 0] = -1
    expected = [[power[n][band == k].mean() for k in range(4)] for n in range(3)]
    torch.testing.assert_close(band_powers(x, 4), torch.tensor(np.array(expected), dtype=torch.float32))


def test_a_latent_that_is_the_signal_has_none(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    (metric,) = measured("spectrum_distance", probed(toys.Identity())).values()
    assert metric.value == pytest.approx(0, abs=1e-4)  # channels are normalised, and theirs differ a little
    assert (metric.name, metric.n, metric.direction) == ("psd_kl", 20, "lower")
    assert f"in {BANDS} bands" in metric.protocol


def test_a_smooth_latent_of_white_signals_is_as_far_as_its_spectrum(
    toys: SimpleNamespace, probed: Any, measured: Any
) -> None:
    class Smooth(toys.Identity):  # type: ignore[misc,name-defined]
        """Averages over neighbours, mirrored at the border: times (1 + cos(π k / n))/2 in the DCT."""

        def encode(self, signal: Tensor) -> Any:
            longer = torch.cat([signal[..., :1], signal, signal[..., -1:]], -1)
            return super().encode((longer[..., :-2] + 2 * longer[..., 1:-1] + longer[..., 2:]) / 4)

    probe_input = probed(Smooth(), toys.Data(val=400))
    value = measured("spectrum_distance", probe_input)["psd_kl"]
    k = torch.arange(16, dtype=torch.float64)
    power = ((1 + (math.pi * k / 16).cos()) / 2).square().expand(16, 16)
    radius = ((k[:, None] / 16) ** 2 + (k / 16) ** 2).div(2).sqrt()
    band = (radius * BANDS).long().clamp_max(BANDS - 1)
    band[0, 0] = -1
    q = torch.stack([power[band == number].mean() for number in range(BANDS) if (band == number).any()])
    expected = divergence(torch.stack([torch.ones_like(q), q]))
    assert value.value == pytest.approx(expected, rel=0.05)
    assert value.interval[0] < value.value < value.interval[1]


def test_what_has_no_spectrum_is_refused(toys: SimpleNamespace, probed: Any) -> None:
    class Flat(toys.Identity):  # type: ignore[misc,name-defined]
        @property
        def spec(self) -> Any:
            from latentbench.tokenizers.spec import LatentGrid, LatentSpec

            return LatentSpec(signal=self.signal, grids=(LatentGrid(shape=(1, 2), channels=384),))

        def encode(self, signal: Tensor) -> Any:
            return super().encode(signal.reshape(len(signal), 384, 1, 2))

    assert "fewer than 3" in SpectrumDistanceConfig().build().unsupported_reason(probed(Flat()))
