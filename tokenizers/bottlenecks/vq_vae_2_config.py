"""Configuration of two grids of codes. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from .. import cost
from ..cost import Cost
from ..geometry import Layout
from ..spec import LatentGrid, LatentSpec
from .vq_config import VQConfig


@dataclass(frozen=True, kw_only=True)
class VQVAE2Config(VQConfig):
    """Two grids of codes (VQ-VAE-2, A9): the backbone's fine one, and a coarse one of 1/`factor` the size per axis.

    An axis that `factor` does not divide keeps its size.
    """

    kind: ClassVar[str] = "vq_vae_2"
    version: ClassVar[int] = 1
    batch_coupled: ClassVar[str | None] = "its codebooks follow the counts of a batch"
    over_ranks: ClassVar[bool] = True
    builds: ClassVar[str | type] = "vq_vae_2:VQVAE2"

    factor: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor < 2:
            raise ValueError("factor must be at least 2")
        if self.normalise:
            raise ValueError("normalise is not for vq_vae_2: a residual does not lie on the unit sphere")

    def factors(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """By how much the coarse grid is smaller than the fine one's `shape`, per axis."""
        return tuple(1 if size % self.factor else self.factor for size in shape)

    def grids(self, layout: Layout, channels: int) -> tuple[LatentGrid, ...]:
        (fine,) = super().grids(layout, channels)
        coarse = tuple(size // by for size, by in zip(fine.shape, self.factors(fine.shape), strict=True))
        return replace(fine, shape=coarse), fine

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        coarse, fine = spec.grids
        total = Cost()
        for grid in spec.grids:
            total += super().cost(replace(spec, grids=(grid,)), features)
        resample = cost.conv(coarse.channels, coarse.channels, self.factors(fine.shape), coarse.shape)
        # Down and up, and up once more in encoding, for what the coarse grid leaves over.
        return total + resample + resample + Cost(flops=resample.flops)
