"""Configuration of the wavelet loss. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import Modality
from .config import LossConfig


@dataclass(frozen=True, kw_only=True)
class DWTConfig(LossConfig):
    """Mean absolute error over the eight sub-bands of a 3D Haar transform (HaCohen et al. 2024)."""

    kind: ClassVar[str] = "dwt"
    version: ClassVar[int] = 1
    builds = "wavelet:DWT"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.VIDEO,)
