"""What a codec is to the tokenizer that holds it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from ..interface import Latents
from ..spec import SignalSpec
from .config import CodecConfig


class Codec(ABC):
    """Signals to latents and back, without parameters.

    `undecodable` counts the samples so far whose codes described no signal (only codes that no encoder made can), and
    that were decoded to the codec's stated fallback.
    """

    undecodable: int = 0

    def __init__(self, config: CodecConfig, signal: SignalSpec) -> None:
        self.signal = signal

    @abstractmethod
    def encode(self, signal: Tensor) -> Latents:
        """`[B, C, *signal]` in [-1, 1] to latents on the signal's device."""

    @abstractmethod
    def decode(self, latents: Latents) -> Tensor:
        """Latents to `[B, C, *signal]` on their device."""
