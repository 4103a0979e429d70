"""Options of MAR. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from ...tokenizers.spec import LatentSpec
from .flow_config import TIME_FEATURES
from .options import TokenTransformerOptions


@dataclass(frozen=True, kw_only=True)
class MARConfig(TokenTransformerOptions):
    """Transformer that a small flow reads to draw each token (MAR, Li et al. 2024).

    `order` "random" predicts masked tokens with full attention, in `iterations` rounds of a random order per sample;
    "raster" one after the other with causal attention. The head is an MLP of `head_layers` residual blocks of
    `head_width` (None: the transformer's); training shows it each token at `repeats` times; sampling takes
    `head_steps` Euler steps per token. Transformer, `attention` and `patch` as in `flow`, labels as in
    `ClassConditional`.
    """

    kind: ClassVar[str] = "mar"
    version: ClassVar[int] = 3
    sampling_options: ClassVar[frozenset[str]] = frozenset({"iterations", "head_steps"})
    builds: ClassVar[str | type] = "mar:MARPrior"
    reports = ("flow_loss",)

    order: Literal["random", "raster"] = "random"
    iterations: int = 16
    head_width: int | None = None
    head_layers: int = 3
    head_steps: int = 25
    repeats: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.iterations, self.head_layers, self.head_steps, self.repeats, self.head_width or 1) < 1:
            raise ValueError("iterations, head_width, head_layers, head_steps and repeats must be at least 1")

    @property
    def sampling_settings(self) -> str:
        """The order, its rounds, and the head's integrator."""
        rounds = f" {self.iterations} iterations" if self.order == "random" else ""
        return f"{self.order}{rounds}, euler {self.head_steps} steps"

    def forward_flops(self, spec: LatentSpec) -> float:
        """One pass of the transformer, and of the head `repeats` times per token."""
        n = math.prod(self.patches_for(spec))
        return self._trunk(spec) + self.repeats * n * self._head(spec)

    def sampling_flops(self, spec: LatentSpec) -> float:
        """All passes: of the transformer one per iteration (one in all with a cache), of the head one per step."""
        passes = 1 if self.order == "raster" else self.iterations
        head = math.prod(self.patches_for(spec)) * self.head_steps * self._head(spec)
        return self.evaluations * (passes * self._trunk(spec) + head)

    def _trunk(self, spec: LatentSpec) -> float:
        grid, d, p = self.patches_for(spec), self.width, self.patch_elements(spec)
        n = math.prod(grid)
        if self.order == "raster":
            return float(self.clip_flops(grid, causal=True) + 2 * (n - 1) * p * d)
        if self.attention == "factorised":
            return float(self.clip_flops(grid, causal=False) + 2 * n * p * d)
        return float(self.trunk_flops(n + 1, causal=False) + 2 * n * p * d)

    def _head(self, spec: LatentSpec) -> float:
        w, p = self.head_width or self.width, self.patch_elements(spec)
        inputs = 2 * (p * w + self.width * w + TIME_FEATURES * w + w * w)
        return float(inputs + self.head_layers * (16 * w * w + 6 * w * w) + 4 * w * w + 2 * w * p)
