"""Latent denoising: the noise's distribution, how much is masked, what is left alone, and what a decoder gains."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.latent_denoising import LatentDenoising
from latentbench.tokenizers.regularisers.latent_denoising_config import LatentDenoisingConfig
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


def denoising(**options: Any) -> LatentDenoising:
    config = resolve("ae", IMAGE, {"channels": 2, "width": 8})
    return LatentDenoising(LatentDenoisingConfig(**options), config)


def test_interpolated_noise_is_uniform_between_the_latents_and_noise_of_their_deviation() -> None:
    part, z = denoising(noise=2.0, mask=0), 5 * torch.randn(4000, 2, 4, 4)
    read = part.values(z)
    share = 1 - (read * z).flatten(1).sum(1) / z.square().flatten(1).sum(1)  # t, up to noise of mean 0
    assert share.mean().item() == pytest.approx(0.5, abs=0.05)
    # E read² = E (1 - t)² s² + E t² (2 s)² = (1 + 4) s² / 3
    assert read.square().mean().item() == pytest.approx(25 * 5 / 3, rel=0.05)


def test_additive_noise_has_a_half_normal_deviation() -> None:
    part, z = denoising(path="additive", noise=0.5, mask=0), 3 * torch.randn(4000, 2, 4, 4)
    levels = (part.values(z) - z).flatten(1).std(1) / 1.5
    assert levels.mean().item() == pytest.approx(math.sqrt(2 / math.pi), rel=0.05)
    assert levels.square().mean().item() == pytest.approx(1, rel=0.08)


def test_the_noise_does_not_depend_on_the_scale_and_gives_it_no_gradient() -> None:
    part, z = denoising(path="additive", mask=0), torch.randn(8, 2, 4, 4, requires_grad=True)
    torch.manual_seed(0)
    read = part.values(z)
    torch.manual_seed(0)
    torch.testing.assert_close(part.values(100 * z), 100 * read, rtol=1e-4, atol=1e-3)
    (gradient,) = torch.autograd.grad(read.sum(), z)
    assert torch.equal(gradient, torch.ones_like(z))


def test_the_masked_share_is_uniform_and_sometimes_nothing() -> None:
    part = denoising(noise=0, mask=0.7)
    assert part.mask is not None
    with torch.no_grad():
        part.mask.fill_(7.0)
    hidden = (part.values(torch.zeros(4000, 2, 16, 16)) == 7).all(1).flatten(1).float().mean(1)
    assert (hidden == 0).float().mean().item() == pytest.approx(0.125, abs=0.03)  # shares below 0 of [-0.1, 0.7]
    assert hidden[hidden > 0].mean().item() == pytest.approx(0.35, abs=0.02)
    assert hidden.max().item() <= 0.7


def test_a_share_of_the_samples_is_left_as_it_is_and_all_out_of_training() -> None:
    part, z = denoising(weight=0.25), torch.randn(4000, 2, 4, 4)
    changed = (part.values(z) != z).flatten(1).any(1).float().mean().item()
    assert changed == pytest.approx(0.25, abs=0.03)
    assert part.eval().values(z) is z


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 1.5}, "weight is the share of the samples that are corrupted: at most 1"),
        ({"mask": 1.0}, r"mask must lie in \[0, 1\)"),
        ({"mask": 0, "noise": 0}, "nothing is corrupted"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"regularisers.latent_denoising: .*{message}"):
        resolve("kl-vae", IMAGE, {"regularisers": {"latent_denoising": options}})


@pytest.mark.slow
def test_the_decoder_reads_noisy_latents_better(
    fitted: Callable[..., Any], discs: tuple[Tensor, Tensor], quality: Callable[..., float]
) -> None:
    signals, error = discs[1], {}
    for recipe in ("kl-vae", "l-detok"):
        tokenizer = fitted(recipe)
        with torch.no_grad():
            z = tokenizer.encode(signals).values
            noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
            read = z + 0.5 * z.std((0, 2, 3), keepdim=True) * noise
            error[recipe] = (tokenizer.decode_values(read) - signals).square().mean().item()
    assert error["l-detok"] < 0.7 * error["kl-vae"]
    assert quality(fitted("l-detok")) > quality(fitted("kl-vae")) - 4.0
