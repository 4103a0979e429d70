"""Options of the WaveNet-like prior. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ...tokenizers.spec import LatentSpec
from ...tokenizers.training import TrainingConfig
from .config import PriorConfig, check_drawing, depth_flops, needs_codes, one_fixed_grid

if TYPE_CHECKING:
    from .interface import Prior


@dataclass(frozen=True, kw_only=True)
class WaveNetConfig(PriorConfig):
    """Causal dilated gated convolutions over codes of one axis (van den Oord et al. 2016).

    `layers` of `width` channels whose dilations double from 1 and start over every `cycle` layers; it sees that sum of
    positions and no further. `depth_layers` shape the network that predicts a position's heads in turn (unused with one
    head). `temperature`, `top_k` and `top_p` as for `ar`.
    """

    name: ClassVar[str] = "wavenet"
    version: ClassVar[int] = 2
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
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=2e-3, betas=(0.9, 0.95)))

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.cycle) < 1 or self.depth_layers < 0:
            raise ValueError("width, layers and cycle must be at least 1, depth_layers at least 0")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")
        check_drawing(self.temperature, self.top_k, self.top_p)

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """One axis of codes, of fixed length."""
        reason = one_fixed_grid(spec) or needs_codes(spec)
        axes = len(spec.grid.shape)
        return reason or (None if axes == 1 else f"it models codes of one axis, and these have {axes}")

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        drawing = f"temperature {self.temperature:g}, top_k {self.top_k}, top_p {self.top_p:g}"
        return f"wavenet v{self.version}, {drawing}"

    def forward_flops(self, spec: LatentSpec) -> float:
        """Convolutions and heads of one sample."""
        n, w = spec.grid.positions, self.width
        stack = self.layers * 2 * n * (2 * w * 2 * w + w * 2 * w) + 2 * n * w * w
        return stack + depth_flops(n, w, spec.grid.codebook_sizes, w, self.depth_layers)

    def build(self, spec: LatentSpec) -> Prior:
        """A `WaveNetPrior`."""
        from .wavenet import WaveNetPrior

        return WaveNetPrior(self, spec)
