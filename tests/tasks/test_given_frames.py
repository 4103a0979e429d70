"""Which frames first latents hold, measured; and that what was given is in every name and protocol."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.results.metric import Metric
from latentbench.tasks.generation import held_out
from latentbench.tasks.given_frames import GivenFrames
from latentbench.tasks.latents import LatentSplit
from latentbench.tokenizers.build import build
from latentbench.tokenizers.interface import Latents, Tokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

CLIP = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(9, 8, 8), rate=8.0)


def clips(frames: int) -> Tensor:
    return torch.rand(4, 3, frames, 8, 8) * 2 - 1


class Pairs(Tokenizer):
    """A code for two frames: whether they are bright."""

    @property
    def spec(self) -> LatentSpec:
        grid = LatentGrid(shape=(4, 8, 8), channels=1, codebook_sizes=(2,))
        return LatentSpec(
            signal=SignalSpec(modality=Modality.VIDEO, channels=3, shape=(8, 8, 8), rate=8.0), grids=(grid,)
        )

    def encode(self, signal: Tensor) -> Latents:
        return Latents(codes=(signal.mean(1, keepdim=True).unflatten(2, (4, 2)).mean(3) > 0).long())

    def decode(self, latents: Latents) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("recipe", "options", "count", "latents", "frames"),
    [
        ("causal-video-vae", {}, 1, 3, 1),
        ("causal-video-vae", {}, 2, 3, 5),
        ("framewise-vae", {}, 2, 9, 2),
        ("video-vae", {"downsample": [3, 4, 4]}, 1, 3, 9),
    ],
)
def test_frames_that_first_latents_hold(recipe: str, options: dict, count: int, latents: int, frames: int) -> None:
    tokenizer = build(resolve(recipe, CLIP, {"width": 8, **options})).eval()
    with torch.no_grad():
        for parameter in tokenizer.parameters():  # type: ignore[attr-defined]
            parameter.add_(0.05 * torch.randn_like(parameter))  # residual branches begin at zero
    given = GivenFrames.measured(tokenizer, clips(9), count)
    assert given == GivenFrames(latent_frames=count, of_latent=latents, frames=frames, of_frames=9)


def test_codes_are_compared_as_such() -> None:
    assert GivenFrames.measured(Pairs(), clips(8), 3).frames == 6


@pytest.mark.parametrize(
    ("count", "frames", "line"),
    [
        (1, 1, "given the first latent frame of 3 of validation clips, made of frame 1 of 9"),
        (2, 5, "given the first 2 latent frames of 3 of validation clips, made of frames 1 to 5 of 9"),
        (1, 9, "given the first latent frame of 3 of validation clips, made of all 9 frames"),
    ],
)
def test_names_and_protocols_say_what_was_given(count: int, frames: int, line: str) -> None:
    given = GivenFrames(latent_frames=count, of_latent=3, frames=frames, of_frames=9)
    metric = Metric(name="gfd_encoder", value=2.0, protocol="net; reference: val split", role="distribution")
    marked = given.marked(metric)
    assert marked.name == f"given_{count}_gfd_encoder"
    assert marked.protocol == f"net; reference: val split; {line}"
    assert (marked.value, marked.role) == (2.0, "distribution")


def test_held_out_scores_are_marked(toys: SimpleNamespace) -> None:
    """And none of them is put per element of the whole signal."""
    spec: Any = toys.Identity().spec
    prior = toys.Replay(spec, torch.zeros(2, 3, 16, 16))
    split = LatentSplit(levels=({"values": np.zeros((4, 3, 16, 16), np.float32)},), labels=None, moments=(None,))
    given = GivenFrames(latent_frames=1, of_latent=3, frames=1, of_frames=9)
    bits, loss = held_out(prior, split, spec, torch.device("cpu"), given=given)
    assert (bits.name, bits.value, loss.name) == ("given_1_nll_bits", 768 * 2.5, "given_1_loss")
    assert bits.protocol == f"exact, per sample; {given.line}"
