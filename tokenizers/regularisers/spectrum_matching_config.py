"""Configuration of spectrum matching. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..auxiliary.config import TokenizerParts, nothing_to_train
from .config import RegulariserConfig, several_grids


@dataclass(frozen=True, kw_only=True)
class SpectrumMatchingConfig(RegulariserConfig):
    """The latents' power spectrum follows the signal's, and low-passed latents decode to the low-passed signal
    (spectrum matching, B17).

    After Ning et al. 2026 (arXiv 2603.14645). Spectra are compared in up to `bands` bands of relative frequency, the
    signal's raised to the power `flatten`. `decoding` weighs the second term, the objective between decode(low pass of
    z) and the low pass of x, on half of the batch; it is for continuous latents.
    """

    kind: ClassVar[str] = "spectrum_matching"
    version: ClassVar[int] = 2
    batch_coupled: ClassVar[str | None] = "its latents are normalised by moments of the batch"
    over_ranks: ClassVar[bool] = True
    builds = "spectrum_matching:SpectrumMatching"

    weight: float = 0.1
    bands: int = 16
    flatten: float = 1.0
    decoding: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bands < 2:
            raise ValueError("bands must be at least 2")
        if not 0 <= self.flatten <= 1:
            raise ValueError("flatten must lie in [0, 1]: 0 is white, 1 the signal's own spectrum")
        if self.decoding < 0:
            raise ValueError("decoding must not be negative")

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        if reason := several_grids(tokenizer, "a spectrum is that of one grid of latents"):
            return reason
        grid = tokenizer.spec.grid
        if grid.topology != "grid" or grid.variable:
            return "latents that do not lie where the signal does have no spectrum to match; it needs a grid"
        if max(grid.shape) < 3:
            return "latents need at least 3 positions along an axis to have a spectrum"
        if not self.decoding:
            return nothing_to_train(tokenizer)
        if grid.heads:
            return "decoding needs continuous latents: a low pass of codes is no code"
        if tokenizer.diffusion_decoder is not None:
            return "decoding compares decoded signals, and in training a diffusion decoder makes none"
        if "auxiliary_decoder" in {objective.kind for objective in tokenizer.auxiliary_objectives}:
            return "decoding brings the main decoder's gradient to the encoder, which auxiliary_decoder keeps away"
        return None
