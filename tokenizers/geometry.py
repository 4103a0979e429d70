"""Latent geometry: which grid a downsampling gives, and which channels (or heads) a TSR asks for. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..results.errors import UserError
from .spec import SignalSpec, Topology

# A TSR is often typed with the digits that a table shows, so 27.43 stands for 27.4286.
_TSR_TOLERANCE = 5e-4


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a backbone puts its features: `shape` of the latent axes, and their topology."""

    shape: tuple[int, ...]
    topology: Topology = "grid"
    variable: bool = False

    @property
    def positions(self) -> int:
        """Latent positions per sample."""
        return math.prod(self.shape)


def read_downsample(value: Any, signal: SignalSpec, *, where: str) -> tuple[int, ...]:
    """An int (every axis) or a list with one int per axis, as a tuple per axis. Raises UserError on anything else."""
    axes = signal.modality.axes
    values = list(value) if isinstance(value, list | tuple) else [value] * len(axes)
    if any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
        raise UserError(f"{where}: expected a whole number >= 1, or a list of them, got {value!r}")
    if len(values) != len(axes):
        raise UserError(f"{where}: {signal.modality} has {len(axes)} axes ({', '.join(axes)}), got {value!r}")
    return tuple(values)


def grid_shape(signal: SignalSpec, downsample: tuple[int, ...]) -> tuple[int, ...]:
    """The signal's axes divided by `downsample`. Raises ValueError naming sizes and factors that would work."""
    for axis, size, factor in zip(signal.modality.axes, signal.shape, downsample, strict=True):
        if size % factor:
            sizes = [s for s in (size - size % factor, size - size % factor + factor) if s > 0]
            factors = sorted(sorted(_divisors(size), key=lambda d: abs(math.log(d / factor)))[:2])
            raise ValueError(
                f"downsample {factor} does not divide the signal's {axis} {size}; "
                f"nearest sizes that it divides: {_either(sizes)}; nearest factors of {size}: {_either(factors)}"
            )
    return tuple(size // factor for size, factor in zip(signal.shape, downsample, strict=True))


def solve_tsr(tsr: float, signal: SignalSpec, layout: Layout, *, what: str, limit: int | None = None) -> int:
    """How many values or codes per position (`what`: "channels", "heads") give the TSR for this signal and layout.

    TSR = source elements / (positions x per position), so 256x256x3 at 32x32 positions and TSR 24 is 8. Raises
    ValueError naming the nearest possible TSRs when that is no whole number >= 1 (or above `limit`).
    """
    exact = signal.source_elements / (layout.positions * tsr)
    whole = round(exact)
    if whole >= 1 and abs(exact - whole) <= _TSR_TOLERANCE * whole and (limit is None or whole <= limit):
        return whole
    candidates = {max(1, math.floor(exact)), max(1, math.ceil(exact))}
    if limit is not None:
        candidates = {min(c, limit) for c in candidates}
    near = [f"{signal.source_elements / (layout.positions * c):.6g} ({c} {what})" for c in sorted(candidates)]
    raise ValueError(
        f"tsr {tsr:g} needs {exact:.4g} {what} on {'x'.join(map(str, layout.shape))} latent positions of a signal of "
        f"{signal.source_elements} elements; nearest possible: {_either(near)}"
    )


def require_tsr(tsr: float, signal: SignalSpec, elements: int, *, why: str) -> None:
    """Raises ValueError unless `elements` latent elements give `tsr`; `why` says what fixed them."""
    actual = signal.source_elements / elements
    if abs(actual - tsr) > _TSR_TOLERANCE * tsr:
        raise ValueError(f"tsr {tsr:g} does not agree with {why}, which gives {actual:.6g}")


def _divisors(n: int) -> list[int]:
    low = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return sorted({*low, *(n // d for d in low)})


def _either(items: list[Any]) -> str:
    return " or ".join(map(str, items))
