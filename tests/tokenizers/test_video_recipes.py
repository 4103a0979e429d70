"""What the recipes of clips promise of time, for every one of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import load_recipe, recipe_names, resolve
from latentbench.tokenizers.spec import Modality, SignalSpec


def clip(frames: int) -> SignalSpec:
    """Clips at 8 frames a second."""
    return SignalSpec(modality=Modality.VIDEO, channels=3, shape=(frames, 16, 24), rate=8.0)


def of_backbone(option: str) -> list[str]:
    """The recipes whose convolutional backbone has this option."""
    return [name for name in recipe_names() if load_recipe(name).table.get("backbone", {}).get(option)]


def awake(recipe: str, frames: int) -> Any:
    """The recipe's tokenizer with weights that are zero nowhere."""
    tokenizer: Any = build(resolve(recipe, clip(frames), {"width": 8}))
    torch.manual_seed(1)
    for weight in tokenizer.parameters():
        nn.init.normal_(weight, std=0.2)
    return tokenizer.eval()


def test_they_are_the_recipes_that_these_tests_are_of() -> None:
    causal, framewise = (
        [name for name in of_backbone(option) if Modality.VIDEO in load_recipe(name).modalities]
        for option in ("causal", "framewise")
    )
    assert causal == ["causal-video-vae", "video-fsq"]
    assert framewise == ["framewise-vae"]


@torch.no_grad()
def test_changing_a_frame_changes_the_latent_and_the_reconstruction_of_that_frame_alone() -> None:
    tokenizer = awake("framewise-vae", 6)
    x = torch.rand(2, 3, 6, 16, 24) * 2 - 1
    latents = tokenizer.encode(x)
    decoded = tokenizer.decode(latents)
    assert latents.values.shape == (2, 4, 6, 4, 6)
    for frame in range(6):
        other = x.clone()
        other[:, :, frame] = torch.rand_like(other[:, :, frame]) * 2 - 1
        again = tokenizer.encode(other)
        for old, new in ((latents.values, again.values), (decoded, tokenizer.decode(again))):
            same = [torch.equal(a, b) for a, b in zip(old.unbind(2), new.unbind(2), strict=True)]
            assert same == [t != frame for t in range(6)]


@torch.no_grad()
def test_a_frame_by_itself_has_the_latents_that_it_has_in_a_clip() -> None:
    tokenizer = awake("framewise-vae", 6)
    x = torch.rand(2, 3, 6, 16, 24) * 2 - 1
    values = tokenizer.encode(x).values
    for frame in range(6):
        torch.testing.assert_close(tokenizer.encode(x[:, :, frame : frame + 1]).values, values[:, :, frame : frame + 1])


@torch.no_grad()
def test_the_plain_recipe_of_clips_sees_all_frames_of_its_neighbourhood() -> None:
    tokenizer = awake("video-vae", 8)
    x = torch.rand(1, 3, 8, 16, 24) * 2 - 1
    other = x.clone()
    other[:, :, 4:] = 0
    assert not torch.equal(tokenizer.encode(x).values[:, :, 0], tokenizer.encode(other).values[:, :, 0])


def test_frames_one_by_one_and_together_have_one_tsr() -> None:
    together, single = (resolve(name, clip(8), {}).spec for name in ("video-vae", "framewise-vae"))
    assert together.tsr == single.tsr == 12
    assert (together.grid.shape, single.grid.shape) == ((2, 4, 6), (8, 4, 6))


@pytest.mark.parametrize(
    ("recipe", "frames", "backbone"),
    [
        ("framewise-vae", 6, {}),
        ("video-vae", 8, {}),
        ("video-fsq", 9, {}),
        ("video-vae", 8, {"factorised": True}),
        ("causal-video-vae", 9, {"factorised": True, "stem": 1}),
    ],
)
def test_cost_as_arithmetic_is_the_cost_as_counted(recipe: str, frames: int, backbone: dict[str, Any]) -> None:
    config = resolve(recipe, clip(frames), {"backbone": {"width": 8, **backbone}})
    tokenizer: Any = build(config)
    assert sum(p.numel() for p in tokenizer.parameters()) == config.estimate_parameters()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tokenizer.decode(tokenizer.encode(torch.zeros(1, 3, frames, 16, 24)))
    assert counter.get_total_flops() == pytest.approx(config.estimate_flops(), rel=0.02)


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("framewise-vae", {"downsample": 4}, "downsample must be 1 in time, not 4"),
        ("framewise-vae", {"backbone": {"causal": True}}, "causal and framewise are two ways to treat time"),
        ("causal-video-vae", {}, "causal clips have 4k + 1 frames, and 8 are none; nearest: 5 or 9"),
    ],
)
def test_what_makes_no_sense_is_refused(recipe: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        resolve(recipe, clip(8), options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_pictures_have_no_frames() -> None:
    picture = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
    for option in ("framewise", "factorised"):
        with pytest.raises(UserError, match=f"{option} is for video, not image"):
            resolve("kl-vae", picture, {"backbone": {option: True}})
