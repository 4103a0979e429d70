"""A weighted sum of loss terms."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..spec import SignalSpec
from .config import TermConfig


class Objective:
    """loss = sum of weight x term, each the mean over the batch of a loss per sample (see `terms`)."""

    def __init__(self, terms: Sequence[TermConfig], signal: SignalSpec) -> None:
        self.terms = [(term.kind, term.weight, term.build(signal)) for term in terms]

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> dict[str, Tensor]:
        """The weighted terms by name, scalars; both `[B, C, *signal]`, compared in float32."""
        reconstruction, signal = reconstruction.float(), signal.float()
        return {kind: weight * term(reconstruction, signal).mean() for kind, weight, term in self.terms}
