"""One measured number, with everything needed to trust it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's value with its uncertainty and protocol.

    `name` is snake_case and names the protocol (`rfd_inception`, not `fid`). `value` is None when nothing could be
    measured; `missing` counts the samples for which the metric is undefined. `se` is the standard error and `interval`
    the 95 % interval, either may be None where none is known. `direction` says which way is better; `protocol` is one
    line with whatever must agree before two values may be compared.
    """

    name: str
    value: float | None
    se: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    missing: int = 0
    direction: Direction = "none"
    unit: str = ""
    protocol: str = ""

    @classmethod
    def from_samples(
        cls, name: str, samples: Sequence[float], *, direction: Direction, unit: str = "", protocol: str = ""
    ) -> Metric:
        """The mean over per-sample values with its normal 95 % interval; non-finite samples count as missing."""
        kept = [float(x) for x in samples if math.isfinite(x)]
        missing = len(samples) - len(kept)
        if not kept:
            return cls(name=name, value=None, missing=missing, direction=direction, unit=unit, protocol=protocol)
        mean = math.fsum(kept) / len(kept)
        se = interval = None
        if len(kept) > 1:
            variance = math.fsum((x - mean) ** 2 for x in kept) / (len(kept) - 1)
            se = math.sqrt(variance / len(kept))
            interval = (mean - 1.959963984540054 * se, mean + 1.959963984540054 * se)
        return cls(
            name=name,
            value=mean,
            se=se,
            interval=interval,
            n=len(kept),
            missing=missing,
            direction=direction,
            unit=unit,
            protocol=protocol,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for a record; non-finite numbers become None (JSON has none)."""
        return {
            "name": self.name,
            "value": _finite(self.value),
            "se": _finite(self.se),
            "interval": list(self.interval) if self.interval and all(map(math.isfinite, self.interval)) else None,
            "n": self.n,
            "missing": self.missing,
            "direction": self.direction,
            "unit": self.unit,
            "protocol": self.protocol,
        }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
