"""Configurations of the regularisers: what shapes a latent space beside bottleneck and objective. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..part import Part
from ..registry import Registry
from ..spec import Modality

if TYPE_CHECKING:
    from ..config import TokenizerConfig
    from .base import Regulariser

REGULARISERS = Registry(
    "regulariser",
    "latentbench.regularisers",
    {},
)


@dataclass(frozen=True, kw_only=True)
class RegulariserConfig(Part):
    """One regulariser with its weight (0: off). `modalities` are those it is defined on."""

    modalities: ClassVar[tuple[Modality, ...]] = tuple(Modality)

    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError("weight must not be negative")

    def validate(self, config: TokenizerConfig) -> None:
        """Raises ValueError with the reason when it makes no sense on such a tokenizer."""

    def build(self, config: TokenizerConfig) -> Regulariser:
        """The module for a tokenizer of this configuration."""
        raise NotImplementedError

    def weights(self) -> tuple[str, ...]:
        """Names of the weights files that it needs."""
        return ()

    def stages(self) -> tuple[float, ...]:
        """Shares of the training at which the work of a step changes: FLOPs are counted at each."""
        return ()
