"""Options of the WaveNet-like prior. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...tokenizers.spec import LatentSpec
from ...tokenizers.training import TrainingConfig
from .options import SamplingOptions, depth_flops
from .reasons import needs_codes, one_axis, one_fixed_grid


@dataclass(frozen=True, kw_only=True)
class WaveNetConfig(SamplingOptions):
    """Causal dilated gated convolutions over codes of one axis (van den Oord et al. 2016).

    `layers` of `width` channels whose dilations double from 1 and start over every `cycle` layers; it sees that sum of
    positions and no further. `depth_layers` shape the network that predicts a position's heads in turn (unused with one
    head). `temperature`, `top_k` and `top_p` as for `ar`.
    """

    kind: ClassVar[str] = "wavenet"
    version: ClassVar[int] = 2
    builds: ClassVar[str | type] = "wavenet:WaveNetPrior"
    reports = ("nll_bits", "nll_bits_per_element")
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "xs": {"width": 64, "layers": 14, "cycle": 7},
        "s": {"width": 144, "layers": 20, "cycle": 10},
        "m": {"width": 336, "layers": 30, "cycle": 10},
    }

    width: int = 96
    layers: int = 14
    cycle: int = 7
    dropout: float = 0.0
    depth_layers: int = 2
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=2e-3, betas=(0.9, 0.95)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.layers, self.cycle) < 1 or self.depth_layers < 0:
            raise ValueError("width, layers and cycle must be at least 1, depth_layers at least 0")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One axis of codes, of fixed length."""
        return one_fixed_grid(spec) or needs_codes(spec) or one_axis(spec)

    def forward_flops(self, spec: LatentSpec) -> float:
        """Convolutions and heads of one sample."""
        n, w = spec.grid.positions, self.width
        stack = self.layers * 2 * n * (2 * w * 2 * w + w * 2 * w) + 2 * n * w * w
        return stack + depth_flops(n, w, spec.grid.codebook_sizes, w, self.depth_layers)
