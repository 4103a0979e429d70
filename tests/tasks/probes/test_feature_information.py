"""Features that are known functions of latents: linear with known noise, independent, constant."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.tasks.probes import feature_information
from latentbench.tasks.probes.config import FeatureInformationConfig
from latentbench.tasks.probes.feature_information import Latent, information_bits, squared_errors


def sums(z: Tensor, y: Tensor, train: int) -> Tensor:
    return squared_errors(Latent.of(z[:train], z[train:]), y[:train], y[train:]).sum(0)


def test_linear_features_with_noise_have_gaussian_information() -> None:
    """y_f = a_f·z + σ_f ε has ½ log2(1 + |a_f|²/σ_f²) bits."""
    torch.manual_seed(0)
    z, slopes = torch.randn(2500, 12), torch.randn(12, 6)
    noise = torch.tensor([0.3, 0.5, 1, 2, 4, 8])
    y = 5 + z @ slopes + noise * torch.randn(2500, 6)
    truth = float((0.5 * (1 + slopes.square().sum(0) / noise.square()).log2()).mean())
    assert truth > 1.5
    assert information_bits(sums(z, y, 500)) == pytest.approx(truth, abs=0.06)
    # a change of the latents' basis and scale loses nothing
    turned = 100 * z @ torch.linalg.qr(torch.randn(12, 12))[0] + 7
    assert information_bits(sums(turned, y, 500)) == pytest.approx(truth, abs=0.06)


def test_independent_latents_tell_nothing() -> None:
    torch.manual_seed(1)
    for elements in (12, 600):
        z, y = torch.randn(1400, elements), torch.randn(1400, 40)
        assert abs(information_bits(sums(z, y, 400))) < 0.01


def test_it_is_the_ridge_regression_of_an_augmented_system(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    for elements in (7, 90):
        z, y = 3 * torch.randn(80, elements) + 1, torch.randn(80, 2)
        y += 5 * z[:, :2]
        monkeypatch.setattr(feature_information, "PENALTIES", (0.01,))
        fit = (torch.randperm(60, generator=torch.Generator().manual_seed(0)) % 5 < 4).numpy()
        x, targets = z[:60].double().numpy()[fit], y[:60].double().numpy()[fit]
        mean, std = x.mean(0), x.std(0, ddof=1)
        rows = np.concatenate([(x - mean) / std, np.sqrt(0.01 * len(x)) * np.eye(elements)])
        weights = np.linalg.lstsq(
            rows, np.concatenate([targets - targets.mean(0), np.zeros((elements, 2))]), rcond=None
        )[0]
        guessed = (z[60:].double().numpy() - mean) / std @ weights + targets.mean(0)
        errors = squared_errors(Latent.of(z[:60], z[60:]), y[:60], y[60:])
        assert np.allclose(errors[:, 0].numpy(), (y[60:].double().numpy() - guessed) ** 2)
        assert np.allclose(errors[:, 1].numpy(), (y[60:].double().numpy() - targets.mean(0)) ** 2)


def test_constants_are_left_out() -> None:
    torch.manual_seed(3)
    z, y = torch.randn(600, 5), torch.randn(600, 3)
    more = torch.cat([z, torch.full((600, 1), 7.0)], 1), torch.cat([y, torch.full((600, 1), 0.1)], 1)
    torch.testing.assert_close(sums(*more, 300), sums(z, y, 300))


def test_bits_are_halves_of_octaves_of_variance() -> None:
    assert information_bits(torch.tensor([[1.0, 4.0, 3.0], [4.0, 1.0, 0.0]])) == pytest.approx(0)
    assert information_bits(torch.tensor([[1.0], [16.0]])) == 2
    assert math.isfinite(information_bits(torch.tensor([[0.0], [16.0]])))


def test_a_tokenizer_is_measured_by_each_net(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    """Features that are means of a latent's own values are told to rounding; those of noise are not."""
    data = toys.Data(train=100, val=60)
    for split in (data.train, data.val):
        split.data = split.data[:, :, ::8, ::8].repeat_interleave(8, 2).repeat_interleave(8, 3)
    probe_input = probed(toys.Identity(), data, toys.Pixels(), samples=50)
    told = measured("feature_information", probe_input)["feature_information_pixels"]
    assert told.value > 5
    assert (told.n, told.direction, told.unit) == (50, "higher", "bit")
    assert told.interval[0] < told.value < told.interval[1]
    assert "1/5 of 100 training samples" in told.protocol
    order = torch.randperm(100)
    data.train.data = data.train.data[order]  # the latents on disk are no longer of these signals
    assert abs(measured("feature_information", probe_input)["feature_information_pixels"].value) < 0.3


def test_what_it_refuses(toys: SimpleNamespace, probed: Any) -> None:
    probe = FeatureInformationConfig().build()
    assert "no feature net" in probe.unsupported_reason(probed(toys.Identity()))
    assert "50 training samples, and there are 48" in probe.unsupported_reason(
        probed(toys.Identity(), None, toys.Pixels())
    )
