"""The KL bottleneck against torch's distributions, and the meaning of beta."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from latentbench.tokenizers.bottlenecks.kl import KL, kl_to_standard_normal
from latentbench.tokenizers.bottlenecks.kl_config import KLConfig
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec


def latent(elements: int) -> LatentSpec:
    """Latents of a signal of so many elements."""
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(elements,))
    return LatentSpec(signal=signal, grids=(LatentGrid(shape=(1,), channels=1),))


def test_the_kl_is_the_closed_form() -> None:
    mean, logvar = torch.randn(5, 3, 4, 4, dtype=torch.double), torch.randn(5, 3, 4, 4, dtype=torch.double)
    expected = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mean, logvar), expected)
    assert kl_to_standard_normal(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


def test_beta_weighs_a_sum_against_a_sum() -> None:
    features, elements = torch.randn(5, 6, 4, 4), 300
    output = KL(KLConfig(beta=0.1, initial_logvar=0.0), latent(elements), features=2)(features)
    nats = kl_to_standard_normal(*features.chunk(2, dim=1)).mean()
    torch.testing.assert_close(output.losses["kl"] * elements, 0.1 * nats)
    torch.testing.assert_close(output.logs["kl_nats"], nats)


def test_encoding_gives_mode_and_deviation() -> None:
    features = torch.randn(2, 6, 4)
    latents = KL(KLConfig(initial_logvar=0.0), latent(1), features=2).encode(features)
    assert latents.scale is not None
    assert torch.equal(latents.values, features[:, :3])  # type: ignore[arg-type]
    torch.testing.assert_close(latents.scale.square().log(), features[:, 3:])


def test_training_samples_the_posterior() -> None:
    features = torch.tensor([2.0, -4.0]).view(1, 2, 1).expand(1, 2, 200_000)
    samples = KL(KLConfig(initial_logvar=0.0), latent(1), features=2)(features).values
    assert samples.mean().item() == pytest.approx(2.0, abs=0.005)
    assert samples.std().item() == pytest.approx(torch.tensor(-2.0).exp().item(), rel=0.01)


def test_a_log_variance_beyond_float_stays_finite() -> None:
    features = torch.tensor([0.0, 1e4]).view(1, 2, 1).requires_grad_()
    output = KL(KLConfig(beta=1.0), latent(1), features=2)(features)
    output.losses["kl"].backward()
    assert output.values.isfinite().all()
    assert features.grad.isfinite().all()  # type: ignore[union-attr]


def test_the_posterior_starts_at_the_initial_variance() -> None:
    scale = KL(KLConfig(initial_logvar=-4.0), latent(1), features=2).encode(torch.zeros(1, 2, 3)).scale
    assert scale is not None
    torch.testing.assert_close(scale, torch.full((1, 1, 3), -2.0).exp())


def test_beta_is_not_negative() -> None:
    with pytest.raises(ValueError, match="beta must not be negative"):
        KLConfig(beta=-1.0)
