"""What a signal and a latent are, as arithmetic: modality, shapes, TSR, bits, bitrate. No tensors, no torch.

Shapes: a signal is `[B, C, *shape]`, a latent grid `[B, channels, *shape]` with codes `[B, heads, *shape]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Topology = Literal["grid", "sequence", "set"]


class Modality(StrEnum):
    """The kinds of signals. `axes` names what follows `[B, C]`."""

    IMAGE = "image"
    VIDEO = "video"
    WAVEFORM = "waveform"
    SPECTROGRAM = "spectrogram"

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the signal's axes after batch and channels."""
        return _AXES[self]

    @property
    def rank(self) -> int:
        """How many axes a signal has besides batch and channels: 2, 3, 1, 2."""
        return len(self.axes)

    @property
    def is_audio(self) -> bool:
        """True for waveforms and spectrograms, whose source is a waveform."""
        return self in (Modality.WAVEFORM, Modality.SPECTROGRAM)


_AXES: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: ("height", "width"),
    Modality.VIDEO: ("time", "height", "width"),
    Modality.WAVEFORM: ("time",),
    Modality.SPECTROGRAM: ("mel", "time"),
}


@dataclass(frozen=True, kw_only=True)
class MelSpec:
    """A log-mel spectrogram's parameters: `sample_rate` in Hz, `n_fft` and `hop` in samples, `n_mels` bins, and the
    decibel range that is mapped to [-1, 1]."""

    sample_rate: int
    n_mels: int = 64
    n_fft: int = 1024
    hop: int = 256
    f_min: float = 0.0
    f_max: float | None = None
    floor_db: float = -80.0
    ceiling_db: float = 50.0


@dataclass(frozen=True, kw_only=True)
class SignalSpec:
    """One sample of a data set as a tokenizer sees it: `[channels, *shape]`.

    `rate` is samples per second for audio and frames per second for video, None for images. For spectrograms `mel` is
    set and `source_shape` is the waveform's `(channels, samples)`, against which rates are counted.
    """

    modality: Modality
    channels: int
    shape: tuple[int, ...]
    rate: float | None = None
    mel: MelSpec | None = None
    source_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != self.modality.rank:
            raise ValueError(f"{self.modality} has {self.modality.rank} axes {self.modality.axes}, got {self.shape}")

    @property
    def time_axis(self) -> int:
        """Which of the signal's axes is time. Raises ValueError for an image, which has none."""
        if "time" not in self.modality.axes:
            raise ValueError(f"{self.modality} signals have no time")
        return self.modality.axes.index("time")

    @property
    def elements(self) -> int:
        """Elements of the tensor that the encoder reads."""
        return self.channels * math.prod(self.shape)

    @property
    def source_elements(self) -> int:
        """Elements that rates are counted against: the waveform's for a spectrogram, else `elements`."""
        return math.prod(self.source_shape) if self.source_shape is not None else self.elements

    @property
    def seconds(self) -> float | None:
        """Duration of one sample, None for images."""
        if self.rate is None:
            return None
        if self.modality is Modality.VIDEO:
            return self.shape[0] / self.rate
        return (self.source_shape[-1] if self.source_shape is not None else self.shape[-1]) / self.rate


@dataclass(frozen=True, kw_only=True)
class LatentGrid:
    """One tensor of latents: `[channels, *shape]`, discrete when `codebook_sizes` has an entry per head.

    `topology` is "grid" (1 to 3 axes), "sequence" (one ordered axis; `variable` when lengths differ per sample and
    `shape` is the maximum) or "set" (one axis without order). Of a `byte_stream`
    the codes are the bytes in which a sample is stored, so that their number is its real rate.
    """

    shape: tuple[int, ...]
    channels: int
    codebook_sizes: tuple[int, ...] = ()
    topology: Topology = "grid"
    variable: bool = False
    byte_stream: bool = False

    @property
    def positions(self) -> int:
        """Latent positions per sample."""
        return math.prod(self.shape)

    @property
    def heads(self) -> int:
        """Codes per position; 0 for continuous latents."""
        return len(self.codebook_sizes)

    @property
    def elements(self) -> int:
        """What a prior has to predict per sample: codes of a discrete latent, values of a continuous one."""
        return self.positions * (self.heads or self.channels)

    @property
    def bits(self) -> float:
        """Nominal bits per sample: the sum of log2 of the codebook sizes, or 32 bits (float32) per continuous value."""
        per_position = sum(math.log2(k) for k in self.codebook_sizes) if self.codebook_sizes else 32.0 * self.channels
        return self.positions * per_position


@dataclass(frozen=True, kw_only=True)
class LatentSpec:
    """A tokenizer's latents for one signal: one grid, or several for a hierarchy (coarse to fine)."""

    signal: SignalSpec
    grids: tuple[LatentGrid, ...]

    def __post_init__(self) -> None:
        if not self.grids:
            raise ValueError("a LatentSpec needs at least one grid")
        if len({grid.heads > 0 for grid in self.grids}) != 1:
            raise ValueError("the grids of a hierarchy are all discrete or all continuous")

    @property
    def grid(self) -> LatentGrid:
        """The first (of most tokenizers: the only) grid."""
        return self.grids[0]

    @property
    def discrete(self) -> bool:
        """True when the latents are codes."""
        return self.grid.heads > 0

    @property
    def topology(self) -> str:
        """ "grid", "sequence", "set", or "hierarchy" when there are several grids."""
        return "hierarchy" if len(self.grids) > 1 else self.grid.topology

    @property
    def elements(self) -> int:
        """Latent elements per sample: what a prior has to predict."""
        return sum(grid.elements for grid in self.grids)

    @property
    def positions(self) -> int:
        """Latent positions per sample over all grids."""
        return sum(grid.positions for grid in self.grids)

    @property
    def tsr(self) -> float:
        """Tensor size reduction, exact for this signal: source elements / latent elements.

        A spectrogram is counted against its waveform. 256x256x3 -> 32x32x8 is 24.
        """
        return self.signal.source_elements / self.elements

    @property
    def tsr_input(self) -> float:
        """The same against the tensor that the encoder reads (differs from `tsr` for spectrograms alone)."""
        return self.signal.elements / self.elements

    @property
    def bits_per_sample(self) -> float:
        """Nominal bits per sample (image, clip): sum of log2 codebook sizes, or 32 per continuous value."""
        return sum(grid.bits for grid in self.grids)

    @property
    def bits_per_element(self) -> float:
        """Nominal bits per element of the source signal."""
        return self.bits_per_sample / self.signal.source_elements

    @property
    def bitrate(self) -> float | None:
        """Nominal bits per second; None for images."""
        seconds = self.signal.seconds
        return None if seconds is None else self.bits_per_sample / seconds
