from __future__ import annotations

import numpy as np
import pytest
import torch

from latentbench.tasks.proxies.channels import (
    channel_sums,
    condition_number,
    covariance,
    effective_rank,
    mean_correlation,
)
from latentbench.tasks.proxies.interface import ProxyInput, compute


def test_covariance_equals_numpy() -> None:
    z = torch.randn(30, 4, 3, 5) + 2
    flat = z.transpose(0, 1).flatten(1).double().numpy()
    np.testing.assert_allclose(covariance(channel_sums(z, 7).sum(0)), np.cov(flat, bias=True), rtol=1e-6, atol=1e-9)


def test_white_latents_have_full_rank() -> None:
    latents = ProxyInput.of(torch.randn(3000, 8, 4, 4) * torch.arange(1, 9).view(8, 1, 1))
    rank, condition = compute("effective_rank", latents)
    (correlation,) = compute("channel_correlation", latents)
    assert rank.value == pytest.approx(8, abs=0.01)
    assert condition.value == pytest.approx(1, abs=0.05)
    assert correlation.value == pytest.approx(0, abs=0.01)
    assert rank.se is not None


def test_equicorrelated_channels_have_closed_forms() -> None:
    rho, channels = 0.6, 5
    common = torch.randn(4000, 1, 8)
    z = rho**0.5 * common + (1 - rho) ** 0.5 * torch.randn(4000, channels, 8)
    z[:, 0] *= -1
    (correlation,) = compute("channel_correlation", ProxyInput.of(z))
    rank, condition = compute("effective_rank", ProxyInput.of(z))
    largest, rest = 1 + (channels - 1) * rho, 1 - rho
    assert correlation.value == pytest.approx(rho, abs=0.02)
    assert rank.value == pytest.approx(channels**2 / (largest**2 + (channels - 1) * rest**2), rel=0.02)
    assert condition.value == pytest.approx(largest / rest, rel=0.05)


def test_rank_one_latents() -> None:
    z = torch.randn(100, 1, 4) * torch.tensor([1.0, -2.0, 3.0]).view(3, 1)
    rank, condition = compute("effective_rank", ProxyInput.of(z))
    assert rank.value == pytest.approx(1, abs=1e-5)
    assert (condition.value, condition.missing) == (None, 100)
    assert compute("channel_correlation", ProxyInput.of(z))[0].value == pytest.approx(1, abs=1e-5)


def test_known_matrices() -> None:
    diagonal = torch.diag(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    assert effective_rank(diagonal) == pytest.approx(49 / 21)
    assert condition_number(diagonal) == pytest.approx(4)
    assert mean_correlation(diagonal) == 0


def test_one_channel_has_no_pairs() -> None:
    latents = ProxyInput.of(torch.randn(10, 1, 4))
    assert compute("channel_correlation", latents)[0].value is None
    assert compute("effective_rank", latents)[0].value == pytest.approx(1)
