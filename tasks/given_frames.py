"""What of a clip was given to a prior whose first frames are given: measured on the tokenizer, and told by its metrics.

Such a prior goes on from true clips. Its numbers have names and protocols of their own, and stand in no column with
those of a prior that was given nothing.

Shape legend: B batch, C channels, T frames of H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..results.metric import Metric
from ..tokenizers.interface import Tokenizer
from .priors.noise import uniform

_NOISE_SEED = 0xF1A3
_ROUNDING = 1e-3  # of the latents' standard deviation: what the sums of another batch may differ by


@dataclass(frozen=True, kw_only=True)
class GivenFrames:
    """The first `latent_frames` of `of_latent` were given; they were made of the first `frames` of `of_frames`."""

    latent_frames: int
    of_latent: int
    frames: int
    of_frames: int

    @classmethod
    @torch.no_grad()
    def measured(cls, tokenizer: Tokenizer, clips: Tensor, latent_frames: int) -> GivenFrames:
        """Which frames the first latents hold, by putting noise in the place of one frame of `clips` `[B, C, T, H, W]`
        after another. A causal tokenizer's first latent frame holds the first frame alone; one with norms over whole
        clips reads all of them."""
        before = _first(tokenizer, clips, latent_frames)
        frames = clips.shape[2]
        noise = 2 * uniform(_NOISE_SEED, range(len(clips)), tuple(clips.shape[1:])).to(clips) - 1
        read = 0
        for frame in reversed(range(frames)):
            changed = clips.clone()
            changed[:, :, frame] = noise[:, :, frame]
            if _differ(_first(tokenizer, changed, latent_frames), before):
                read = frame + 1
                break
        return cls(latent_frames=latent_frames, of_latent=tokenizer.spec.grid.shape[0], frames=read, of_frames=frames)

    @property
    def line(self) -> str:
        """What was given, for protocols."""
        latents = "latent frame" if self.latent_frames == 1 else f"{self.latent_frames} latent frames"
        made_of = "frame 1" if self.frames == 1 else f"frames 1 to {self.frames}"
        what = f"all {self.frames} frames" if self.frames == self.of_frames else f"{made_of} of {self.of_frames}"
        return f"given the first {latents} of {self.of_latent} of validation clips, made of {what}"

    def marked(self, metric: Metric) -> Metric:
        """The metric as one of what follows the given frames."""
        return replace(
            metric, name=f"given_{self.latent_frames}_{metric.name}", protocol=f"{metric.protocol}; {self.line}"
        )


def _first(tokenizer: Tokenizer, clips: Tensor, count: int) -> Tensor:
    latents = tokenizer.encode(clips)
    tensor = latents.values if latents.codes is None else latents.codes
    assert tensor is not None  # latents have one or the other
    return tensor[:, :, :count]


def _differ(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return bool((one != other).any())
    return bool((one - other).abs().max() > _ROUNDING * other.std())
