"""Priors of clips whose first frames are given: they model the others (image-to-video where it is one frame).

The given latents are part of what the network reads, clean; only the others are predicted, scored and drawn.

Shape legend: B batch, C channels or heads, T latent frames of h x w positions, k of them given.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...tokenizers.interface import Latents
from ..latents import LatentBatch, LatentSplit
from .codes import codes_of
from .conditioning import LabelledPrior
from .fields import Field, values_of
from .interface import concatenate, evaluating
from .options import FirstFrameOptions


class FramePrior(LabelledPrior):
    """A prior whose options are `FirstFrameOptions`. Its `sample_at` takes the latents of the `first` frames."""

    config: FirstFrameOptions

    def sample_at(self, indices: range, *, seed: int, first: Tensor | None = None) -> Latents:
        """The samples numbered `indices`, as one batch, after `first` `[B, C, k, h, w]` where first frames are given.

        Raises ValueError where they are missing, or not as many as the options say.
        """
        raise NotImplementedError

    def shape_after(self, first: Tensor | None, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What of a grid of `shape` is left to draw. Raises ValueError as `sample_at` does."""
        expected = self.config.condition_frames
        frames = 0 if first is None else first.shape[2]
        if frames != expected:
            raise ValueError(f"expected {expected} first frames to draw the others after, got {frames}")
        return (shape[0] - frames, *shape[1:]) if frames else shape


class Continuations:
    """What a prior draws after the first frames of clips: sample i of `samples` follows clip i, or where there are
    fewer samples than clips one of as many evenly spread ones; where there are more the clips come again."""

    def __init__(self, prior: FramePrior, clips: LatentSplit, samples: int) -> None:
        self.prior, self.clips, self.samples = prior, clips, samples

    def clips_of(self, indices: range) -> np.ndarray:
        """The clips that the samples `indices` follow, int64 `[B]`."""
        numbers, count = np.asarray(indices, dtype=np.int64), len(self.clips)
        return numbers % count if self.samples >= count else numbers * count // self.samples

    @torch.no_grad()
    def sample(self, n: int, *, seed: int, batch_size: int, start: int = 0) -> Latents:
        """Samples `start` to `start + n`, the given frames included; each depends on the seed, its number and its clip
        alone."""
        parts = []
        with evaluating(self.prior):
            for begin in range(start, start + n, batch_size):
                indices = range(begin, min(begin + batch_size, start + n))
                batch = self.clips.batch(self.clips_of(indices), self.prior.device)
                first, _ = divided(_latents(batch), self.prior.config.condition_frames)
                parts.append(self.prior.sample_at(indices, seed=seed, first=first))
        return concatenate(parts)


def divided(x: Tensor, count: int) -> tuple[Tensor | None, Tensor]:
    """The first `count` frames of `[B, C, T, h, w]` (None: of 0, whatever the axes), and the others."""
    return (x[:, :, :count], x[:, :, count:]) if count else (None, x)


def joined(first: Tensor | None, rest: Tensor) -> Tensor:
    """The inverse of `divided`."""
    return rest if first is None else torch.cat((first, rest), dim=2)


def after(first: Tensor | None, field: Field) -> Field:
    """`field` as a function of what follows the `first` frames `[B, C, k, h, w]`, which it reads clean at any time."""
    if first is None:
        return field
    return lambda x, t: field(joined(first, x), t)[:, :, first.shape[2] :]


def _latents(batch: LatentBatch) -> Tensor:
    return values_of(batch) if batch.latents.codes is None else codes_of(batch)
