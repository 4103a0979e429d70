"""Configuration of end-to-end training with a flow. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..auxiliary.config import TokenizerParts, nothing_to_train
from .config import RegulariserConfig, several_grids


@dataclass(frozen=True, kw_only=True)
class EndToEndConfig(RegulariserConfig):
    """A small flow of the latents trains along; its own loss stops at the latents, and only the alignment of its hidden
    states with a frozen net reaches the encoder (end to end, B14).

    After REPA-E (Leng et al. 2025, arXiv 2504.10483). The flow is a transformer of `layers` blocks of `width` on
    latents normalised by the batch's moments; the states after its first `depth` blocks, at a random time, are aligned
    with the features by their cosine. `weight` weighs that alignment. `target` is as for `alignment`. The flow is
    dropped after training.
    """

    kind: ClassVar[str] = "end_to_end"
    version: ClassVar[int] = 2
    batch_coupled: ClassVar[str | None] = "its latents are normalised by moments of the batch"
    over_ranks: ClassVar[bool] = True
    builds = "end_to_end:EndToEnd"

    weight: float = 0.05
    target: Literal["handmade", "alexnet"] = "handmade"
    width: int = 64
    layers: int = 2
    depth: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 16 or self.width % 16:
            raise ValueError("width must be a multiple of 16")
        if not 1 <= self.depth <= self.layers:
            raise ValueError("depth must lie between 1 and layers")

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        if reason := nothing_to_train(tokenizer):
            return reason
        if reason := several_grids(tokenizer, "the flow reads one grid of latents"):
            return reason
        grid = tokenizer.spec.grid
        if grid.variable:
            return "the flow has a fixed number of positions, and these latents vary in length"
        if grid.heads:
            return "the flow is of continuous latents; for codes there is prior_in_the_loop"
        if self.target == "alexnet" and tokenizer.signal.modality.is_audio:
            return f'target "alexnet" is for images and frames, not {tokenizer.signal.modality}'
        if "self_supervised" in {objective.kind for objective in tokenizer.auxiliary_objectives}:
            return "its alignment trains the encoder, which self_supervised trains alone and then freezes"
        return None

    def weights(self) -> tuple[str, ...]:
        return ("alexnet_lpips",) if self.target == "alexnet" else ()
