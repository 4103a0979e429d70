"""Configuration of the blockwise DCT. No torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ..cost import Cost
from ..spec import LatentGrid, SignalSpec
from .config import CodecConfig


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """One quantised DCT coefficient of a block: its frequency per axis, its step, and codes 0 to 2 `reach`."""

    frequency: tuple[int, ...]
    step: float
    reach: int


@dataclass(frozen=True, kw_only=True)
class DCTConfig(CodecConfig):
    """Blockwise orthonormal DCT with quantisation, of any rank: the core of JPEG without its entropy coder.

    `block` samples per axis (default: 8x8 for images and spectrograms, 4x8x8 for clips, 64 for waveforms). `step` is
    the quantisation step of the mean, for signals in [-1, 1]; it grows linearly with the frequency to (1 + `slope`) x
    `step` at the highest of all axes (0.125 and 5 are about JPEG at quality 50). `keep` codes only the lowest
    frequencies of a block (default: all). Coefficients too small ever to leave 0 have no code. Codes are bounded
    without clipping: |coefficient| <= the L1 norm of its basis function.
    """

    kind: ClassVar[str] = "dct"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "dct:DCT"

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

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        if self.block is not None and len(self.block) != len(signal.shape):
            axes = ", ".join(signal.modality.axes)
            return f"block {[*self.block]} must have one entry per axis of {signal.modality} ({axes})"
        sizes = [2 * c.reach + 1 for c in self.coefficients(signal)]
        if not sizes:
            return f"step {self.step:g} rounds every coefficient to 0"
        if max(sizes) > 2**31:
            return f"step {self.step:g} gives more codes than an index holds"
        return None

    def downsample(self, signal: SignalSpec) -> tuple[int, ...]:
        default = {1: (64,), 2: (8, 8), 3: (4, 8, 8)}[len(signal.shape)]
        return self.block if self.block is not None else default

    def coefficients(self, signal: SignalSpec) -> tuple[Coefficient, ...]:
        """What is coded of a block of one channel, lowest frequency first."""
        block = self.downsample(signal)
        norms = [[sum(abs(v) for v in row) for row in dct_rows(size)] for size in block]
        highest = sum(size - 1 for size in block) or 1
        order = sorted(itertools.product(*map(range, block)), key=lambda f: (sum(f), f))
        coded = []
        for frequency in order[: self.keep]:
            step = self.step * (1 + self.slope * sum(frequency) / highest)
            reach = math.floor(math.prod(n[k] for n, k in zip(norms, frequency, strict=True)) / step + 0.5)
            if reach:
                coded.append(Coefficient(frequency=frequency, step=step, reach=reach))
        return tuple(coded)

    def grids(self, signal: SignalSpec) -> tuple[LatentGrid, ...]:
        sizes = tuple(2 * c.reach + 1 for c in self.coefficients(signal)) * signal.channels
        return (LatentGrid(shape=self.blocks(signal), channels=len(sizes), codebook_sizes=sizes),)

    def blocks(self, signal: SignalSpec) -> tuple[int, ...]:
        """Blocks per axis; the last may reach past the signal."""
        return tuple(-(-size // step) for size, step in zip(signal.shape, self.downsample(signal), strict=True))

    def cost(self, signal: SignalSpec) -> Cost:
        block = self.downsample(signal)
        padded = signal.channels * math.prod(self.blocks(signal)) * math.prod(block)
        return Cost(flops=2 * 2.0 * padded * sum(block))


def dct_rows(size: int) -> Iterator[list[float]]:
    """Rows of the orthonormal DCT-II matrix: sqrt((2 - [k = 0]) / n) cos(pi (2 i + 1) k / 2 n)."""
    for k in range(size):
        scale = math.sqrt((1 if k == 0 else 2) / size)
        yield [scale * math.cos(math.pi * (2 * i + 1) * k / (2 * size)) for i in range(size)]
