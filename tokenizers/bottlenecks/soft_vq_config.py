"""Configuration of soft vector quantisation. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..cost import Cost
from ..spec import LatentSpec
from .config import BottleneckConfig


@dataclass(frozen=True, kw_only=True)
class SoftVQConfig(BottleneckConfig):
    """A mean of `codebook_size` learned codes, weighted by their nearness; continuous latents (SoftVQ, A23).

    Code k has a weight in proportion to exp(-|x - e_k|^2 / (`temperature` s^2)), s^2 the codes' mean squared distance
    from their mean. `entropy` weighs the loss that makes single assignments sure and all codes used. `kmeans` Lloyd
    iterations on features of some samples start the codebook (0: random features).
    """

    kind: ClassVar[str] = "soft_vq"
    version: ClassVar[int] = 1
    over_ranks: ClassVar[bool] = True
    builds: ClassVar[str | type] = "soft_vq:SoftVQ"

    codebook_size: int = 256
    temperature: float = 0.07
    entropy: float = 0.01
    kmeans: int = 10

    def __post_init__(self) -> None:
        if self.codebook_size < 2:
            raise ValueError("codebook_size must be at least 2")
        if self.temperature <= 0:
            raise ValueError("temperature must be positive")
        if self.entropy < 0 or self.kmeans < 0:
            raise ValueError("entropy and kmeans must not be negative")

    def batch_coupling(self) -> str | None:
        return "its entropy is that of the batch's mean" if self.entropy else None

    def default_channels(self) -> int | None:
        return 8

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        entries = self.codebook_size * spec.grid.channels
        # Distances, with the codes' norms, and the mean.
        return Cost(parameters=entries, flops=2.0 * spec.positions * (2 * entries + self.codebook_size))
