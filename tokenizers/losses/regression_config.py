"""Configurations of the elementwise losses. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .config import LossConfig


@dataclass(frozen=True, kw_only=True)
class L1Config(LossConfig):
    """Mean absolute error over a sample's elements."""

    kind: ClassVar[str] = "l1"
    version: ClassVar[int] = 1
    builds = "regression:L1"


@dataclass(frozen=True, kw_only=True)
class L2Config(LossConfig):
    """Mean squared error over a sample's elements."""

    kind: ClassVar[str] = "l2"
    version: ClassVar[int] = 1
    builds = "regression:L2"


@dataclass(frozen=True, kw_only=True)
class HuberConfig(LossConfig):
    """Squared error up to `delta`, absolute error beyond it, mean over a sample's elements (Huber 1964)."""

    kind: ClassVar[str] = "huber"
    version: ClassVar[int] = 1
    builds = "regression:Huber"

    delta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delta <= 0:
            raise ValueError("delta must be positive")
