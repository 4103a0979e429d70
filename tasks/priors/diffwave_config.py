"""Options of the DiffWave-like diffusion. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ...tokenizers.spec import LatentSpec
from .diffusion_config import TIME_FEATURES, DiffusionPriorConfig
from .reasons import one_axis


@dataclass(frozen=True, kw_only=True)
class DiffWaveConfig(DiffusionPriorConfig):
    """Diffusion with a stack of dilated gated convolutions over latents or signals of one axis (Kong et al. 2021).

    `layers` of `width` channels whose dilations double from 1 and start over every `cycle` layers. All else is as in
    `DiffusionPriorConfig`.
    """

    kind: ClassVar[str] = "diffwave"
    version: ClassVar[int] = 1
    network: ClassVar[str | type] = "diffwave:DiffWave"
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "xs": {"width": 48, "layers": 12, "cycle": 6},
        "s": {"width": 96, "layers": 20, "cycle": 10},
        "m": {"width": 256, "layers": 30, "cycle": 10},
    }

    width: int = 64
    layers: int = 12
    cycle: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.layers, self.cycle) < 1:
            raise ValueError("width, layers and cycle must be at least 1")

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One sequence of continuous values, of fixed length."""
        return super().unsupported_reason(spec) or one_axis(spec)

    @property
    def embedding(self) -> int:
        """Four times the width."""
        return 4 * self.width

    def forward_flops(self, spec: LatentSpec) -> float:
        """Convolutions and time conditioning of one sample."""
        n, c, w = math.prod(self.patches_for(spec)), self.patch_elements(spec), self.width
        embedding = 2.0 * (TIME_FEATURES * 4 * w + 16 * w * w)
        layer = 2.0 * n * (3 * w * 2 * w + w * 2 * w) + 2.0 * 4 * w * w
        return embedding + 2.0 * n * c * w + self.layers * layer + 2.0 * n * (w * w + w * c)
