"""What a loaded adapter is to the tokenizer that holds it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ..interface import Latents
from .declaration import Declaration


class Adapter(ABC):
    """Somebody else's encoder and decoder, called as they want to be called.

    What it sees is in the declared range, padded, and of the type it is evaluated in; what it gives is raw: not yet
    normalised. `modules` holds all that has weights or a training mode, `class_name` what tables call it.
    """

    declaration: Declaration
    class_name: str
    tiles_always: bool = False  # it has no other way

    @abstractmethod
    def modules(self) -> list[nn.Module]:
        """The modules that are moved, cast and set to eval mode; none for a runtime of its own."""

    @abstractmethod
    def encode(self, signal: Tensor) -> Latents:
        """`[B, C, *signal]` to raw latents: a posterior's mean with its deviation as `scale`, or codes, perhaps with
        the quantised values that they stand for."""

    @abstractmethod
    def decode(self, latents: Latents) -> Tensor:
        """Raw latents to `[B, C, *signal]`: codes where there are any, values where there are none."""

    def state(self) -> str:
        """The digest of weights that come from elsewhere than the configuration's files; "" where there are none."""
        return ""

    def tiling(self) -> list[str]:
        """Names of switches that are on and cut signals into pieces, which changes numbers."""
        return []
