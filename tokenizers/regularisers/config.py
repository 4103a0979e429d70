"""Configurations of the regularisers: what shapes a latent space beside bottleneck and objective. No torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..cost import Cost
from ..part import Part
from ..registry import Registry
from ..spec import Modality

if TYPE_CHECKING:
    from ..config import TokenizerConfig
    from .base import Regulariser

REGULARISERS = Registry(
    "regulariser",
    "latentbench.regularisers",
    {
        "nested_dropout": "tokenizers.regularisers.nested_config:NestedDropoutConfig",
        "resolution_dropout": "tokenizers.regularisers.resolution_config:ResolutionDropoutConfig",
        "prior_in_the_loop": "tokenizers.regularisers.curation_config:PriorInTheLoopConfig",
        "alignment": "tokenizers.regularisers.curation_config:AlignmentConfig",
        "equivariance": "tokenizers.regularisers.curation_config:EquivarianceConfig",
        "self_supervised": "tokenizers.regularisers.curation_config:SelfSupervisedConfig",
        "adversary": "tokenizers.regularisers.adversary_config:AdversaryConfig",
        "auxiliary_decoder": "tokenizers.regularisers.auxiliary_config:AuxiliaryDecoderConfig",
    },
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

    def compatible_with(self, kinds: Collection[str]) -> None:
        """Raises ValueError with the reason when it can't train with the other regularisers of these kinds."""

    def build(self, config: TokenizerConfig) -> Regulariser:
        """The module for a tokenizer of this configuration."""
        raise NotImplementedError

    def cost(self, config: TokenizerConfig) -> Cost:
        """What it adds to the trained tokenizer; nothing where it is a companion of training."""
        return Cost()

    def weights(self) -> tuple[str, ...]:
        """Names of the weights files that it needs."""
        return ()

    def schedule_milestones(self) -> tuple[float, ...]:
        """Shares of the training at which the work of a step changes: FLOPs are counted at each."""
        return ()
