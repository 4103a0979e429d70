"""Options of the resolution cascade. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from ...tokenizers.spec import LatentSpec
from .flow_config import TIME_FEATURES, FlowConfig


@dataclass(frozen=True, kw_only=True)
class CascadeConfig(FlowConfig):
    """Cascade of two flows from low to full resolution, the second given the sample of the first.

    The low resolution is the average over `factor` positions per axis (the largest divisor of the axis up to it). The
    upsampler sees it with noise of a random level up to `augment` mixed in, and is told the level (Ho et al. 2022,
    section 4.2); sampling mixes in `augment_at`. Everything else is as for `flow`, for both networks.
    """

    kind: ClassVar[str] = "cascade"
    version: ClassVar[int] = 3
    builds: ClassVar[str | type] = "cascade:CascadePrior"
    reports = ("flow_loss", "base_flow_loss")

    factor: int = 4
    augment: float = 0.5
    augment_at: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor < 2:
            raise ValueError("factor must be at least 2")
        if not 0 <= self.augment_at <= self.augment <= 1:
            raise ValueError("augment and augment_at must lie in [0, 1], augment_at not above augment")
        if self.likelihood != "off":
            raise ValueError("a cascade has no likelihood: its low resolution is also a function of the full one")

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        return f"{super().protocol}, factor {self.factor}, augmented {self.augment_at:g}"

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One grid or sequence of continuous values, of fixed length, with an axis that can be reduced."""
        reason = super().unsupported_reason(spec)
        if reason is None and max(self.factors(spec)) == 1:
            return f"no axis of {spec.grid.shape} has a divisor from 2 to factor {self.factor}"
        return reason

    def factors(self, spec: LatentSpec) -> tuple[int, ...]:
        """By how much each axis is reduced."""
        return tuple(max(f for f in range(1, self.factor + 1) if size % f == 0) for size in spec.grid.shape)

    def low(self, spec: LatentSpec) -> LatentSpec:
        """The latents at low resolution."""
        shape = tuple(size // f for size, f in zip(spec.grid.shape, self.factors(spec), strict=True))
        return replace(spec, grids=(replace(spec.grid, shape=shape),))

    def base(self) -> FlowConfig:
        """The options of the low-resolution flow, which chooses its own patches."""
        return FlowConfig(
            width=self.width,
            layers=self.layers,
            attention_heads=self.attention_heads,
            dropout=self.dropout,
            max_tokens=self.max_tokens,
        )

    def forward_flops(self, spec: LatentSpec) -> float:
        """Both networks."""
        d, elements = self.width, self.patch_elements(spec)
        extra = 2 * math.prod(self.patches_for(spec)) * elements * d + 2 * (TIME_FEATURES * d + d * d)
        return super().forward_flops(spec) + extra + self.base().forward_flops(self.low(spec))
