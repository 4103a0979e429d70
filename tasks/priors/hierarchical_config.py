"""Options of the prior of hierarchies. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

from ...tokenizers.spec import LatentGrid, LatentSpec
from .ar_config import ARConfig
from .options import CodeTransformerOptions
from .reasons import needs_codes, one_fixed_grid


@dataclass(frozen=True, kw_only=True)
class HierarchicalConfig(CodeTransformerOptions):
    """Grids of codes from coarse to fine (VQ-VAE-2; Razavi et al. 2019): each by an `ar`, given all coarser ones.

    `width`, `layers`, `attention_heads`, `dropout`, `depth_width`, `depth_layers`, `positions` and the sampling
    options are those of the `ar` of every grid; a bidirectional transformer of `context_layers` reads each coarser
    grid. Labels as in `ClassConditional`.
    """

    kind: ClassVar[str] = "hierarchical"
    version: ClassVar[int] = 3
    identity_defaults: ClassVar[frozenset[str]] = frozenset()
    builds: ClassVar[str | type] = "hierarchical:HierarchicalPrior"
    reports = ("nll_bits", "nll_bits_per_element")

    positions: Literal["learned", "rotary"] = "learned"
    context_layers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context_layers < 0:
            raise ValueError("context_layers must be at least 0")

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """Two or more grids of codes with the same number of axes."""
        if len(spec.grids) < 2:
            return "it models hierarchies, and these latents are one grid"
        for grid in spec.grids:
            reason = one_fixed_grid(replace(spec, grids=(grid,)))
            if reason is not None:
                return reason
        if len({len(grid.shape) for grid in spec.grids}) > 1:
            return "the grids of its hierarchy have equally many axes, and these do not"
        return needs_codes(spec)

    @property
    def grid_config(self) -> ARConfig:
        """The `ar` of one grid, which has no labels of its own and no option that came later."""
        shared = {option.name for option in fields(ARConfig)} - ARConfig.identity_defaults
        return ARConfig(**{name: getattr(self, name) for name in shared})

    def forward_flops(self, spec: LatentSpec) -> float:
        """The transformers of all grids, and those that read the coarser ones, of one sample."""
        ours = sum(self.grid_config.forward_flops(replace(spec, grids=(grid,))) for grid in spec.grids)
        return float(ours + sum(self._reading_flops(grid) for grid in spec.grids[:-1]))

    def _reading_flops(self, grid: LatentGrid) -> float:
        n, d = grid.positions, self.width
        return float(self.trunk_flops(n, causal=False, layers=self.context_layers) + 2 * n * d * d)
