"""Standardised features: their moments, the components that are kept, the way back, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tokenizers.bottlenecks.standardise import Standardise
from latentbench.tokenizers.bottlenecks.standardise_config import StandardiseConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import LatentSpec, Modality, SignalSpec

Specify = Callable[[int], LatentSpec]
IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


def features() -> list[torch.Tensor]:
    """Correlated features of very unlike scales, and one that never changes."""
    mix = torch.randn(5, 5)
    scale = torch.tensor([1e-3, 1.0, 10.0, 100.0, 0.0]).view(1, 5, 1, 1)
    return [torch.einsum("ij,bjhw->bihw", mix, torch.randn(16, 5, 4, 4)) * scale + 7 for _ in range(4)]


def test_all_features_are_kept_as_they_are_but_for_mean_and_variance(latent: Specify) -> None:
    part, batches = Standardise(StandardiseConfig(), latent(5), features=5), features()
    part.on_train_start(batches)
    x = torch.cat(batches)
    values = part.encode(x).values
    assert values is not None
    flat = x.double().movedim(1, -1).flatten(0, -2)
    deviation = flat.std(0, correction=0)
    deviation[4] = 1
    expected = ((flat - flat.mean(0)) / deviation).view(64, 4, 4, 5).movedim(-1, 1)
    torch.testing.assert_close(values.double(), expected, atol=1e-3, rtol=1e-3)
    assert not values[:, 4].abs().gt(1e-4).any()
    assert torch.equal(part.expand(Latents(values=values)), values)


def test_fewer_are_the_leading_principal_components_of_the_standardised(latent: Specify) -> None:
    part, batches = Standardise(StandardiseConfig(), latent(2), features=5), features()
    part.on_train_start(batches)
    rows = torch.cat(batches).double().movedim(1, -1).flatten(0, -2)[:, :4].numpy()
    variances, axes = np.linalg.eigh(np.corrcoef(rows.T))
    kept = axes[:, ::-1][:, :2] @ axes[:, ::-1][:, :2].T
    ours = part.components.double().numpy()
    np.testing.assert_allclose(ours.T @ ours, np.pad(kept, (0, 1)), atol=1e-3)
    values = part.encode(torch.cat(batches)).values
    assert values is not None
    measured = values.double().movedim(1, -1).flatten(0, -2).var(0, correction=0)
    np.testing.assert_allclose(measured.numpy(), variances[::-1][:2], rtol=1e-3)
    output = part(torch.cat(batches)).values
    torch.testing.assert_close(output, part.expand(Latents(values=values)))
    assert output.shape[1] == 5


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UserError, match="at most the backbone's 30 features can be kept, not 31"):
        resolve("rae", IMAGE, {"channels": 31})
    with pytest.raises(UserError, match="for an encoder that is not trained: backbone 'frozen' or 'patch'"):
        resolve("ae", IMAGE, {"channels": 4, "bottleneck": {"kind": "standardise"}})
