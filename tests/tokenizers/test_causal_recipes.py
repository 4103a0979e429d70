"""What causal recipes promise: no latent sees the future, to the bit, in every modality that they are for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import load_recipe, recipe_names, resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

CLIP = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(13, 16, 24), rate=8.0)
SOUND = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(13 * 64,), rate=8000.0)
# Recipes with a causal backbone, and a signal for each.
CAUSAL = {"causal-video-vae": CLIP, "encodec": SOUND, "video-fsq": CLIP}


def stages(tokenizer: Any, x: Tensor) -> list[Tensor]:
    """What the bottleneck reads, and what it makes of it."""
    latents = tokenizer.encode(x)
    return [tensor for tensor in (tokenizer.features(x), latents.values, latents.codes) if tensor is not None]


def test_they_are_all_causal_recipes() -> None:
    assert list(CAUSAL) == [
        name for name in recipe_names() if load_recipe(name).table.get("backbone", {}).get("causal")
    ]


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        *((recipe, {}) for recipe in CAUSAL),
        ("encodec", {"lstm": 1, "activation": "snake"}),
        ("causal-video-vae", {"factorised": True}),
    ],
)
@torch.no_grad()
def test_changing_the_future_changes_no_past_latent_to_the_bit(recipe: str, options: dict[str, Any]) -> None:
    signal = CAUSAL[recipe]
    tokenizer: Any = build(resolve(recipe, signal, {"backbone": {"width": 8, **options}}))
    for weight in tokenizer.eval().parameters():
        nn.init.normal_(weight, std=0.2)
    x = torch.rand(2, signal.channels, *signal.shape) * 2 - 1
    before = stages(tokenizer, x)
    step, first = (4, 1) if signal is CLIP else (64, 64)  # latent i sees first + step i positions
    for changed in range(1, 13) if signal is CLIP else (63, 64, 65, 300, 13 * 64 - 1):
        other = x.clone()
        other[:, :, changed:] = torch.rand_like(other[:, :, changed:]) * 2 - 1
        past, after = max(0, 1 + (changed - first) // step), stages(tokenizer, other)
        for old, new in zip(before, after, strict=True):
            assert torch.equal(old[:, :, :past], new[:, :, :past]), changed
        assert not torch.equal(before[0][:, :, past : past + 1], after[0][:, :, past : past + 1]), changed
