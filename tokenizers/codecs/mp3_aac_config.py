"""Configurations of MP3 and AAC. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import Modality, SignalSpec
from .stream_config import StreamConfig

# MP3's sample rates, and the bit rates in kbit/s that are legal at them (MPEG-1, 2 and 2.5, layer III).
_LEGAL = {
    (32000, 44100, 48000): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (16000, 22050, 24000): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (8000, 11025, 12000): (8, 16, 24, 32, 40, 48, 56, 64),
}
# The most bits that a channel of an AAC frame may take, and that frame's samples (ISO/IEC 14496-3, 4.5.3.2).
_AAC_BITS, _AAC_FRAME = 6144, 1024


@dataclass(frozen=True, kw_only=True)
class _FramedAudioConfig(StreamConfig):
    """What the two share: FFmpeg's names, the rates that they code, and their bitrates."""

    builds: ClassVar[str | type] = "mp3_aac:FramedAudio"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.WAVEFORM,)
    encoder: ClassVar[str]
    decoder: ClassVar[str]
    rates: ClassVar[tuple[int, ...]]
    self_delimiting: ClassVar[bool] = False
    # whether the encoder makes sound quieter
    attenuates: ClassVar[bool] = False

    bitrate: int = 64000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 8000 <= self.bitrate <= 320000:
            raise ValueError("bitrate must lie in 8000..320000 bits per second")

    def aimed_bits(self, signal: SignalSpec) -> float | None:
        return None if signal.seconds is None else self.coded_bitrate(signal) * signal.seconds

    def coded_bitrate(self, signal: SignalSpec) -> float:
        """The bits per second that the encoder takes for `bitrate`."""
        raise NotImplementedError

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
    version: ClassVar[int] = 3
    encoder: ClassVar[str] = "libmp3lame"
    decoder: ClassVar[str] = "mp3float"
    rates: ClassVar[tuple[int, ...]] = tuple(sorted(rate for rates in _LEGAL for rate in rates))
    self_delimiting: ClassVar[bool] = True
    attenuates: ClassVar[bool] = True

    def coded_bitrate(self, signal: SignalSpec) -> float:
        legal = next(kilobits for rates, kilobits in _LEGAL.items() if signal.rate in rates)
        return min((1000.0 * kilobits for kilobits in legal), key=lambda rate: abs(rate - self.bitrate))


@dataclass(frozen=True, kw_only=True)
class AACConfig(_FramedAudioConfig):
    """AAC-LC (FFmpeg's own encoder through PyAV), aiming at `bitrate` bits per second as far as AAC allows."""

    kind: ClassVar[str] = "aac"
    version: ClassVar[int] = 2
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

    def coded_bitrate(self, signal: SignalSpec) -> float:
        assert signal.rate is not None
        return min(float(self.bitrate), _AAC_BITS * signal.channels * signal.rate / _AAC_FRAME)
