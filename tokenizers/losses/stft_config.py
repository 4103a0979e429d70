"""Configurations of the spectral losses of waveforms. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import Modality
from .config import LossConfig


@dataclass(frozen=True, kw_only=True)
class STFTConfig(LossConfig):
    """Multi-resolution STFT distance (Yamamoto et al. 2020)."""

    kind: ClassVar[str] = "stft"
    version: ClassVar[int] = 1
    builds = "stft:MultiResolutionSTFT"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.WAVEFORM,)


@dataclass(frozen=True, kw_only=True)
class MelConfig(LossConfig):
    """Log-mel distance at the signal's sample rate."""

    kind: ClassVar[str] = "mel"
    version: ClassVar[int] = 1
    builds = "stft:LogMelLoss"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.WAVEFORM,)
