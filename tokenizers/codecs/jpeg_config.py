"""Configuration of JPEG. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import Modality, SignalSpec
from .stream_config import StreamConfig


@dataclass(frozen=True, kw_only=True)
class JPEGConfig(StreamConfig):
    """Baseline JPEG, 4:2:0, through torchvision; a log-mel spectrogram is a grey image. `quality` 1 to 100."""

    kind: ClassVar[str] = "jpeg"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "jpeg:JPEG"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.IMAGE, Modality.SPECTROGRAM)

    quality: int = 75

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.quality <= 100:
            raise ValueError("quality must lie in 1..100")

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        if signal.channels not in (1, 3):
            return f"JPEG codes 1 or 3 channels, not {signal.channels}"
        return None
