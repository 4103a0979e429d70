"""A few steps on simple structured images: recipes learn, codebooks don't collapse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentbench.tokenizers.build import build
from latentbench.tokenizers.corruptions.mask import Mask
from latentbench.tokenizers.interface import Latents, TrainableTokenizer
from latentbench.tokenizers.optimisers import AdamW
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
STEPS = 80


def discs(count: int) -> Tensor:
    """Discs of random place, size and colour on backgrounds of random colour, `[count, 3, 16, 16]`."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    place, radius = 16 * torch.rand(count, 2, 1, 1), 2 + 4 * torch.rand(count, 1, 1)
    inside = torch.sigmoid(2 * (radius - ((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2).sqrt())).unsqueeze(1)
    front, back = (2 * torch.rand(2, count, 3, 1, 1) - 1).unbind()
    return inside * front + (1 - inside) * back


def train(recipe: str, options: dict[str, object], images: Tensor) -> TrainableTokenizer:
    """AdamW with warm-up and cosine decay, as the training loop has it."""
    tokenizer = build(resolve(recipe, IMAGE, {"width": 8, **options}))
    tokenizer.on_train_start(images.split(64))
    parameters = tokenizer.param_groups()["model"]
    optimiser = AdamW(parameters, lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = 2e-3 * min(1.0, step / 6) * (0.525 + 0.475 * math.cos(math.pi * step / STEPS))
        batch = images[torch.randint(len(images), (16,))]
        loss = tokenizer.losses(batch, group="model", step=step, steps=STEPS)["loss"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        tokenizer.after_step(step=step, steps=STEPS)
    return tokenizer.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "options", "psnr", "share"),
    [
        ("ae", {}, 18.0, None),
        ("kl-vae", {}, 18.0, None),
        ("vq-vae", {"codebook_size": 64}, 14.5, 0.5),
        ("vq-vae", {"codebook_size": 64, "bottleneck": {"normalise": True}}, 14.5, 0.5),
        ("vq-vae-ema", {"codebook_size": 64}, 14.5, 0.5),
        ("multi-head-vq", {"codebook_size": 64, "heads": 2}, 15.5, 0.4),
        ("titok", {"tokens": 16, "codebook_size": 64}, 14.5, 0.5),
        ("token-set", {"tokens": 16, "codebook_size": 256}, 14.5, 0.5),
        ("fsq", {"levels": [4, 4, 4]}, 14.5, 0.3),
        ("lfq", {"channels": 6}, 13.5, 0.3),
        ("vq-vae-2", {"codebook_size": 64}, 15.0, None),
        ("vq-reg", {"codebook_size": 64}, 14.5, None),
    ],
)
def test_a_short_training_learns_and_uses_its_codes(
    recipe: str, options: dict[str, object], psnr: float, share: float | None
) -> None:
    tokenizer, held_out = train(recipe, options, discs(1024)), discs(128)
    with torch.no_grad():
        latents = tokenizer.encode(held_out)
        errors = (tokenizer.decode(latents) - held_out).square().flatten(1).mean(1)
    reached = (10 * torch.log10(4 / errors)).mean().item()
    assert reached > psnr
    if share is not None:
        assert_used(tokenizer, latents, share)


def assert_used(tokenizer: TrainableTokenizer, latents: Latents, share: float) -> None:
    """The perplexity of each codebook's codes is more than that share of its size."""
    assert latents.codes is not None
    for head, size in enumerate(tokenizer.spec.grid.codebook_sizes):
        frequency = torch.bincount(latents.codes[:, head].flatten(), minlength=size) / latents.codes[:, head].numel()
        perplexity = torch.special.entr(frequency).sum().exp().item()
        assert perplexity > share * size


@pytest.mark.slow
def test_distortion_falls_with_every_stage_of_one_residual_quantiser() -> None:
    tokenizer, held_out = train("rvq", {"codebook_size": 32, "levels": 4}, discs(1024)), discs(128)
    with torch.no_grad():
        latents = tokenizer.encode(held_out)
        codes = latents.codes
        assert codes is not None
        errors = [
            (tokenizer.decode(Latents(codes=codes[:, :depth])) - held_out).square().mean().item()
            for depth in range(1, 5)
        ]
    assert errors == sorted(errors, reverse=True)
    assert errors[3] < 0.8 * errors[0]
    assert 10 * math.log10(4 / errors[3]) > 15.0
    assert_used(tokenizer, latents, 0.4)


@pytest.mark.slow
def test_a_denoising_autoencoder_fills_what_is_masked() -> None:
    images, held_out = discs(1024), discs(256)
    mask = Mask((4, 4), ratio=0.3).draw(held_out)
    hidden = (mask == 0).expand_as(held_out)
    errors = {}
    for recipe in ("ae", "denoising-ae"):
        torch.manual_seed(1)
        tokenizer = train(recipe, {}, images)
        with torch.no_grad():
            filled = tokenizer.decode(tokenizer.encode(held_out * mask))
        difference = (filled - held_out).square()
        errors[recipe] = difference.mean().item(), difference[hidden].mean().item()
    assert errors["denoising-ae"][0] < 0.9 * errors["ae"][0]
    mean = images.mean((0, 2, 3)).view(1, 3, 1, 1)
    assert errors["denoising-ae"][1] < 0.9 * (held_out - mean).square()[hidden].mean().item()
