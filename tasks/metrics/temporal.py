"""How much a reconstruction flickers: error of the differences between consecutive frames."""

from __future__ import annotations

import torch
from torch import Tensor

from ...results.errors import UserError
from ...tokenizers.spec import SignalSpec
from .interface import PairMetric, where_finite


@torch.no_grad()
def temporal_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean |(x_t+1 - x_t) - (y_t+1 - y_t)| of clips `[B, C, T, H, W]` twice to `[B]`; NaN for clips of one frame.

    Raises UserError on different shapes. A still error (the same in every frame) costs nothing here, flicker does.
    """
    if x.shape != y.shape or x.ndim != 5:
        raise UserError(f"temporal_error: clips must be [B, C, T, H, W], got {list(x.shape)} and {list(y.shape)}")
    return (x.diff(dim=2) - y.diff(dim=2)).abs().flatten(1).mean(1)


class TemporalError(PairMetric):
    """See `TemporalErrorConfig`."""

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        return where_finite(temporal_error(reconstruction, original), reconstruction, original)

    def protocol(self, signal: SignalSpec) -> str:
        return "mean absolute error of frame differences; clips in [-1, 1], not rounded; mean over clips"
