"""What configurations of codecs that write bytes share. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..spec import LatentGrid, Modality, SignalSpec
from .config import CodecConfig


@dataclass(frozen=True, kw_only=True)
class StreamConfig(CodecConfig):
    """A codec whose latents are its bytes: one sequence of varying length with 256 codes.

    Its longest sequence, which is its nominal size, is the raw sample (8 bits per element, 16 for waveforms) and one
    byte more: a sample that the codec would make longer is stored raw, and recognised by its length. `max_bytes` sets a
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
        sequence: dict[str, Any] = {"topology": "sequence", "variable": True, "byte_stream": True}
        return (LatentGrid(shape=(length,), channels=1, codebook_sizes=(256,), **sequence),)
