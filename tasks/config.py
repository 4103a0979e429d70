"""Options of the tasks. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """How reconstructions are scored, on the validation split.

    `samples` limits how many (0: all). `lpips` "off" or "on" (needs its weights). `rate` also measures the
    entropy-coded rate. `vocoder_iterations` is Griffin-Lim's, for spectrograms.
    """

    version: ClassVar[int] = 1
    samples: int = 0
    batch_size: int = 64
    lpips: Literal["off", "on"] = "off"
    rate: bool = True
    vocoder_iterations: int = 32

    def __post_init__(self) -> None:
        _at_least(self.samples, 0, "samples")
        _at_least(self.batch_size, 1, "batch_size")
        _at_least(self.vocoder_iterations, 1, "vocoder_iterations")


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How many samples are drawn from the prior and against which split they are scored.

    `keep` samples are stored decoded, for galleries.
    """

    version: ClassVar[int] = 1
    samples: int = 256
    batch_size: int = 64
    reference: Literal["train", "val"] = "train"
    vocoder_iterations: int = 32
    keep: int = 16

    def __post_init__(self) -> None:
        _at_least(self.samples, 2, "samples")
        _at_least(self.batch_size, 1, "batch_size")
        _at_least(self.keep, 0, "keep")


@dataclass(frozen=True, kw_only=True)
class ModelabilityConfig:
    """Which proxies are computed (empty: all that apply), on how many latents of the training split (0: all)."""

    version: ClassVar[int] = 1
    proxies: tuple[str, ...] = ()
    samples: int = 2048

    def __post_init__(self) -> None:
        _at_least(self.samples, 0, "samples")


def _at_least(value: int, low: int, name: str) -> None:
    if value < low:
        raise ValueError(f"{name} must be at least {low}")
