"""Numbers as text: to the digits that their uncertainty warrants."""

from __future__ import annotations

import math
from typing import Any


def measured(value: float, half: float | None) -> tuple[str, str]:
    """Value and half-width as text, to the half-width's second digit; the value alone to four digits without one."""
    if half is None or not math.isfinite(half):
        return brief(value), ""
    if half == 0:
        return brief(value), "0"
    if abs(value) >= 1e6 or max(abs(value), half) < 1e-4:
        return f"{value:.3e}", f"{half:.1e}"
    decimals = min(max(0, 1 - math.floor(math.log10(half))), 6)
    return f"{value:.{decimals}f}", f"{half:.{decimals}f}"


def brief(value: float) -> str:
    """A number to four digits, a whole one below ten million in full."""
    return str(int(value)) if value == int(value) and abs(value) < 1e7 else f"{value:.4g}"


def compact(value: float) -> str:
    """A count to three digits with its SI prefix: 1.23M."""
    for scale, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{prefix}"
    return f"{value:.3g}"


def show(value: Any) -> str:
    """An axis value or a word: numbers by `brief`, lists with commas, None as nothing."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return brief(value)
    if isinstance(value, list | tuple):
        return ",".join(show(item) for item in value)
    return str(value)
