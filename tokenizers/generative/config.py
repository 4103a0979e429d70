"""Configurations of the generative decoders (B9). No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..cost import Cost
from ..part import Part
from ..registry import Registry
from ..spec import SignalSpec

if TYPE_CHECKING:
    from .base import GenerativeDecoder

GENERATIVE = Registry(
    "generative decoder",
    "latentbench.generative_decoders",
    {},
)


class GenerativeConfig(Part):
    """A conditional generative model of the signal, conditioned on what the feed-forward decoder gives."""

    def validate(self, signal: SignalSpec) -> None:
        """Raises ValueError with the reason when such signals can't be decoded so."""

    def build(self, signal: SignalSpec) -> GenerativeDecoder:
        """The module for such signals."""
        raise NotImplementedError

    def cost(self, signal: SignalSpec) -> Cost:
        """Parameters, and FLOPs of decoding one sample."""
        raise NotImplementedError

    def stages(self) -> tuple[float, ...]:
        """Shares of the training at which the work of a step changes: FLOPs are counted at each."""
        return ()
