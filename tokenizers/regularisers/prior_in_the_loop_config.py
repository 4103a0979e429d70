"""Configuration of the prior in the loop. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..auxiliary.config import TokenizerParts, nothing_to_train
from .config import RegulariserConfig, fixed_order

# The light prior predicts a code by one softmax; over more codes that costs more than the tokenizer.
_MOST_CODES = 16384


@dataclass(frozen=True, kw_only=True)
class PriorInTheLoopConfig(RegulariserConfig):
    """The negative log-likelihood of the latents under a light causal prior trains the encoder (prior in the loop, B5).

    After LARP (Wang et al. 2024, arXiv 2410.21264) and CRT (Ramanujan et al. 2024, arXiv 2412.16326). The prior is a
    causal transformer of `layers` blocks of `width` over positions in raster order. `weight` weighs its nats, summed
    over a sample, against the reconstruction error summed over it, as the KL bottleneck's beta does. Prior and decoder
    read continuous latents with noise of `resolution` times each channel's deviation.
    """

    kind: ClassVar[str] = "prior_in_the_loop"
    version: ClassVar[int] = 1
    batch_coupled: ClassVar[str | None] = "its latents are normalised over the batch"
    over_ranks: ClassVar[bool] = True
    builds = "prior_in_the_loop:PriorInTheLoop"

    weight: float = 0.3
    width: int = 64
    layers: int = 2
    resolution: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 16 or self.width % 16:
            raise ValueError("width must be a multiple of 16")
        if self.layers < 1:
            raise ValueError("layers must be at least 1")
        if not 0 < self.resolution <= 1:
            raise ValueError("resolution must lie in (0, 1]")

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        if reason := nothing_to_train(tokenizer):
            return reason
        if reason := fixed_order(tokenizer, "a light causal prior"):
            return reason
        if tokenizer.bottleneck.projects:
            return f"the decoder reads noisy latents, and bottleneck {tokenizer.bottleneck.kind!r} gives it others"
        grid = tokenizer.spec.grid
        if grid.heads and max(grid.codebook_sizes) > _MOST_CODES:
            return f"codebooks of at most {_MOST_CODES} codes, not {max(grid.codebook_sizes)}"
        return None
