"""Seams and flicker of clips: errors at the borders of latent positions and inside, and flicker beside the true clip's.

Shape legend: B batch, C channels, T frames, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...results.errors import UserError
from ...tokenizers.spec import LatentSpec, SignalSpec
from .config import PairMetricConfig
from .interface import PairMetric, where_finite


def borders(spec: LatentSpec, step: int) -> tuple[bool, ...]:
    """For each pair of consecutive frames, whether a latent position of `step` frames ends between them.

    The first position has one frame alone where the latents are 1 + k for 1 + k `step` frames. Empty where the latents
    lie on no grid with frames.
    """
    frames, shape = spec.signal.shape[0], spec.grid.shape
    if len(shape) != len(spec.signal.shape) or spec.grid.topology != "grid":
        return ()
    if shape[0] * step == frames:
        first = step
    elif 1 + (shape[0] - 1) * step == frames:
        first = 1
    else:
        return ()
    return tuple((frame - first) % step == 0 for frame in range(1, frames))


@torch.no_grad()
def transition_errors(x: Tensor, y: Tensor) -> Tensor:
    """Mean |(x_t+1 - x_t) - (y_t+1 - y_t)| of clips `[B, C, T, H, W]` twice, to `[B, T - 1]`."""
    _check(x, y)
    return (x.diff(dim=2) - y.diff(dim=2)).abs().mean((1, 3, 4))


@torch.no_grad()
def flicker(x: Tensor, y: Tensor) -> Tensor:
    """Sum |x_t+1 - 2 x_t + x_t-1| over the same of y, clips `[B, C, T, H, W]` twice to `[B]`.

    Steady motion and fades change little from one difference of frames to the next, flicker changes its sign. NaN for
    fewer than three frames and where y does not change.
    """
    _check(x, y)
    own, true = (clip.diff(n=2, dim=2).abs().flatten(1).sum(1) for clip in (x, y))
    return torch.where(true > 0, own / true, torch.full_like(own, float("nan")))


def _check(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape or x.ndim != 5:
        raise UserError(f"clips must be [B, C, T, H, W] of one shape, got {list(x.shape)} and {list(y.shape)}")


class SeamError(PairMetric):
    """See `SeamConfig` and `InsideConfig`; constructed with what `borders` gives."""

    def __init__(self, config: PairMetricConfig, at_border: tuple[bool, ...]) -> None:
        super().__init__(config)
        inside = config.kind == "temporal_error_inside"
        self.chosen = [i for i, border in enumerate(at_border) if border != inside]

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        values = transition_errors(reconstruction, original)[:, self.chosen].mean(1)
        return where_finite(values, reconstruction, original)

    def protocol(self, signal: SignalSpec) -> str:
        where = "inside" if self.config.kind == "temporal_error_inside" else "at borders of"
        return f"mean absolute error of frame differences {where} latent positions; clips in [-1, 1], not rounded"


class Flicker(PairMetric):
    """See `FlickerConfig`."""

    def __init__(self, config: PairMetricConfig, at_border: tuple[bool, ...]) -> None:
        super().__init__(config)

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        return where_finite(flicker(reconstruction, original), reconstruction, original)

    def protocol(self, signal: SignalSpec) -> str:
        return (
            "second differences of frames, their sum of absolutes over the true clip's; clips in [-1, 1], not rounded"
        )
