"""Options of GIVT. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ...tokenizers.spec import LatentSpec
from .options import TokenTransformerOptions


@dataclass(frozen=True, kw_only=True)
class GIVTConfig(TokenTransformerOptions):
    """Causal transformer whose outputs are mixtures of diagonal Gaussians, `mixtures` of them (Tschannen et al. 2023).

    No deviation is under `min_scale`, which bounds the density of latents that repeat. Sampling multiplies deviations
    by `temperature`. Transformer, `attention` and `patch` as in `flow`, labels as in `ClassConditional`.
    """

    kind: ClassVar[str] = "givt"
    version: ClassVar[int] = 2
    sampling_options: ClassVar[frozenset[str]] = frozenset({"temperature"})
    builds: ClassVar[str | type] = "givt:GIVTPrior"
    reports = ("nll_density_bits",)

    mixtures: int = 16
    min_scale: float = 1e-3
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixtures < 1 or self.min_scale <= 0:
            raise ValueError("mixtures must be at least 1 and min_scale positive")
        if self.temperature <= 0:
            raise ValueError("temperature must be positive")
        if self.guidance != 1:
            raise ValueError("givt can't be guided: two mixtures have no guided mixture; take flow, unet or mar")

    @property
    def sampling_settings(self) -> str:
        """The temperature."""
        return f"temperature {self.temperature:g}"

    def forward_flops(self, spec: LatentSpec) -> float:
        """Transformer and mixtures of one sample."""
        grid, d, p = self.patches_for(spec), self.width, self.patch_elements(spec)
        n = math.prod(grid)
        mixtures = 2 * n * d * self.mixtures * (1 + 2 * p)
        return float(self.clip_flops(grid, causal=True) + 2 * (n - 1) * p * d + mixtures)
