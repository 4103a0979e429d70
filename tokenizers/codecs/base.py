"""What a codec is to the tokenizer that holds it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from ..interface import Latents


class Codec(ABC):
    """Signals to latents and back, without parameters.

    `undecodable` counts the samples so far whose codes described no signal (only codes that no encoder made can), and
    that were decoded to the codec's stated fallback.
    """

    undecodable: int = 0

    @abstractmethod
    def encode(self, signal: Tensor) -> Latents:
        """`[B, C, *signal]` in [-1, 1] to latents on the signal's device."""

    @abstractmethod
    def decode(self, latents: Latents) -> Tensor:
        """Latents to `[B, C, *signal]` on their device."""
