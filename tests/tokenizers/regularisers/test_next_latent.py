"""Causal next-latent regularisation: what is unexplained, that scale does not matter, and who gets a gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.next_latent import NextLatent
from latentbench.tokenizers.regularisers.next_latent_config import NextLatentConfig
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


def next_latent() -> NextLatent:
    part = NextLatent(NextLatentConfig(), resolve("ae", IMAGE, {"downsample": 4, "channels": 3}))
    torch.nn.init.normal_(part.net.head.weight, std=0.1)
    return part


def test_the_error_is_that_of_the_prediction_of_normalised_latents() -> None:
    part, z = next_latent(), 5 + 3 * torch.randn(8, 3, 4, 4)
    mean, std = z.mean((0, 2, 3), keepdim=True), z.std((0, 2, 3), correction=0, keepdim=True)
    rows = ((z - mean) / std).flatten(2).mT
    with torch.no_grad():
        expected = sum((part.net(rows)[:, n] - rows[:, n]).square().mean() for n in range(16)) / 16
    torch.testing.assert_close(part.unexplained(z), expected)


def test_an_untrained_net_explains_nothing_and_scale_is_no_way_out() -> None:
    part = NextLatent(NextLatentConfig(), resolve("ae", IMAGE, {"downsample": 4, "channels": 3}))
    z = torch.randn(8, 3, 4, 4)
    assert part.unexplained(z).item() == pytest.approx(1, abs=1e-5)
    part, z = next_latent(), z.requires_grad_()
    loss = part.unexplained(z)
    torch.testing.assert_close(part.unexplained(0.01 * z - 5), loss, rtol=2e-3, atol=0)
    (gradient,) = torch.autograd.grad(loss, z)
    assert (gradient * z).sum((0, 2, 3)).abs().max().item() < 1e-4 * (gradient.norm() * z.norm()).item()


@pytest.mark.parametrize("recipe", ["crt", "vq-vae", "titok"])
def test_the_encoder_gets_its_gradient(recipe: str, sample: Callable[..., Tensor]) -> None:
    options = {"width": 16, "backbone": {"shortcut": False}, "regularisers": {"next_latent": 0.5}}
    tokenizer, x = build(resolve(recipe, IMAGE, options)), sample(IMAGE, 4)
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start([x])
    part = tokenizer.auxiliary_objectives["next_latent"]
    assert isinstance(part, NextLatent)
    torch.nn.init.normal_(part.net.head.weight, std=0.1)
    losses = tokenizer.losses(x, group="model", step=0, steps=1)
    assert losses["next_latent"].item() == pytest.approx(0.5 * losses["unexplained"].item())
    error = part.unexplained(tokenizer.bottleneck(tokenizer.features(x)).values)
    gradients = torch.autograd.grad(error, list(tokenizer.encoder.parameters()), allow_unused=True)
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert max(gradient.abs().max().item() for gradient in gradients if gradient is not None) > 1e-4


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("token-set", {}, "a causal net needs an order, and a set has none"),
        ("vq-vae-2", {}, "a causal net reads one grid of latents, and 'vq_vae_2' has 2"),
        ("titok", {"tokens": 1}, "one position has nothing before it"),
        ("kl-vae", {"regularisers": {"next_latent": {"width": 20}}}, "width must be a multiple of 16"),
    ],
)
def test_what_has_nothing_to_predict_is_refused(recipe: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=f"regularisers.next_latent: .*{message}"):
        resolve(recipe, IMAGE, {"regularisers": {"next_latent": {}}, **options})
