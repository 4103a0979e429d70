"""The cascade: its low resolution, its noise, and that the upsampler uses its input."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from latentbench.results.errors import UserError
from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.cascade import CascadePrior, averaged, repeated
from latentbench.tasks.priors.cascade_config import CascadeConfig
from latentbench.tasks.priors.config import resolve_prior
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))


def spec(*shape: int) -> LatentSpec:
    return LatentSpec(signal=SIGNAL, grids=(LatentGrid(shape=shape, channels=2),))


def test_low_resolution_is_the_average() -> None:
    x = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(averaged(x, (4, 2)), F.avg_pool2d(x, (4, 2)))
    torch.testing.assert_close(repeated(averaged(x, (4, 2)), (4, 2)), F.interpolate(F.avg_pool2d(x, (4, 2)), (8, 12)))
    torch.testing.assert_close(averaged(x[:, :, 0], (3,)), F.avg_pool1d(x[:, :, 0], 3))


def test_factors_divide() -> None:
    config = CascadeConfig(factor=4)
    assert config.factors(spec(8, 6, 7)) == (4, 3, 1)
    assert config.low(spec(8, 6)).grid.shape == (2, 2)
    with pytest.raises(UserError, match="no axis"):
        resolve_prior("cascade", {}, spec(7, 5), where="suite")
    with pytest.raises(UserError, match="augment_at"):
        resolve_prior("cascade", {"augment_at": 0.9}, spec(8, 8), where="suite")


def test_the_low_resolution_has_unit_variance() -> None:
    prior = CascadePrior(CascadeConfig(width=16, layers=1, attention_heads=2), spec(8, 8))
    values = torch.randn(256, 2, 8, 8)
    prior.on_train_start([LatentBatch(latents=Latents(values=part)) for part in values.split(64)])
    torch.testing.assert_close(prior.spread, torch.full((2,), 0.25), atol=0.01, rtol=0)
    assert prior._low(values).std().item() == pytest.approx(1, abs=0.03)


def test_the_upsampler_depends_on_the_low_resolution_and_on_its_noise() -> None:
    prior = CascadePrior(CascadeConfig(width=16, layers=1, attention_heads=2), spec(8, 8)).eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    x, t, low = torch.randn(2, 2, 8, 8), torch.rand(2), torch.randn(2, 2, 2, 2)
    quiet, loud = torch.tensor([0.1, 0.1]), torch.tensor([0.5, 0.5])
    first = prior._upper(low, quiet, None)(x, t)
    assert (prior._upper(low + 1, quiet, None)(x, t) - first).abs().max() > 1e-3
    assert (prior._upper(low, loud, None)(x, t) - first).abs().max() > 1e-4
