"""Priors of codes beside `ar`: their options, which latents each can model, and what they cost. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...tokenizers.spec import LatentGrid, LatentSpec
from ...tokenizers.training import TrainingConfig
from .config import (
    ARConfig,
    ClassConditional,
    PriorConfig,
    check_drawing,
    check_transformer,
    depth_flops,
    needs_codes,
    one_fixed_grid,
)

if TYPE_CHECKING:
    from .interface import Prior


@dataclass(frozen=True, kw_only=True)
class PixelCNNConfig(PriorConfig):
    """Gated PixelCNN over one grid of codes (van den Oord et al. 2016), exact.

    `width` channels in `layers` gated layers; `kernel` (odd) is their reach across an axis: a position sees all that
    come before it within `layers` x (`kernel` // 2) along each axis, without a blind spot, and nothing more than one
    step further. `depth_width` and `depth_layers` as in `ar`. Sampling: `temperature`, `top_k`, `top_p` as in `ar`.
    """

    name: ClassVar[str] = "pixelcnn"
    version: ClassVar[int] = 2
    # about the parameters of a transformer's sizes on a grid of two axes
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "xs": {"width": 40, "layers": 6},
        "s": {"width": 88, "layers": 8},
        "m": {"width": 208, "layers": 12},
    }

    width: int = 64
    layers: int = 6
    kernel: int = 5
    depth_width: int | None = None
    depth_layers: int = 2
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=1e-3, betas=(0.9, 0.99)))

    def __post_init__(self) -> None:
        if min(self.width, self.layers) < 1:
            raise ValueError("width and layers must be at least 1")
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise ValueError("kernel must be odd and at least 3")
        _check_depth(self.depth_width, self.depth_layers)
        check_drawing(self.temperature, self.top_k, self.top_p)

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """One grid or sequence of codes, of fixed length."""
        return one_fixed_grid(spec) or needs_codes(spec)

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        return f"pixelcnn v{self.version}, {_drawing(self)}"

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
        depth = depth_flops(n, c, grid.codebook_sizes, self.depth_width or c, self.depth_layers)
        return float(self.layers * layer + out + depth)

    def build(self, spec: LatentSpec) -> Prior:
        """A `PixelCNNPrior`."""
        from .pixelcnn import PixelCNNPrior

        return PixelCNNPrior(self, spec)


@dataclass(frozen=True, kw_only=True)
class MaskGITConfig(ClassConditional):
    """Masked prediction with a bidirectional transformer (MaskGIT; Chang et al. 2022) over one grid of codes.

    Transformer and depth network as in `ar`; whole positions are masked, all heads together. Sampling starts from
    nothing and reveals positions in `steps` rounds, the surest first, on a cosine schedule; `choice_temperature` is
    the weight of Gumbel noise on that sureness, falling to zero over the rounds; codes are drawn with `temperature`,
    `top_k` and `top_p`. For `classes` see `ClassConditional`.
    """

    name: ClassVar[str] = "maskgit"
    version: ClassVar[int] = 3
    identity_defaults: ClassVar[frozenset[str]] = frozenset()

    width: int = 128
    layers: int = 4
    attention_heads: int = 4
    dropout: float = 0.0
    depth_width: int | None = None
    depth_layers: int = 2
    positions: Literal["learned", "rotary"] = "learned"
    steps: int = 8
    choice_temperature: float = 4.5
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(steps=2000, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_transformer(self.width, self.layers, self.attention_heads, self.dropout)
        _check_depth(self.depth_width, self.depth_layers)
        check_drawing(self.temperature, self.top_k, self.top_p)
        if self.steps < 1:
            raise ValueError("steps must be at least 1")
        if self.choice_temperature < 0:
            raise ValueError("choice_temperature must be at least 0")

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """One grid or sequence of codes, of fixed length."""
        return one_fixed_grid(spec) or needs_codes(spec)

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        rounds = f"{self.steps} steps, choice temperature {self.choice_temperature:g}"
        return f"maskgit v{self.version}, {rounds}, {_drawing(self)}{self.conditioning}"

    def forward_flops(self, spec: LatentSpec) -> float:
        """Linear layers, attention and heads of one sample."""
        grid, d = spec.grid, self.width
        n = grid.positions
        depth = depth_flops(n, d, grid.codebook_sizes, self.depth_width or d, self.depth_layers)
        return float(self.layers * (24 * n * d * d + 4 * n * n * d) + depth)

    def sampling_flops(self, spec: LatentSpec) -> float:
        """At most a forward pass per round (the heads run on masked positions alone); two with guidance."""
        return self.forward_flops(spec) * min(self.steps, spec.grid.positions) * self.evaluations

    def build(self, spec: LatentSpec) -> Prior:
        """A `MaskGITPrior`."""
        from .maskgit import MaskGITPrior

        return MaskGITPrior(self, spec)


@dataclass(frozen=True, kw_only=True)
class HierarchicalConfig(ClassConditional):
    """Grids of codes from coarse to fine (VQ-VAE-2; Razavi et al. 2019): each by an `ar`, given all coarser ones.

    `width`, `layers`, `attention_heads`, `dropout`, `depth_width`, `depth_layers`, `positions` and the sampling
    options are those of the `ar` of every grid; a bidirectional transformer of `context_layers` reads each coarser
    grid. For `classes` see `ClassConditional`.
    """

    name: ClassVar[str] = "hierarchical"
    version: ClassVar[int] = 3
    identity_defaults: ClassVar[frozenset[str]] = frozenset()

    width: int = 128
    layers: int = 4
    attention_heads: int = 4
    dropout: float = 0.0
    depth_width: int | None = None
    depth_layers: int = 2
    positions: Literal["learned", "rotary"] = "learned"
    context_layers: int = 1
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(steps=2000, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.grid_config
        if self.context_layers < 0:
            raise ValueError("context_layers must be at least 0")

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
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
        """The `ar` of one grid."""
        names = ("width", "layers", "attention_heads", "dropout", "depth_width", "depth_layers", "positions")
        options = {name: getattr(self, name) for name in (*names, "temperature", "top_k", "top_p", "training")}
        return ARConfig(**options)

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        return f"hierarchical v{self.version}, {_drawing(self)}{self.conditioning}"

    def forward_flops(self, spec: LatentSpec) -> float:
        """The transformers of all grids, and those that read the coarser ones, of one sample."""
        ours = sum(self.grid_config.forward_flops(replace(spec, grids=(grid,))) for grid in spec.grids)
        return float(ours + sum(self._reading_flops(grid) for grid in spec.grids[:-1]))

    def _reading_flops(self, grid: LatentGrid) -> float:
        n, d = grid.positions, self.width
        return float(self.context_layers * (24 * n * d * d + 4 * n * n * d) + 2 * n * d * d)

    def sampling_flops(self, spec: LatentSpec) -> float:
        """One forward pass with a cache; two with guidance."""
        return self.forward_flops(spec) * self.evaluations

    def build(self, spec: LatentSpec) -> Prior:
        """A `HierarchicalPrior`."""
        from .hierarchical import HierarchicalPrior

        return HierarchicalPrior(self, spec)


def _check_depth(width: int | None, layers: int) -> None:
    if layers < 0 or (width is not None and width < 1):
        raise ValueError("depth_layers must be at least 0 and depth_width at least 1")


def _drawing(config: PixelCNNConfig | MaskGITConfig | HierarchicalConfig) -> str:
    return f"temperature {config.temperature:g}, top_k {config.top_k}, top_p {config.top_p:g}"
