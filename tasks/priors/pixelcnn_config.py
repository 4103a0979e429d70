"""Options of the gated PixelCNN. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...tokenizers.spec import LatentSpec
from ...tokenizers.training import TrainingConfig
from .options import DepthOptions, SamplingOptions
from .reasons import needs_codes, one_fixed_grid


@dataclass(frozen=True, kw_only=True)
class PixelCNNConfig(DepthOptions, SamplingOptions):
    """Gated PixelCNN over one grid of codes (van den Oord et al. 2016), exact.

    `width` channels in `layers` gated layers; `kernel` (odd) is their reach across an axis: a position sees all that
    come before it within `layers` x (`kernel` // 2) along each axis, without a blind spot, and nothing more than one
    step further. `depth_width`, `depth_layers`, `temperature`, `top_k` and `top_p` as in `ar`.
    """

    kind: ClassVar[str] = "pixelcnn"
    version: ClassVar[int] = 2
    builds: ClassVar[str | type] = "pixelcnn:PixelCNNPrior"
    reports = ("nll_bits", "nll_bits_per_element")
    # about the parameters of a transformer's sizes on a grid of two axes
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "xs": {"width": 40, "layers": 6},
        "s": {"width": 88, "layers": 8},
        "m": {"width": 208, "layers": 12},
    }

    width: int = 64
    layers: int = 6
    kernel: int = 5
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=1e-3, betas=(0.9, 0.99)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.layers) < 1:
            raise ValueError("width and layers must be at least 1")
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise ValueError("kernel must be odd and at least 3")

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One grid or sequence of codes, of fixed length."""
        return one_fixed_grid(spec) or needs_codes(spec)

    def taps(self, rank: int) -> tuple[int, ...]:
        """Weights per channel pair of each stack's convolution: half a kernel along its axis, all of it along later
        ones."""
        return tuple((self.kernel // 2 + 1) * self.kernel ** (rank - 1 - axis) for axis in range(rank))

    def forward_flops(self, spec: LatentSpec) -> float:
        """Convolutions, links between stacks, residuals and heads of one sample. Cached sampling costs the same."""
        grid, c = spec.grid, self.width
        n, rank = grid.positions, len(grid.shape)
        links = rank * (rank - 1) // 2
        layer = 4 * n * c * c * (sum(self.taps(rank)) + links) + 2 * n * c * c * rank
        out = 2 * n * c * c * (rank + 1)
        return float(self.layers * layer + out + self.depth_flops(n, c, grid.codebook_sizes))
