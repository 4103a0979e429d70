"""Residual VQ with factorised, l2-normalised codes: DAC (Kumar et al. 2023, arXiv 2306.06546, section 3.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from ..backbones.conv import pointwise
from ..spec import LatentSpec
from .base import BottleneckOutput
from .factorised_rvq_config import FactorisedRVQConfig
from .quantise import nearest
from .rvq import RVQ
from .vq import VQ


class FactorisedVQ(VQ):
    """One stage: `[B, C, *grid]` to D dimensions by a 1x1 projection, the code with the largest cosine, and back.

    The losses are those of `VQ` in the D dimensions, on features and codes that are not normalised.
    """

    def __init__(self, config: FactorisedRVQConfig, spec: LatentSpec, *, features: int) -> None:
        grid = replace(spec.grid, channels=config.code_channels)
        super().__init__(config, replace(spec, grids=(grid,)), features=features)
        rank = len(grid.shape)
        self.down = pointwise(spec.grid.channels, config.code_channels, rank)
        self.up = pointwise(config.code_channels, spec.grid.channels, rank)

    def _rows(self, features: Tensor) -> Tensor:
        return super()._rows(self.down(features))

    def _nearest(self, rows: Tensor) -> Tensor:
        return nearest(F.normalize(rows, dim=-1), F.normalize(self.codebook, dim=-1))

    def _features(self, rows: Tensor, like: Tensor) -> Tensor:
        values: Tensor = self.up(super()._features(rows, like))
        return values

    def lookup(self, codes: Tensor) -> Tensor:
        """`[B, 1, *grid]` codes to values `[B, C, *grid]`."""
        values: Tensor = self.up(super().lookup(codes))
        return values


class FactorisedRVQ(RVQ):
    """Stages of `FactorisedVQ`; the gradient passes through the projections of each, straight through its codes."""

    stage: ClassVar[type[VQ]] = FactorisedVQ

    def forward(self, features: Tensor) -> BottleneckOutput:
        values, losses = features.new_zeros(()), dict[str, Tensor]()
        for stage in self._quantisers()[: self._depth()]:
            quantised = stage(features - values)
            values = values + quantised.values
            for name, loss in quantised.losses.items():
                losses[name] = losses[name] + loss if name in losses else loss
        return BottleneckOutput(values=values, losses=losses)
