"""Resolution dropout: pooling against torch's own, the share of samples it takes, and training alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.resolution_dropout import ResolutionDropout, pooled, repeated
from latentbench.tokenizers.regularisers.resolution_dropout_config import ResolutionDropoutConfig, halves
from latentbench.tokenizers.spec import Modality, SignalSpec

SQUARE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
TORCHS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@pytest.mark.parametrize("shape", [(8,), (4, 6), (3, 4, 2), (5, 2)])
def test_pooling_and_repeating_are_torchs(shape: tuple[int, ...]) -> None:
    x, factors = torch.randn(3, 4, *shape), halves(shape)
    coarse = pooled(x, factors)
    torch.testing.assert_close(coarse, TORCHS[len(shape)](x, factors))
    torch.testing.assert_close(repeated(coarse, factors), F.interpolate(coarse, size=shape, mode="nearest"))


def test_a_share_of_the_samples_is_coarse_in_training_alone() -> None:
    dropout = ResolutionDropout(ResolutionDropoutConfig(probability=0.25), resolve("vq-vae", SQUARE, {"downsample": 4}))
    x = torch.randn(4000, 2, 4, 4)
    y = dropout.features(x)
    coarse = (y != x).flatten(1).any(1)
    assert coarse.double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(y[~coarse], x[~coarse])
    torch.testing.assert_close(y[coarse], repeated(pooled(x[coarse], (2, 2)), (2, 2)))
    assert torch.equal(dropout.eval().features(x), x)


def test_a_tokenizer_trains_with_it_and_is_saved_without(signal: SignalSpec, sample: Callable[..., Tensor]) -> None:
    options = {"width": 8, "codebook_size": 16, "regularisers": {"resolution_dropout": {}}}
    tokenizer, plain = build(resolve("vq-vae", signal, options)), build(resolve("vq-vae", signal, {**options} | OFF))
    x = sample(signal, 8)
    tokenizer.losses(x, group="model", step=0, steps=2)["loss"].backward()
    assert all(p.grad is not None for p in tokenizer.parameters())
    tokenizer.drop_training_modules()
    assert tokenizer.state_dict().keys() == plain.state_dict().keys()
    latents = tokenizer.eval().encode(x)
    assert tokenizer.decode(latents).shape == x.shape


OFF = {"regularisers": {"resolution_dropout": {"weight": 0}}}


@pytest.mark.parametrize(
    ("recipe", "options", "table", "message"),
    [
        ("vq-vae", {}, {"probability": 1.0}, "probability must lie between 0 and 1"),
        ("titok", {}, {}, "only a grid has a resolution, and these latents are a sequence"),
        ("vq-vae", {"downsample": [16, 8]}, {}, "a grid of 1x3 has no axis of even size to halve"),
    ],
)
def test_a_mistake_gets_one_line(
    image: SignalSpec, recipe: str, options: dict[str, object], table: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        resolve(recipe, image, {**options, "regularisers": {"resolution_dropout": table}}, where="t")
    assert str(caught.value) == f"t.regularisers.resolution_dropout: {message}"
