"""Configuration of residual vector quantisation. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..cost import Cost
from ..spec import LatentSpec
from .vq_config import VQConfig


@dataclass(frozen=True, kw_only=True)
class RVQConfig(VQConfig):
    """Residual VQ (RVQ, A7): `levels` codebooks, each for the residual of those before; every prefix of codes decodes.

    In training a batch uses, with probability `dropout`, a random number of the stages (quantiser dropout).
    """

    kind: ClassVar[str] = "rvq"
    version: ClassVar[int] = 2
    batch_coupled: ClassVar[str | None] = "its codebooks follow the counts of a batch"
    over_ranks: ClassVar[bool] = True
    builds: ClassVar[str | type] = "rvq:RVQ"
    points: ClassVar[tuple[str, ...]] = ("depth_<n>",)
    tsr_option: ClassVar[str | None] = "levels"

    levels: int = 4
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels < 1:
            raise ValueError("levels must be at least 1")
        if not 0 <= self.dropout <= 1:
            raise ValueError("dropout must lie in [0, 1]")
        if self.normalise:
            raise ValueError("normalise is not for rvq: a residual does not lie on the unit sphere")

    def codebook_sizes(self, channels: int) -> tuple[int, ...]:
        return (self.codebook_size,) * self.levels

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        stage = super().cost(spec, features)
        return Cost(parameters=self.levels * stage.parameters, flops=self.levels * stage.flops)
