"""Soft vector quantisation: the weights, the means, the entropies, and both limits of the temperature."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tokenizers.bottlenecks.soft_vq import SoftVQ
from latentbench.tokenizers.bottlenecks.soft_vq_config import SoftVQConfig
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import LatentSpec, Modality, SignalSpec

Specify = Callable[[int], LatentSpec]
IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


def test_the_latent_is_the_mean_of_the_codes_weighted_by_their_nearness(latent: Specify) -> None:
    part = SoftVQ(SoftVQConfig(codebook_size=5, temperature=0.3, entropy=2.0), latent(3), features=3)
    x, codes = torch.randn(2, 3, 4, 4), part.codebook.detach()
    rows = x.movedim(1, -1).reshape(-1, 3)
    spread = (codes - codes.mean(0)).square().sum(1).mean()
    q = torch.softmax(-torch.cdist(rows, codes).square() / (0.3 * spread), dim=1)
    expected = (q @ codes).view(2, 4, 4, 3).movedim(-1, 1)
    output = part(x)
    torch.testing.assert_close(output.values, expected, atol=1e-5, rtol=1e-4)
    values = part.encode(x).values
    assert values is not None
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-4)
    sure = -(q * q.log()).sum(1).mean()
    mean = q.mean(0)
    torch.testing.assert_close(output.losses["entropy"], 2 * (sure + (mean * mean.log()).sum()), atol=1e-5, rtol=1e-4)


def test_the_limits_are_the_nearest_code_and_the_mean_of_all(latent: Specify) -> None:
    x = torch.randn(2, 3, 4, 4)
    for temperature in (1e-4, 1e6):
        torch.manual_seed(0)
        part = SoftVQ(SoftVQConfig(codebook_size=6, temperature=temperature), latent(3), features=3)
        codes = part.codebook.detach()
        nearest = codes[torch.cdist(x.movedim(1, -1).reshape(-1, 3), codes).argmin(1)].view(2, 4, 4, 3).movedim(-1, 1)
        expected = nearest if temperature < 1 else codes.mean(0).view(1, 3, 1, 1).expand_as(x)
        torch.testing.assert_close(part(x).values, expected, atol=1e-3, rtol=0)
        if temperature > 1:
            assert part(x).logs["assignment_nats"].item() == pytest.approx(math.log(6), abs=1e-3)


def test_the_weights_do_not_depend_on_the_scale_of_features_and_codes(latent: Specify) -> None:
    part, x = SoftVQ(SoftVQConfig(codebook_size=6), latent(3), features=3), torch.randn(2, 3, 4, 4)
    before = part(x).values
    with torch.no_grad():
        part.codebook.mul_(50)
    torch.testing.assert_close(part(50 * x).values, 50 * before, rtol=1e-3, atol=1e-2)


def test_the_codebook_starts_on_the_features_and_both_get_gradients(latent: Specify) -> None:
    centres = 10 * torch.randn(4, 3)
    x = centres[torch.randint(4, (8, 4, 4))].movedim(-1, 1) + 0.01 * torch.randn(8, 3, 4, 4)
    part = SoftVQ(SoftVQConfig(codebook_size=4, kmeans=20), latent(3), features=3)
    part.on_train_start([x])
    assert (torch.cdist(part.codebook.detach(), centres).min(1).values < 0.1).sum() >= 3
    x.requires_grad_()
    part(x + torch.randn_like(x)).values.square().sum().backward()
    assert x.grad is not None
    assert part.codebook.grad is not None
    assert min(x.grad.norm().item(), part.codebook.grad.norm().item()) > 0


def test_its_latents_are_continuous_and_options_are_checked() -> None:
    config = resolve("soft-vq", IMAGE, {"tsr": 24})
    assert not config.spec.discrete
    assert config.channels == 2
    with pytest.raises(UserError, match=r"bottleneck: .*temperature must be positive"):
        resolve("soft-vq", IMAGE, {"bottleneck": {"temperature": 0.0}})
