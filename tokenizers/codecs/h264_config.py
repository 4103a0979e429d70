"""Configuration of H.264. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..spec import Modality, SignalSpec
from .stream_config import StreamConfig


@dataclass(frozen=True, kw_only=True)
class H264Config(StreamConfig):
    """H.264 (x264 through PyAV), one clip one stream.

    `crf` 0 (best) to 51 sets the quality. With `pixels` "yuv420p" the colour is halved per axis, which alone caps the
    PSNR of a lossless stream near 39 dB; "yuv444p" keeps it. `preset` is x264's.
    """

    kind: ClassVar[str] = "h264"
    version: ClassVar[int] = 2
    builds: ClassVar[str | type] = "h264:H264"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.VIDEO,)

    crf: int = 23
    pixels: Literal["yuv420p", "yuv444p"] = "yuv420p"
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow", "veryslow"] = "medium"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.crf <= 51:
            raise ValueError("crf must lie in 0..51")

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        if signal.channels not in (1, 3):
            return f"H.264 codes 1 or 3 channels, not {signal.channels}"
        return None
