"""Configuration of the logit-Laplace likelihood. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .config import LossConfig


@dataclass(frozen=True, kw_only=True)
class LogitLaplaceConfig(LossConfig):
    """Negative log-likelihood of a logit-Laplace of constant `scale` around the reconstruction (Ramesh et al. 2021)."""

    kind: ClassVar[str] = "logit_laplace"
    version: ClassVar[int] = 1
    builds = "logit_laplace:LogitLaplace"

    scale: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale <= 0:
            raise ValueError("scale must be positive")
