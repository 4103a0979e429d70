"""Configuration of the LPIPS loss. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import Modality
from .config import LossConfig


@dataclass(frozen=True, kw_only=True)
class LPIPSConfig(LossConfig):
    """Learned perceptual distance on AlexNet features (Zhang et al. 2018), the mean over frames for video."""

    kind: ClassVar[str] = "lpips"
    version: ClassVar[int] = 1
    builds = "lpips:Perceptual"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.IMAGE, Modality.VIDEO)

    def weights(self) -> tuple[str, ...]:
        return ("alexnet_lpips",)
