"""Configuration of representation alignment. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..auxiliary.config import TokenizerParts, nothing_to_train
from .config import RegulariserConfig, several_grids


@dataclass(frozen=True, kw_only=True)
class AlignmentConfig(RegulariserConfig):
    """Projected latents predict features of a frozen net (representation alignment, B6).

    After VA-VAE (Yao et al. 2025, arXiv 2501.01423), section 3. `target` "handmade" needs no weights: oriented
    gradients and local energy at three scales of images, frames and spectrograms, log-mel energies of waveforms.
    "alexnet" takes the five maps of AlexNet as LPIPS weighs them. The loss of a position is max(0, 1 - `margin` -
    cosine). `structure` weighs a second loss, which compares the cosines between positions and tolerates differences up
    to `slack`. The projection is linear, or has one hidden layer of `hidden` units. With `adaptive` the loss is scaled
    so that its gradient at the features is `weight` times as long as that of the reconstruction's losses (VA-VAE, B12).
    """

    kind: ClassVar[str] = "alignment"
    version: ClassVar[int] = 2
    identity_defaults = frozenset({"adaptive"})
    over_ranks: ClassVar[bool] = True
    builds = "alignment:Alignment"

    weight: float = 0.3
    target: Literal["handmade", "alexnet"] = "handmade"
    margin: float = 0.0
    structure: float = 0.0
    slack: float = 0.25
    hidden: int = 0
    adaptive: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.margin < 1:
            raise ValueError("margin must lie in [0, 1)")
        if self.structure < 0 or self.hidden < 0 or not 0 <= self.slack < 2:
            raise ValueError("structure and hidden must not be negative, and slack must lie in [0, 2)")

    def batch_coupling(self) -> str | None:
        return "its factor is a ratio of the batch's gradients" if self.adaptive else None

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        if reason := nothing_to_train(tokenizer):
            return reason
        if reason := several_grids(tokenizer, "features are aligned with one grid of latents"):
            return reason
        if tokenizer.spec.grid.variable:
            return "latents that vary in length have no fixed place in the signal to align"
        if self.target == "alexnet" and tokenizer.signal.modality.is_audio:
            return f'target "alexnet" is for images and frames, not {tokenizer.signal.modality}'
        apart = {objective.kind for objective in tokenizer.auxiliary_objectives} & {
            "self_supervised",
            "auxiliary_decoder",
        }
        if self.adaptive and apart:
            return f"adaptive compares with the reconstruction's gradient at the encoder, which {min(apart)} keeps away"
        if self.adaptive and not tokenizer.losses:
            return "adaptive compares with the losses of the objective, and there are none"
        if self.structure and tokenizer.spec.grid.topology != "grid":
            return "structure compares positions, and only those of a grid lie where the signal's do"
        return None

    def weights(self) -> tuple[str, ...]:
        return ("alexnet_lpips",) if self.target == "alexnet" else ()
