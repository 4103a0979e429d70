"""A weighted sum of losses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..spec import SignalSpec
from .config import LossConfig


class Objective:
    """The sum of weight x loss, each loss the mean over the batch of one value per sample (see `Loss`)."""

    def __init__(self, losses: Sequence[LossConfig], signal: SignalSpec) -> None:
        self.losses = [(loss.kind, loss.weight, loss.build(signal)) for loss in losses]

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> dict[str, Tensor]:
        """The weighted losses by name, scalars; both `[B, C, *signal]`, compared in float32."""
        reconstruction, signal = reconstruction.float(), signal.float()
        return {kind: weight * loss(reconstruction, signal).mean() for kind, weight, loss in self.losses}
