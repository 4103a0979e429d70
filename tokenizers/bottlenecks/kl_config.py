"""Configuration of the KL-regularised bottleneck. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .config import BottleneckConfig


@dataclass(frozen=True, kw_only=True)
class KLConfig(BottleneckConfig):
    """A diagonal Gaussian posterior, its KL to N(0, I) weighted by `beta` (KL-VAE, A3).

    `beta` weighs the KL summed over a sample against the reconstruction error summed over it. The log-variance starts
    near `initial_logvar`: a posterior that started as wide as the prior would take much of a short training to narrow.
    """

    kind: ClassVar[str] = "kl"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "kl:KL"

    beta: float = 1e-6
    initial_logvar: float = -6.0

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ValueError("beta must not be negative")

    def inputs(self, channels: int, features: int) -> int:
        return 2 * channels
