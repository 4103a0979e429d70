"""Configuration of additive noise. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .config import CorruptionConfig


@dataclass(frozen=True, kw_only=True)
class NoiseConfig(CorruptionConfig):
    """Adds Gaussian noise of deviation `sigma` on the signal's scale of [-1, 1] (Vincent et al. 2010)."""

    kind: ClassVar[str] = "noise"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "noise:Noise"

    sigma: float = 0.3

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise ValueError("sigma must be positive")
