"""The signal itself as latents (identity, A20)."""

from __future__ import annotations

from torch import Tensor

from ..interface import Latents
from .base import Codec


class IdentityCodec(Codec):
    """The signal's values are the latents' values."""

    def encode(self, signal: Tensor) -> Latents:
        return Latents(values=signal)

    def decode(self, latents: Latents) -> Tensor:
        if latents.values is None:
            raise ValueError("the identity has values and no codes")
        return latents.values
