"""Configuration of the multi-scale mel loss of neural codecs. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import Modality
from .config import LossConfig


@dataclass(frozen=True, kw_only=True)
class MelScalesConfig(LossConfig):
    """Log-mel distance at several resolutions (DAC, Kumar et al. 2023, section 3.4): the mean of their L1 distances.

    `windows` are in samples, and `mels` the number of mel bins of each; both are halved until the window fits the
    signal. Hops are a quarter of it. DAC weighs the sum over its seven resolutions by 15: `weight` 105 of our mean.
    """

    kind: ClassVar[str] = "mel_scales"
    version: ClassVar[int] = 2
    builds = "mel_scales:MelScales"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.WAVEFORM,)

    windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048)
    mels: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 320)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.windows or min(self.windows) < 16:
            raise ValueError("windows must be one or more sizes of at least 16 samples")
        if len(self.mels) != len(self.windows) or min(self.mels) < 1:
            raise ValueError(f"mels must be {len(self.windows)} whole numbers >= 1, one for each of windows")
        for window, bins in zip(self.windows, self.mels, strict=True):
            if bins > window // 2:
                raise ValueError(f"mels: a window of {window} can't tell {bins} mel bins apart; at most {window // 2}")
