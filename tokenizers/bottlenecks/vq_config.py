"""Configurations of vector quantisation, with one codebook and with several. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..cost import Cost
from ..spec import LatentSpec
from .config import BottleneckConfig, check_heads, indivisible


@dataclass(frozen=True, kw_only=True)
class VQConfig(BottleneckConfig):
    """The nearest of `codebook_size` learned codes (VQ-VAE, A5).

    `rule` is how codes follow the features: "loss" by the codebook loss, "ema" by moving averages with `decay`.
    `commitment` weighs the loss that keeps features near their codes. `normalise` puts features and codes on the unit
    sphere (nearest by cosine). `kmeans` Lloyd iterations on features of some samples start the codebook (0: random
    features). A code that none of the last `reset_after` x codebook_size features chose is replaced
    by a feature of the batch (0: never), until the last fifth of the training.
    """

    kind: ClassVar[str] = "vq"
    version: ClassVar[int] = 1
    batch_coupled: ClassVar[str | None] = "its codebook follows the counts of a batch"
    over_ranks: ClassVar[bool] = True
    builds: ClassVar[str | type] = "vq:VQ"

    codebook_size: int = 256
    rule: Literal["loss", "ema"] = "loss"
    commitment: float = 0.25
    decay: float = 0.95
    normalise: bool = False
    kmeans: int = 10
    reset_after: float = 20.0

    def __post_init__(self) -> None:
        if self.codebook_size < 2:
            raise ValueError("codebook_size must be at least 2")
        if not 0 <= self.decay < 1:
            raise ValueError("decay must lie in [0, 1)")
        if self.commitment < 0 or self.kmeans < 0 or self.reset_after < 0:
            raise ValueError("commitment, kmeans and reset_after must not be negative")

    @property
    def codebooks(self) -> int:
        """How many codebooks there are, each on its share of the channels."""
        return 1

    def default_channels(self) -> int | None:
        return 8 * self.codebooks

    def codebook_sizes(self, channels: int) -> tuple[int, ...]:
        return (self.codebook_size,) * self.codebooks

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        entries = self.codebook_size * spec.grid.channels
        # The search reads one entry more per code, its norm.
        searched = entries + self.codebook_size * self.codebooks
        return Cost(parameters=entries, flops=2.0 * spec.positions * searched)


@dataclass(frozen=True, kw_only=True)
class MultiHeadVQConfig(VQConfig):
    """Product quantisation: `heads` codebooks, each on its own share of the channels (multi-head VQ, A6)."""

    kind: ClassVar[str] = "multi_head_vq"
    version: ClassVar[int] = 1
    tsr_option: ClassVar[str | None] = "heads"

    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.heads)

    @property
    def codebooks(self) -> int:
        return self.heads

    def unsupported_reason(self, *, channels: int, features: int, backbone: str) -> str | None:
        return indivisible(channels, self.heads)
