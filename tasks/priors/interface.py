"""What every prior offers: `fit` through the training loop, `held_out` likelihood or loss, `sample`.

Shape legend: B batch, C channels, H heads (codes per position), *grid the latents' axes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...tokenizers.interface import Latents, Trainable
from ...tokenizers.spec import LatentSpec
from ..latents import LatentBatch
from .config import PriorConfig, batch_coupled, rank_coupled
from .heldout import HeldOutScore


class Prior(Trainable):
    """A generative model of frozen latents.

    A subclass implements `losses`, `held_out` and `sample_at`; `sample` slices and joins. `held_out_scores` says what
    those scores of `held_out` are that are not simply its objective.
    """

    held_out_scores: ClassVar[tuple[HeldOutScore, ...]] = ()

    def __init__(self, config: PriorConfig, spec: LatentSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec

    @property
    def batch_coupled(self) -> str | None:
        return batch_coupled(self.config, self.spec)

    @property
    def rank_coupled(self) -> str | None:
        return rank_coupled(self.config, self.spec)

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.parameters()).device

    @abstractmethod
    def losses(self, batch: LatentBatch, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Scalars by name; "loss" is minimised. Randomness draws from torch's global generator."""
        raise NotImplementedError

    @abstractmethod
    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        """Per-sample scores `[B]` of unseen latents by name: "nll_bits" (exact, bits per sample) where the prior has
        a likelihood, else its objective at times and noise that are fixed by the sample's index."""
        raise NotImplementedError

    @abstractmethod
    def sample_at(self, indices: range, *, seed: int) -> Latents:
        """The samples numbered `indices`, as one batch; all randomness is a function of (seed, index)."""
        raise NotImplementedError

    def denoise(self, batch: LatentBatch, noise: Tensor, share: float) -> Tensor | None:
        """The latents expected, in one evaluation, of `batch`'s with `noise` in them (`[B, C, *grid]`, as the latents):
        `share` of the sum of both scales is the noise's. None where the prior does not denoise."""
        return None

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        seed: int,
        batch_size: int = 64,
        start: int = 0,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Latents:
        """Samples number `start` to `start` + `n` - 1, on the prior's device: normalised values or codes.

        Sample i is a function of (seed, i), whatever `batch_size` and however a range is sliced (up to the rounding of
        matrix products, which may differ with the batch size).
        """
        if n < 1:
            raise ValueError("n must be at least 1")
        parts = []
        with evaluating(self):
            for first in range(start, start + n, batch_size):
                parts.append(self.sample_at(range(first, min(first + batch_size, start + n)), seed=seed))
                if progress is not None:
                    progress(min(first + batch_size, start + n) - start, n, "sampling")
        return concatenate(parts)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode (no dropout) inside the block; the mode before it afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def concatenate(parts: list[Latents]) -> Latents:
    """Batches of latents as one batch, all levels of a hierarchy included."""
    levels = [_joined(group) for group in zip(*(part.levels for part in parts), strict=True)]
    return replace(levels[0], rest=tuple(levels[1:]))


def _joined(group: tuple[Latents, ...]) -> Latents:
    joined: dict[str, Any] = {}
    for name in ("values", "codes", "scale", "lengths"):
        tensors = [tensor for level in group if (tensor := getattr(level, name)) is not None]
        joined[name] = torch.cat(tensors) if tensors else None
    return Latents(**joined)
