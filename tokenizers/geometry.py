"""Latent geometry: which grid a downsampling gives, and which channels (or heads) a TSR asks for. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..results.errors import UserError
from .spec import LatentGrid, SignalSpec, Topology

# A TSR is often typed with the digits that a table shows, so 27.43 stands for 27.4286.
_TSR_TOLERANCE = 5e-4
_MOST_CODES = 1024  # per position, that a bitrate is solved for


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


def solve_kbps(kbps: float, signal: SignalSpec, grids_of: Callable[[int], Sequence[LatentGrid]], *, what: str) -> int:
    """How many codes per position (`what`: "levels", "heads") have that nominal bitrate, in kbit/s; `grids_of` gives
    the latent for a number of them. Raises ValueError naming the nearest possible bitrates when no number has it."""
    rates = [bitrate(signal, grids_of(1))]
    while rates[-1] < kbps * (1 - _TSR_TOLERANCE) and len(rates) < _MOST_CODES:
        rates.append(bitrate(signal, grids_of(len(rates) + 1)))
        if rates[-1] <= rates[-2]:
            break
    number = min(range(len(rates)), key=lambda index: abs(rates[index] - kbps)) + 1
    if abs(rates[number - 1] - kbps) <= _TSR_TOLERANCE * kbps:
        return number
    near = [f"{rate:.6g} ({index} {what})" for index, rate in enumerate(rates, start=1)][-2:]
    raise ValueError(f"kbps {kbps:g} is no whole number of {what}; nearest possible: {_either(near)}")


def require_kbps(kbps: float, signal: SignalSpec, grids: Sequence[LatentGrid], *, why: str) -> None:
    """Raises ValueError unless `grids` have that nominal bitrate, in kbit/s; `why` says what fixed them."""
    actual = bitrate(signal, grids)
    if abs(actual - kbps) > _TSR_TOLERANCE * kbps:
        raise ValueError(f"kbps {kbps:g} does not agree with {why}, which gives {actual:.6g}")


def bitrate(signal: SignalSpec, grids: Sequence[LatentGrid]) -> float:
    """Nominal kbit/s of codes. Raises ValueError for continuous latents, and for what has no duration."""
    if signal.seconds is None:
        raise ValueError("kbps is of sounds and clips, and a picture has no duration; give tsr")
    if not grids[0].heads:
        raise ValueError("kbps is of codes, and continuous latents have no bits of their own; give tsr or channels")
    return sum(grid.bits for grid in grids) / signal.seconds / 1000


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
