"""Configurations of the corruptions: what a denoising autoencoder (A4) reads in training in place of the signal.

No torch. The objective compares with the clean signal, and nothing is corrupted outside of training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..part import Part
from ..registry import Registry
from ..spec import SignalSpec

if TYPE_CHECKING:
    from .base import Corruption

CORRUPTIONS = Registry(
    "corruption",
    "latentbench.corruptions",
    {
        "mask": "tokenizers.corruptions.config:MaskConfig",
        "noise": "tokenizers.corruptions.config:NoiseConfig",
    },
)


class CorruptionConfig(Part):
    """A random change of the encoder's input."""

    def build(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Corruption:
        """A function of `[B, C, *signal]` that gives its corrupted copy."""
        raise NotImplementedError

    def validate(self, signal: SignalSpec) -> None:
        """Raises ValueError with the reason when such signals can't be corrupted so."""


@dataclass(frozen=True, kw_only=True)
class MaskConfig(CorruptionConfig):
    """Hides a share `ratio` of the signal's patches, as many in every sample (He et al. 2022, arXiv 2111.06377).

    `patch` has one size per axis of the signal; by default a patch is what one latent position covers.
    """

    kind: ClassVar[str] = "mask"
    version: ClassVar[int] = 1

    ratio: float = 0.5
    patch: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise ValueError("ratio must lie between 0 and 1")
        if any(size < 1 for size in self.patch):
            raise ValueError("patch must have sizes of at least 1")

    def validate(self, signal: SignalSpec) -> None:
        axes = signal.modality.axes
        if self.patch and len(self.patch) != len(axes):
            raise ValueError(f"patch needs a size per axis ({', '.join(axes)}), got {[*self.patch]}")

    def build(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Corruption:
        from .mask import Mask

        return Mask(self.patch or downsample, ratio=self.ratio)


@dataclass(frozen=True, kw_only=True)
class NoiseConfig(CorruptionConfig):
    """Adds Gaussian noise of deviation `sigma` on the signal's scale of [-1, 1] (Vincent et al. 2010)."""

    kind: ClassVar[str] = "noise"
    version: ClassVar[int] = 1

    sigma: float = 0.3

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise ValueError("sigma must be positive")

    def build(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Corruption:
        from .noise import Noise

        return Noise(self.sigma)
