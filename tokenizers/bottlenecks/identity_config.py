"""Configuration of the identity bottleneck. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .config import BottleneckConfig


@dataclass(frozen=True, kw_only=True)
class IdentityConfig(BottleneckConfig):
    """The plain autoencoder's bottleneck: fewer elements, nothing else (AE, A1)."""

    kind: ClassVar[str] = "identity"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "identity:Identity"
