"""Two grids: shapes, conditioning, gradients, and codes that give the values they came with."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from latentbench.tokenizers.bottlenecks.vq_vae_2 import VQVAE2
from latentbench.tokenizers.bottlenecks.vq_vae_2_config import VQVAE2Config
from latentbench.tokenizers.geometry import Layout
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import LatentSpec, Modality, SignalSpec


def bottleneck(factors: tuple[int, ...] = (2, 2)) -> VQVAE2:
    config = VQVAE2Config(codebook_size=8)
    shape = tuple(8 if factor == config.factor else 7 for factor in factors)
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
    spec = LatentSpec(signal=signal, grids=config.grids(Layout(shape=shape), 4))
    return VQVAE2(config, spec, features=4)


def test_it_starts_as_the_mean_and_what_it_leaves_over() -> None:
    both, x = bottleneck(), torch.randn(3, 4, 6, 8)
    both.on_train_start([x])
    latents = both.encode(x)
    mean = F.avg_pool2d(x, 2)
    top = both.top.encode(mean)
    assert torch.equal(latents.codes, top.codes)  # type: ignore[arg-type]
    over = x - F.interpolate(top.values, scale_factor=2.0)
    assert torch.equal(latents.rest[0].codes, both.bottom.encode(over).codes)  # type: ignore[arg-type]


def test_codes_of_both_grids_give_the_values() -> None:
    both, x = bottleneck(), torch.randn(3, 4, 6, 8)
    latents = both.encode(x)
    assert [level.codes.shape for level in latents.levels] == [(3, 1, 3, 4), (3, 1, 6, 8)]  # type: ignore[union-attr]
    codes = Latents(codes=latents.codes, rest=(Latents(codes=latents.rest[0].codes),))
    assert torch.equal(both.expand(codes), both.expand(latents))
    torch.testing.assert_close(both(x).values, both.expand(latents))
    with pytest.raises(ValueError, match="latents of two grids"):
        both.expand(Latents(codes=latents.codes))


def test_the_gradient_passes_through_both_quantisers() -> None:
    both, x, gradient = bottleneck(), torch.randn(2, 4, 4, 4, requires_grad=True), torch.randn(2, 4, 4, 4)
    both(x).values.backward(gradient)
    # Copying after averaging: each patch's mean gradient comes on top of the fine grid's own.
    expected = gradient + F.interpolate(F.avg_pool2d(gradient, 2), scale_factor=2.0)
    torch.testing.assert_close(x.grad, expected)


def test_the_spec_has_both_grids_and_an_axis_may_stay() -> None:
    signal = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(6, 16, 16), rate=8.0)
    spec = resolve("vq-vae-2", signal, {"bottleneck": {"factor": 4}}).spec
    assert [grid.shape for grid in spec.grids] == [(3, 1, 1), (3, 4, 4)]
    assert spec.topology == "hierarchy"
    assert spec.bits_per_sample == 8 * (3 + 48)
    with pytest.raises(ValueError, match="factor"):
        VQVAE2Config(factor=1)
