"""Configuration of causal next-latent regularisation. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..auxiliary.config import TokenizerParts, nothing_to_train
from .config import RegulariserConfig, fixed_order


@dataclass(frozen=True, kw_only=True)
class NextLatentConfig(RegulariserConfig):
    """A causal net predicts every latent from those before it, and its squared error trains the encoder (causal
    regularisation, B13).

    After CRT (Ramanujan et al. 2024, arXiv 2412.16326). The net is a causal transformer of `layers` blocks of `width`
    over positions in raster order, dropped after training. The error is the share of each channel's variance that it
    leaves unexplained.
    """

    kind: ClassVar[str] = "next_latent"
    version: ClassVar[int] = 2
    batch_coupled: ClassVar[str | None] = "its latents are normalised by moments of the batch"
    over_ranks: ClassVar[bool] = True
    builds = "next_latent:NextLatent"

    weight: float = 0.02
    width: int = 64
    layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 16 or self.width % 16:
            raise ValueError("width must be a multiple of 16")
        if self.layers < 1:
            raise ValueError("layers must be at least 1")

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        if reason := nothing_to_train(tokenizer):
            return reason
        if tokenizer.spec.grid.positions < 2:
            return "one position has nothing before it"
        return fixed_order(tokenizer, "a causal net")
