"""Configuration of masked modelling. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..auxiliary.config import TokenizerParts, nothing_to_train
from .config import RegulariserConfig, several_grids


@dataclass(frozen=True, kw_only=True)
class MaskedModellingConfig(RegulariserConfig):
    """The encoder reads a signal with hidden patches, and a shallow decoder predicts a frozen net's features there
    (masked modelling, A22).

    After MAETok (Chen et al. 2025, arXiv 2502.03444). In every sample a share uniform in [`least`, `most`] of the
    patches, each what one position of a grid covers, is hidden; the losses of the objective compare with the whole
    signal. After the share `until` of the training nothing is hidden any more, so that the decoder learns whole
    latents. The shallow decoder, of one attention layer of `width`, is dropped after training; `target` is as for
    `alignment`.
    """

    kind: ClassVar[str] = "masked_modelling"
    version: ClassVar[int] = 2
    builds = "masked_modelling:MaskedModelling"

    weight: float = 0.1
    target: Literal["handmade", "alexnet"] = "handmade"
    least: float = 0.4
    most: float = 0.6
    until: float = 0.7
    width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.least <= self.most < 1:
            raise ValueError("least and most must lie in (0, 1), least at most as large as most")
        if not 0 < self.until <= 1:
            raise ValueError("until must lie in (0, 1]")
        if self.width < 16 or self.width % 16:
            raise ValueError("width must be a multiple of 16")

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        if reason := nothing_to_train(tokenizer):
            return reason
        if reason := several_grids(tokenizer, "the shallow decoder reads one grid of latents"):
            return reason
        if tokenizer.spec.grid.variable:
            return "the shallow decoder has a fixed number of positions, and these latents vary in length"
        if any(size % patch for size, patch in zip(tokenizer.signal.shape, tokenizer.downsample, strict=True)):
            return "its patches tile the signal, and these clips have a first frame by itself"
        if self.target == "alexnet" and tokenizer.signal.modality.is_audio:
            return f'target "alexnet" is for images and frames, not {tokenizer.signal.modality}'
        if "self_supervised" in {objective.kind for objective in tokenizer.auxiliary_objectives}:
            return "it trains the encoder, which self_supervised trains alone and then freezes"
        return None

    def schedule_milestones(self) -> tuple[float, ...]:
        return (self.until,)

    def weights(self) -> tuple[str, ...]:
        return ("alexnet_lpips",) if self.target == "alexnet" else ()
