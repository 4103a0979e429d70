"""How a downsampling per axis is split into the strides of a backbone's stages. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage: `stride` per axis on entry, `width` channels, `shape` of its grid."""

    stride: tuple[int, ...]
    width: int
    shape: tuple[int, ...]

    @property
    def kernel(self) -> tuple[int, ...]:
        """Kernel of the strided convolution: the odd size just above the stride, so that neighbours overlap."""
        return tuple(3 if s == 1 else s + 1 + s % 2 for s in self.stride)


def plan_stages(
    shape: Sequence[int], downsample: Sequence[int], *, widths: Sequence[int], stem: int, stride: int
) -> tuple[Stage, ...]:
    """Stages from signal to latents: a stem with strides up to `stem`, then strides up to `stride` per axis.

    A prime factor larger than that gets a stage of its own. Axes with fewer factors than others are strided early,
    where striding saves most. The last of `widths` repeats. Sizes that a stride does not divide are rounded up.
    """
    stems = [max(d for d in range(1, min(stem, factor) + 1) if factor % d == 0) for factor in downsample]
    rests = [split_factor(factor // first, stride) for factor, first in zip(downsample, stems, strict=True)]
    depth = max(map(len, rests))
    columns = [(first, *rest, *(1,) * (depth - len(rest))) for first, rest in zip(stems, rests, strict=True)]
    stages, grid = [], tuple(shape)
    for index, strides in enumerate(zip(*columns, strict=True)):
        grid = tuple(-(-size // s) for size, s in zip(grid, strides, strict=True))
        stages.append(Stage(stride=strides, width=widths[min(index, len(widths) - 1)], shape=grid))
    return tuple(stages)


def split_factor(factor: int, largest: int) -> tuple[int, ...]:
    """`factor` as few, even, ascending factors of at most `largest` (larger where a prime is): 80, 8 -> (4, 4, 5)."""
    primes = _primes(factor)
    if not primes:
        return ()
    largest = max(largest, primes[0])
    for count in range(1, len(primes) + 1):
        bins = [1] * count
        for prime in primes:
            bins[bins.index(min(bins))] *= prime
        if max(bins) <= largest:
            break
    return tuple(sorted(b for b in bins if b > 1))


def _primes(n: int) -> list[int]:
    factors, divisor = [], 2
    while divisor <= math.isqrt(n):
        while n % divisor == 0:
            factors.append(divisor)
            n //= divisor
        divisor += 1
    return sorted([*factors, *([n] if n > 1 else [])], reverse=True)
