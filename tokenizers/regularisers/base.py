"""What a regulariser is to the tokenizer that it trains with."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..auxiliary.base import AuxiliaryObjective, TrainedTokenizer
from ..interface import Latents


class Regulariser(AuxiliaryObjective):
    """An auxiliary objective that shapes the latents, and may change what bottleneck and decoder read."""

    def features(self, features: Tensor) -> Tensor:
        """What the bottleneck reads in training in place of `features` `[B, inputs, *grid]`."""
        return features

    def values(self, values: Tensor) -> Tensor:
        """What the decoder reads in training in place of `values` `[B, outputs, *grid]`."""
        return values

    def truncate(self, values: Tensor, lengths: Tensor) -> Tensor:
        """What the decoder reads of `values` when only the first `lengths` `[B]` positions are present."""
        return values

    def operating_points(self, tokenizer: TrainedTokenizer) -> dict[str, Callable[[Latents], Tensor]]:
        """Further ways to decode the same latents (see `Tokenizer.operating_points`)."""
        return {}

    def read_at(self, point: str, latents: Latents) -> Latents | None:
        """What a point of its own decodes of `latents` (see `Tokenizer.read_at`); None of another's."""
        return None
