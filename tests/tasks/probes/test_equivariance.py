"""Equivariance of maps of which it is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from latentbench.tasks.probes.config import EquivarianceProbeConfig
from latentbench.tasks.probes.equivariance import equivariance_error
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec


def pooling(toys: SimpleNamespace, mask: torch.Tensor | None = None) -> Any:
    class Pooled(toys.Identity):  # type: ignore[misc,name-defined]
        """The mean of each 4 x 4 patch, perhaps times a map that does not move."""

        @property
        def spec(self) -> LatentSpec:
            return LatentSpec(signal=toys.IMAGE, grids=(LatentGrid(shape=(4, 4), channels=3),))

        def encode(self, signal: torch.Tensor) -> Latents:
            values = nn.functional.avg_pool2d(signal, 4)
            return Latents(values=values if mask is None else values * mask)

        def decode(self, latents: Latents) -> torch.Tensor:
            return latents.values.repeat_interleave(4, 2).repeat_interleave(4, 3)

    return Pooled()


def test_pooling_moves_with_the_picture(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    metrics = measured("equivariance", probed(pooling(toys)))
    assert set(metrics) == {
        "equivariance_error_shift",
        "equivariance_error_rotation",
        "equivariance_error",
        "psnr_equivariant",
    }
    assert all(metrics[name].value == pytest.approx(0, abs=1e-9) for name in metrics if "error" in name)
    assert metrics["equivariance_error"].n == 20


def test_what_does_not_move_has_its_error(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    mask = torch.rand(4, 4) + 0.5
    probe_input = probed(pooling(toys, mask))
    metrics = measured("equivariance", probe_input)
    x = probe_input.data.val.data
    turned = np.rot90(x.numpy(), axes=(2, 3))
    z, of_turned = (
        probe_input.tokenizer.encode(torch.from_numpy(np.ascontiguousarray(s))).values.numpy() for s in (x, turned)
    )
    mean, std = (m.numpy().reshape(1, 3, 1, 1) for m in (probe_input.latents.mean, probe_input.latents.std))
    moved = (np.rot90(z, axes=(2, 3)) - mean) / std
    expected = (of_turned - mean) / std
    errors = ((moved - expected) ** 2).sum((1, 2, 3)) / (expected**2).sum((1, 2, 3))
    assert metrics["equivariance_error_rotation"].value == pytest.approx(errors.mean(), rel=1e-5)
    mean_of_both = (metrics["equivariance_error_rotation"].value + metrics["equivariance_error_shift"].value) / 2
    assert metrics["equivariance_error"].value == pytest.approx(mean_of_both)


def test_the_error_is_one_for_latents_that_vanish() -> None:
    expected = torch.randn(4, 3, 5)
    moments = torch.zeros(3), torch.ones(3)
    assert equivariance_error(torch.zeros(4, 3, 5), expected, moments).tolist() == pytest.approx([1.0] * 4)
    assert equivariance_error(2 * expected, expected, moments).tolist() == pytest.approx([1.0] * 4)


def test_a_spectrogram_is_shifted_in_time_alone(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    metrics = measured("equivariance", probed(toys.Identity(toys.SOUND)))
    assert "equivariance_error_rotation" not in metrics
    assert metrics["equivariance_error_shift"].value == 0


def test_latents_off_the_grid_are_refused(toys: SimpleNamespace, probed: Any) -> None:
    class Tokens(toys.Identity):  # type: ignore[misc,name-defined]
        @property
        def spec(self) -> LatentSpec:
            grid = LatentGrid(shape=(16,), channels=48, topology="sequence")
            return LatentSpec(signal=toys.IMAGE, grids=(grid,))

        def encode(self, signal: torch.Tensor) -> Latents:
            return Latents(values=signal.flatten(1, 2))

    assert "axes" in EquivarianceProbeConfig().build().unsupported_reason(probed(Tokens()))
