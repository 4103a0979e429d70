"""The base of the regularisers' configurations, and their registry. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..auxiliary.config import AuxiliaryObjectiveConfig, TokenizerParts
from ..registry import Registry


@dataclass(frozen=True, kw_only=True)
class RegulariserConfig(AuxiliaryObjectiveConfig):
    """One regulariser: an auxiliary objective that only shapes the latents."""


def several_grids(tokenizer: TokenizerParts, reason: str) -> str | None:
    """`reason` with the number of grids, where a bottleneck has more than the one that a regulariser can read."""
    grids = len(tokenizer.spec.grids)
    return f"{reason}, and {tokenizer.bottleneck.kind!r} has {grids}" if grids > 1 else None


REGULARISERS = Registry(
    "regulariser",
    "latentbench.regularisers",
    {
        "nested_dropout": "tokenizers.regularisers.nested_dropout_config:NestedDropoutConfig",
        "resolution_dropout": "tokenizers.regularisers.resolution_dropout_config:ResolutionDropoutConfig",
        "prior_in_the_loop": "tokenizers.regularisers.prior_in_the_loop_config:PriorInTheLoopConfig",
        "alignment": "tokenizers.regularisers.alignment_config:AlignmentConfig",
        "equivariance": "tokenizers.regularisers.equivariance_config:EquivarianceConfig",
    },
    base=RegulariserConfig,
)
