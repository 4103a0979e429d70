"""Configuration of the linear bottleneck. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from .. import cost
from ..cost import Cost
from ..spec import LatentSpec
from .config import BottleneckConfig


@dataclass(frozen=True, kw_only=True)
class LinearConfig(BottleneckConfig):
    """Two affine maps between features and latents (PCA, A2); `solve` says whether PCA gives them or training."""

    kind: ClassVar[str] = "linear"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "linear:Linear"
    projects: ClassVar[bool] = True

    solve: Literal["closed-form", "trained"] = "trained"

    @property
    def trained(self) -> bool:
        return self.solve == "trained"

    def unsupported_reason(self, *, channels: int, features: int, backbone: str) -> str | None:
        if channels > features:
            return f"a linear bottleneck keeps at most the backbone's {features} features, not {channels}"
        if self.solve == "closed-form" and backbone != "patch":
            return f'solve = "closed-form" needs backbone "patch": PCA of {backbone!r} is no autoencoder'
        return None

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        down = cost.pointwise(features, spec.grid.channels, spec.grid.shape)
        return down + cost.pointwise(spec.grid.channels, features, spec.grid.shape)
