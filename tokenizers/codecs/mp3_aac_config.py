"""Configurations of MP3 and AAC. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import Modality, SignalSpec
from .stream_config import StreamConfig

_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True, kw_only=True)
class _FramedAudioConfig(StreamConfig):
    """What the two share: FFmpeg's names, the rates that they code, and their bitrates."""

    builds: ClassVar[str | type] = "mp3_aac:FramedAudio"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.WAVEFORM,)
    encoder: ClassVar[str]
    decoder: ClassVar[str]
    rates: ClassVar[tuple[int, ...]]

    bitrate: int = 64000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 8000 <= self.bitrate <= 320000:
            raise ValueError("bitrate must lie in 8000..320000 bits per second")

    def aimed_bits(self, signal: SignalSpec) -> float | None:
        return None if signal.seconds is None else self.bitrate * signal.seconds

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        if signal.channels not in (1, 2):
            return f"{self.kind} codes 1 or 2 channels here, not {signal.channels}"
        if signal.rate not in self.rates:
            return f"{self.kind} codes sample rates of {', '.join(map(str, self.rates))} Hz, not {signal.rate}"
        return None


@dataclass(frozen=True, kw_only=True)
class MP3Config(_FramedAudioConfig):
    """MP3 (LAME through PyAV) at a constant `bitrate`, of which the nearest legal one is taken."""

    kind: ClassVar[str] = "mp3"
    version: ClassVar[int] = 1
    encoder: ClassVar[str] = "libmp3lame"
    decoder: ClassVar[str] = "mp3float"
    rates: ClassVar[tuple[int, ...]] = _RATES


@dataclass(frozen=True, kw_only=True)
class AACConfig(_FramedAudioConfig):
    """AAC-LC (FFmpeg's own encoder through PyAV), aiming at `bitrate` bits per second on average."""

    kind: ClassVar[str] = "aac"
    version: ClassVar[int] = 1
    encoder: ClassVar[str] = "aac"
    decoder: ClassVar[str] = "aac"
    rates: ClassVar[tuple[int, ...]] = (
        8000,
        11025,
        12000,
        16000,
        22050,
        24000,
        32000,
        44100,
        48000,
        64000,
        88200,
        96000,
    )
