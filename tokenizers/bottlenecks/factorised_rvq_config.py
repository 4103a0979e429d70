"""Configuration of residual vector quantisation with factorised codes. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .. import cost
from ..cost import Cost
from ..spec import LatentSpec
from .rvq_config import RVQConfig


@dataclass(frozen=True, kw_only=True)
class FactorisedRVQConfig(RVQConfig):
    """Residual VQ in few dimensions, nearest by cosine (factorised, l2-normalised codes: DAC, Kumar et al. 2023).

    Each stage projects its residual to `code_channels`, finds the code with the largest cosine there, and projects it
    back (section 3.2; Yu et al. 2022): lookup in few dimensions, values in many. The other options are those of `rvq`.
    """

    kind: ClassVar[str] = "factorised_rvq"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "factorised_rvq:FactorisedRVQ"

    code_channels: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.code_channels < 1:
            raise ValueError("code_channels must be at least 1")

    def default_channels(self) -> int | None:
        return 32

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        channels, entries = spec.grid.channels, self.codebook_size * self.code_channels
        # The search reads one entry more per code, its norm.
        search = Cost(parameters=entries, flops=2.0 * spec.positions * (entries + self.codebook_size))
        down = cost.pointwise(channels, self.code_channels, spec.grid.shape)
        stage = search + down + cost.pointwise(self.code_channels, channels, spec.grid.shape)
        return Cost(parameters=self.levels * stage.parameters, flops=self.levels * stage.flops)
