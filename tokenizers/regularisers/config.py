"""The base of the regularisers' configurations, and their registry. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..auxiliary.config import AuxiliaryObjectiveConfig, TokenizerParts
from ..registry import Registry


@dataclass(frozen=True, kw_only=True)
class RegulariserConfig(AuxiliaryObjectiveConfig):
    """One regulariser: an auxiliary objective that only shapes the latents. `points` are the names of its module's
    operating points, `<n>` for a number."""

    points: ClassVar[tuple[str, ...]] = ()


def several_grids(tokenizer: TokenizerParts, reason: str) -> str | None:
    """`reason` with the number of grids, where a bottleneck has more than the one that a regulariser can read."""
    grids = len(tokenizer.spec.grids)
    return f"{reason}, and {tokenizer.bottleneck.kind!r} has {grids}" if grids > 1 else None


def fixed_order(tokenizer: TokenizerParts, what: str) -> str | None:
    """Why latents are no fixed number of positions in an order on one grid, which `what` reads; None where they are."""
    if reason := several_grids(tokenizer, f"{what} reads one grid of latents"):
        return reason
    if tokenizer.spec.grid.topology == "set":
        return f"{what} needs an order, and a set has none"
    if tokenizer.spec.grid.variable:
        return f"{what} has a fixed number of positions, and these latents vary in length"
    return None


REGULARISERS = Registry(
    "regulariser",
    "latentbench.regularisers",
    {
        "nested_dropout": "tokenizers.regularisers.nested_dropout_config:NestedDropoutConfig",
        "resolution_dropout": "tokenizers.regularisers.resolution_dropout_config:ResolutionDropoutConfig",
        "prior_in_the_loop": "tokenizers.regularisers.prior_in_the_loop_config:PriorInTheLoopConfig",
        "alignment": "tokenizers.regularisers.alignment_config:AlignmentConfig",
        "equivariance": "tokenizers.regularisers.equivariance_config:EquivarianceConfig",
        "next_latent": "tokenizers.regularisers.next_latent_config:NextLatentConfig",
        "spectrum_matching": "tokenizers.regularisers.spectrum_matching_config:SpectrumMatchingConfig",
        "masked_modelling": "tokenizers.regularisers.masked_modelling_config:MaskedModellingConfig",
        "end_to_end": "tokenizers.regularisers.end_to_end_config:EndToEndConfig",
        "latent_denoising": "tokenizers.regularisers.latent_denoising_config:LatentDenoisingConfig",
    },
    base=RegulariserConfig,
)
