"""Configuration of Opus. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import Modality, SignalSpec
from .stream_config import StreamConfig


@dataclass(frozen=True, kw_only=True)
class OpusConfig(StreamConfig):
    """Opus (libopus through PyAV), in packets of 20 ms. `bitrate` in bits per second, aimed at on average."""

    kind: ClassVar[str] = "opus"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "opus:Opus"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.WAVEFORM,)

    bitrate: int = 24000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 6000 <= self.bitrate <= 256000:
            raise ValueError("bitrate must lie in 6000..256000 bits per second")

    def aimed_bits(self, signal: SignalSpec) -> float | None:
        return None if signal.seconds is None else self.bitrate * signal.seconds

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        if signal.channels not in (1, 2):
            return f"Opus codes 1 or 2 channels, not {signal.channels}"
        if signal.rate is None or signal.rate != int(signal.rate):
            return f"Opus needs a whole sample rate, got {signal.rate}"
        return None
