"""Configurations of the video codecs after H.264. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..spec import Modality, SignalSpec
from .stream_config import StreamConfig


@dataclass(frozen=True, kw_only=True)
class ModernVideoConfig(StreamConfig):
    """What they share: FFmpeg's names, a constant quality `crf` from 0 (best) up, and halved or whole colour."""

    builds: ClassVar[str | type] = "modern_video:ModernVideo"
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.VIDEO,)
    encoder: ClassVar[str]
    decoder: ClassVar[str]
    worst: ClassVar[int]
    smallest: ClassVar[int] = 8
    multiple: ClassVar[int] = 16

    crf: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.crf <= self.worst:
            raise ValueError(f"crf must lie in 0..{self.worst}")

    @property
    def options(self) -> dict[str, str]:
        """The encoder's options, with one thread, so that equal clips give equal bytes."""
        raise NotImplementedError

    @property
    def format(self) -> str:
        """How pixels are stored."""
        return "yuv420p"

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        if signal.channels not in (1, 3):
            return f"{self.kind} codes 1 or 3 channels, not {signal.channels}"
        if min(signal.shape[1:]) < self.smallest:
            return f"{self.kind} codes frames of at least {self.smallest} pixels a side, not {min(signal.shape[1:])}"
        return None


@dataclass(frozen=True, kw_only=True)
class H265Config(ModernVideoConfig):
    """H.265 / HEVC (x265 through PyAV), one clip one stream. `pixels` and `preset` as for `h264`.

    Frames of less than 64 pixels a side are refused: the encoder writes beyond its memory there.
    """

    kind: ClassVar[str] = "h265"
    version: ClassVar[int] = 3
    builds: ClassVar[str | type] = "modern_video:H265"
    encoder: ClassVar[str] = "libx265"
    decoder: ClassVar[str] = "hevc"
    worst: ClassVar[int] = 51
    smallest: ClassVar[int] = 64

    crf: int = 28
    pixels: Literal["yuv420p", "yuv444p"] = "yuv420p"
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow", "veryslow"] = "medium"

    @property
    def options(self) -> dict[str, str]:
        quiet = "log-level=none:info=0:pools=none:frame-threads=1"
        return {"crf": str(self.crf), "preset": self.preset, "x265-params": quiet}

    @property
    def format(self) -> str:
        return self.pixels


@dataclass(frozen=True, kw_only=True)
class VP9Config(ModernVideoConfig):
    """VP9 (libvpx through PyAV), one clip one stream. `pixels` as for `h264`; `cpu_used` 0 (best) to 8 (fastest)."""

    kind: ClassVar[str] = "vp9"
    version: ClassVar[int] = 2
    encoder: ClassVar[str] = "libvpx-vp9"
    decoder: ClassVar[str] = "vp9"
    worst: ClassVar[int] = 63

    pixels: Literal["yuv420p", "yuv444p"] = "yuv420p"
    cpu_used: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.cpu_used <= 8:
            raise ValueError("cpu_used must lie in 0..8")

    @property
    def options(self) -> dict[str, str]:
        return {"crf": str(self.crf), "b": "0", "cpu-used": str(self.cpu_used), "row-mt": "0"}

    @property
    def format(self) -> str:
        return self.pixels


@dataclass(frozen=True, kw_only=True)
class AV1Config(ModernVideoConfig):
    """AV1 (SVT-AV1 through PyAV, decoded by dav1d), one clip one stream; colour is halved per axis.

    `preset` 0 (best) to 13 (fastest). Frames of less than 64 pixels a side are refused: the encoder crashes on them.
    """

    kind: ClassVar[str] = "av1"
    version: ClassVar[int] = 3
    builds: ClassVar[str | type] = "modern_video:AV1"
    encoder: ClassVar[str] = "libsvtav1"
    decoder: ClassVar[str] = "libdav1d"
    worst: ClassVar[int] = 63
    smallest: ClassVar[int] = 64

    crf: int = 35
    preset: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.preset <= 13:
            raise ValueError("preset must lie in 0..13")

    @property
    def options(self) -> dict[str, str]:
        return {"crf": str(self.crf), "preset": str(self.preset), "svtav1-params": "lp=1"}
