"""A loss–compute law: what a training's loss would be at a larger budget, from the beginning of its curve.

L(C) = a + b C^-c (Kaplan et al. 2020, arXiv 2001.08361, eq. 1.3, with the floor a of Henighan et al. 2020, arXiv
2010.14701), by least squares: for each exponent on a grid a and b are linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_EXPONENTS = np.geomspace(0.02, 3.0, 400)
LEAST_POINTS = 5


@dataclass(frozen=True, kw_only=True)
class ComputeLaw:
    """The floor a, and b and c of b (C / unit)^-c, unit being the largest compute that was fitted; where b is 0, any c
    fits. `is_certain` is False where c ends the range that was tried: then the points don't tell it."""

    floor: float
    scale: float
    exponent: float
    unit: float
    is_certain: bool = True

    def at(self, compute: float) -> float:
        """The loss expected at a compute."""
        return float(self.floor + self.scale * (compute / self.unit) ** -self.exponent)


def fit_law(compute: Sequence[float], losses: Sequence[float]) -> ComputeLaw | None:
    """The law through points (C, L), with b at least 0: a curve that rises has none but its mean. None for fewer than
    five points, or values that are not finite."""
    c, y = np.asarray(compute, dtype=float), np.asarray(losses, dtype=float)
    if len(c) < LEAST_POINTS or not (np.isfinite(c).all() and np.isfinite(y).all()) or c.min() <= 0:
        return None
    unit = float(c.max())
    basis = (c / unit)[None] ** -_EXPONENTS[:, None]  # (E, n)
    centred, rest = basis - basis.mean(1, keepdims=True), y - y.mean()
    scale = np.maximum((centred @ rest) / np.maximum((centred**2).sum(1), 1e-300), 0.0)
    errors = ((rest - scale[:, None] * centred) ** 2).sum(1)
    best = int(errors.argmin())
    floor = float(y.mean() - scale[best] * basis[best].mean())
    return ComputeLaw(
        floor=floor,
        scale=float(scale[best]),
        exponent=float(_EXPONENTS[best]),
        unit=unit,
        is_certain=bool(scale[best] > 0 and 0 < best < len(_EXPONENTS) - 1),
    )
