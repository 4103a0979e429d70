"""Configuration of self-supervised features. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .config import AuxiliaryObjectiveConfig, TokenizerParts, nothing_to_train


@dataclass(frozen=True, kw_only=True)
class SelfSupervisedConfig(AuxiliaryObjectiveConfig):
    """The encoder learns from a self-supervised loss alone, then is frozen; the rest learns to decode it:
    features as tokens (A17).

    VICReg (Bardes et al. 2021, arXiv 2105.04906) at every position: two views of a sample differ in gain, offset, noise
    of deviation `noise` and hidden patches (a share `mask`), and should have similar embeddings at the same position.
    Each of the `embedding` dimensions should vary over the batch, without correlation between them. This loss trains
    the encoder in the first `share` of the steps.
    """

    kind: ClassVar[str] = "self_supervised"
    version: ClassVar[int] = 1
    batch_coupled: ClassVar[str | None] = "it contrasts the samples of a batch"
    over_ranks: ClassVar[bool] = True
    builds = "self_supervised:SelfSupervised"

    share: float = 0.5
    embedding: int = 64
    jitter: float = 0.1
    noise: float = 0.1
    mask: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise ValueError("share must lie between 0 and 1")
        if self.embedding < 2:
            raise ValueError("embedding must be at least 2")
        if not 0 <= self.jitter < 1 or self.noise < 0 or not 0 <= self.mask < 1:
            raise ValueError("jitter and mask must lie in [0, 1), and noise must not be negative")

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        if reason := nothing_to_train(tokenizer):
            return reason
        if tokenizer.backbone.has_shortcut():
            return "backbone.shortcut must be false: a PCA of patches is not a feature that self-supervision learned"
        if tokenizer.bottleneck.kind == "kl":
            return "no loss would train a KL bottleneck's variances; take identity or a quantiser"
        if tokenizer.spec.grid.variable:
            return "two views of a sample would have different numbers of positions"
        if tokenizer.diffusion_decoder is not None and self.share > tokenizer.diffusion_decoder.freeze_start():
            return "share ends after the diffusion decoder's seek_start, from which on the encoder is frozen"
        return None

    def schedule_milestones(self) -> tuple[float, ...]:
        return (self.share,)
