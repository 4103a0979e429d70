"""Configuration of the standardising bottleneck. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..cost import Cost
from ..spec import LatentSpec
from .config import BottleneckConfig

_FIXED = ("frozen", "patch")


@dataclass(frozen=True, kw_only=True)
class StandardiseConfig(BottleneckConfig):
    """Fixed features of mean 0 and variance 1 over the training split, or principal components of them (RAE, A25).

    After Zheng et al. 2025 (arXiv 2510.11690), whose latents are all of a frozen net's normalised features.
    """

    kind: ClassVar[str] = "standardise"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "standardise:Standardise"
    projects: ClassVar[bool] = True

    @property
    def trained(self) -> bool:
        return False

    def unsupported_reason(self, *, channels: int, features: int, backbone: str) -> str | None:
        if backbone not in _FIXED:
            return f'"standardise" is for an encoder that is not trained: backbone {" or ".join(map(repr, _FIXED))}'
        if channels > features:
            return f"at most the backbone's {features} features can be kept, not {channels}"
        return None

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        return Cost(flops=2 * 2.0 * features * spec.grid.channels * spec.positions)  # there and back
