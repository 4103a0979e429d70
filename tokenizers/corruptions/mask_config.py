"""Configuration of the masking of patches. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..spec import SignalSpec
from .config import CorruptionConfig


@dataclass(frozen=True, kw_only=True)
class MaskConfig(CorruptionConfig):
    """Hides a share `ratio` of the signal's patches, as many in every sample (He et al. 2022, arXiv 2111.06377).

    `patch` has one size per axis of the signal; by default a patch is what one latent position covers.
    """

    kind: ClassVar[str] = "mask"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "mask:MaskCorruption"

    ratio: float = 0.5
    patch: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise ValueError("ratio must lie between 0 and 1")
        if any(size < 1 for size in self.patch):
            raise ValueError("patch must have sizes of at least 1")

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        axes = signal.modality.axes
        if self.patch and len(self.patch) != len(axes):
            return f"patch needs a size per axis ({', '.join(axes)}), got {[*self.patch]}"
        return None
