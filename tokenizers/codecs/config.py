"""Configurations of the codecs: tokenizers made by hand, with nothing to train (A19, A20). No torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ..cost import Cost
from ..part import Part
from ..registry import Registry
from ..spec import LatentGrid, Modality, SignalSpec

if TYPE_CHECKING:
    from .base import Codec

CODECS = Registry(
    "codec",
    "latentbench.codecs",
    {
        "identity": "tokenizers.codecs.config:IdentityConfig",
        "dct": "tokenizers.codecs.config:DCTConfig",
        "jpeg": "tokenizers.codecs.config:JPEGConfig",
        "h264": "tokenizers.codecs.config:H264Config",
        "opus": "tokenizers.codecs.config:OpusConfig",
    },
)


class CodecConfig(Part):
    """A whole tokenizer without parameters, in place of backbone, bottleneck and objective."""

    modalities: ClassVar[tuple[Modality, ...]] = tuple(Modality)

    def validate(self, signal: SignalSpec) -> None:
        """Raises ValueError with the reason when such signals can't be coded."""

    def downsample(self, signal: SignalSpec) -> tuple[int, ...]:
        """Signal positions per latent position, for tables; ones where latents are no grid."""
        return (1,) * len(signal.shape)

    def grids(self, signal: SignalSpec) -> tuple[LatentGrid, ...]:
        """The latents' grids, known before any data is seen."""
        raise NotImplementedError

    def build(self, signal: SignalSpec) -> Codec:
        """The codec for such signals."""
        raise NotImplementedError

    def cost(self, signal: SignalSpec) -> Cost:
        """Forward FLOPs per sample, as far as they are matrix products."""
        return Cost()


@dataclass(frozen=True, kw_only=True)
class IdentityConfig(CodecConfig):
    """The signal itself as latents (A20): TSR 1, the single-stage baseline."""

    kind: ClassVar[str] = "identity"
    version: ClassVar[int] = 1

    def grids(self, signal: SignalSpec) -> tuple[LatentGrid, ...]:
        return (LatentGrid(shape=signal.shape, channels=signal.channels),)

    def build(self, signal: SignalSpec) -> Codec:
        from .identity import Identity

        return Identity()


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """One quantised DCT coefficient of a block: its frequency per axis, its step, and codes 0 to 2 `reach`."""

    frequency: tuple[int, ...]
    step: float
    reach: int


@dataclass(frozen=True, kw_only=True)
class DCTConfig(CodecConfig):
    """Blockwise orthonormal DCT with quantisation, of any rank: the core of JPEG without its entropy coder (A19).

    `block` samples per axis (default: 8x8 for images and spectrograms, 4x8x8 for clips, 64 for waveforms). `step` is
    the quantisation step of the mean, for signals in [-1, 1]; it grows linearly with the frequency to (1 + `slope`) x
    `step` at the highest of all axes (0.125 and 5 are about JPEG at quality 50). `keep` codes only the lowest
    frequencies of a block (default: all). Coefficients too small ever to leave 0 have no code. Codes are bounded
    without clipping: |coefficient| <= the L1 norm of its basis function.
    """

    kind: ClassVar[str] = "dct"
    version: ClassVar[int] = 1

    block: tuple[int, ...] | None = None
    step: float = 0.125
    slope: float = 5.0
    keep: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None and (not self.block or min(self.block) < 1):
            raise ValueError("block must be one or more whole numbers >= 1")
        if self.step <= 0 or self.slope < 0:
            raise ValueError("step must be positive and slope not negative")
        if self.keep is not None and self.keep < 1:
            raise ValueError("keep must be at least 1")

    def validate(self, signal: SignalSpec) -> None:
        if self.block is not None and len(self.block) != len(signal.shape):
            axes = ", ".join(signal.modality.axes)
            raise ValueError(f"block {[*self.block]} must have one entry per axis of {signal.modality} ({axes})")
        sizes = [2 * c.reach + 1 for c in self.coefficients(signal)]
        if not sizes:
            raise ValueError(f"step {self.step:g} rounds every coefficient to 0")
        if max(sizes) > 2**31:
            raise ValueError(f"step {self.step:g} gives more codes than an index holds")

    def downsample(self, signal: SignalSpec) -> tuple[int, ...]:
        default = {1: (64,), 2: (8, 8), 3: (4, 8, 8)}[len(signal.shape)]
        return self.block if self.block is not None else default

    def coefficients(self, signal: SignalSpec) -> tuple[Coefficient, ...]:
        """What is coded of a block of one channel, lowest frequency first."""
        block = self.downsample(signal)
        norms = [[sum(abs(v) for v in row) for row in dct_rows(size)] for size in block]
        highest = sum(size - 1 for size in block) or 1
        order = sorted(itertools.product(*map(range, block)), key=lambda f: (sum(f), f))
        found = []
        for frequency in order[: self.keep]:
            step = self.step * (1 + self.slope * sum(frequency) / highest)
            reach = math.floor(math.prod(n[k] for n, k in zip(norms, frequency, strict=True)) / step + 0.5)
            if reach:
                found.append(Coefficient(frequency=frequency, step=step, reach=reach))
        return tuple(found)

    def grids(self, signal: SignalSpec) -> tuple[LatentGrid, ...]:
        sizes = tuple(2 * c.reach + 1 for c in self.coefficients(signal)) * signal.channels
        return (LatentGrid(shape=self.blocks(signal), channels=len(sizes), codebook_sizes=sizes),)

    def blocks(self, signal: SignalSpec) -> tuple[int, ...]:
        """Blocks per axis; the last may reach past the signal."""
        return tuple(-(-size // step) for size, step in zip(signal.shape, self.downsample(signal), strict=True))

    def build(self, signal: SignalSpec) -> Codec:
        from .dct import DCT

        return DCT(self, signal)

    def cost(self, signal: SignalSpec) -> Cost:
        block = self.downsample(signal)
        padded = signal.channels * math.prod(self.blocks(signal)) * math.prod(block)
        return Cost(flops=2 * 2.0 * padded * sum(block))


def dct_rows(size: int) -> Iterator[list[float]]:
    """Rows of the orthonormal DCT-II matrix: sqrt((2 - [k = 0]) / n) cos(pi (2 i + 1) k / 2 n)."""
    for k in range(size):
        scale = math.sqrt((1 if k == 0 else 2) / size)
        yield [scale * math.cos(math.pi * (2 * i + 1) * k / (2 * size)) for i in range(size)]


@dataclass(frozen=True, kw_only=True)
class StreamConfig(CodecConfig):
    """A codec whose latents are its bytes: one sequence of varying length with 256 codes.

    Its longest sequence, which is its nominal size, is the raw sample (8 bits per element, 16 for waveforms) and one
    byte more: a sample that the codec would make longer is stored raw, which its length tells. `max_bytes` sets a
    tighter maximum, for priors whose cost grows with it; encoding a sample that needs more is an error. Headers that
    all samples share are left out of the codes.
    """

    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")

    def raw_bytes(self, signal: SignalSpec) -> int:
        """Bytes of a sample as it is."""
        return signal.elements * (2 if signal.modality is Modality.WAVEFORM else 1)

    def grids(self, signal: SignalSpec) -> tuple[LatentGrid, ...]:
        most = self.raw_bytes(signal) + 1
        length = min(most, self.max_bytes) if self.max_bytes is not None else most
        grid = LatentGrid(shape=(length,), channels=1, codebook_sizes=(256,), topology="sequence", variable=True)
        return (grid,)


@dataclass(frozen=True, kw_only=True)
class JPEGConfig(StreamConfig):
    """Baseline JPEG, 4:2:0, through torchvision; a log-mel spectrogram is a grey image (A19). `quality` 1 to 100."""

    kind: ClassVar[str] = "jpeg"
    version: ClassVar[int] = 1
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.IMAGE, Modality.SPECTROGRAM)

    quality: int = 75

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.quality <= 100:
            raise ValueError("quality must lie in 1..100")

    def validate(self, signal: SignalSpec) -> None:
        if signal.channels not in (1, 3):
            raise ValueError(f"JPEG codes 1 or 3 channels, not {signal.channels}")

    def build(self, signal: SignalSpec) -> Codec:
        from .jpeg import JPEG

        return JPEG(self, signal)


@dataclass(frozen=True, kw_only=True)
class H264Config(StreamConfig):
    """H.264 (x264 through PyAV), one clip one stream (A19).

    `crf` 0 (best) to 51 sets the quality. With `pixels` "yuv420p" the colour is halved per axis, which alone caps the
    PSNR of a lossless stream near 39 dB; "yuv444p" keeps it. `preset` is x264's.
    """

    kind: ClassVar[str] = "h264"
    version: ClassVar[int] = 1
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.VIDEO,)

    crf: int = 23
    pixels: Literal["yuv420p", "yuv444p"] = "yuv420p"
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow", "veryslow"] = "medium"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.crf <= 51:
            raise ValueError("crf must lie in 0..51")

    def validate(self, signal: SignalSpec) -> None:
        if signal.channels not in (1, 3):
            raise ValueError(f"H.264 codes 1 or 3 channels, not {signal.channels}")

    def build(self, signal: SignalSpec) -> Codec:
        from .h264 import H264

        return H264(self, signal)


@dataclass(frozen=True, kw_only=True)
class OpusConfig(StreamConfig):
    """Opus (libopus through PyAV), in packets of 20 ms (A19). `bitrate` in bits per second, aimed at on average."""

    kind: ClassVar[str] = "opus"
    version: ClassVar[int] = 1
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.WAVEFORM,)

    bitrate: int = 24000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 6000 <= self.bitrate <= 256000:
            raise ValueError("bitrate must lie in 6000..256000 bits per second")

    def validate(self, signal: SignalSpec) -> None:
        if signal.channels not in (1, 2):
            raise ValueError(f"Opus codes 1 or 2 channels, not {signal.channels}")
        if signal.rate is None or signal.rate != int(signal.rate):
            raise ValueError(f"Opus needs a whole sample rate, got {signal.rate}")

    def build(self, signal: SignalSpec) -> Codec:
        from .opus import Opus

        return Opus(self, signal)
