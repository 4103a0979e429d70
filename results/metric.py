"""One measured number, with everything needed to trust it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

NORMAL = 1.959963984540054  # the normal distribution's 97.5 % point

Direction = Literal["higher", "lower", "none"]

# What a metric is about, in the order in which tables show it. "distribution" metrics compare sets, so that their
# expectation depends on the number of samples; "generation" holds what else is said of samples. "" is not known: a
# record from before there were roles, or a part that declares none.
Role = Literal["rate", "distortion", "distribution", "generation", "prior", "modelability", "latents", "probe", ""]
# Whether a table shows it unless told: "first" before others of its role, and as what the table is ranked by.
Shown = Literal["first", "default", "asked"]
# Which lines of a table may be compared by a metric: all, those with latents of one shape, or those of one tokenizer.
Scope = Literal["table", "shape", "tokenizer"]
_SCOPES: dict[Role, Scope] = {"prior": "tokenizer", "modelability": "shape"}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's value with its uncertainty and protocol.

    `name` is snake_case and names the protocol (`rfd_inception`, not `fid`). `value` is None when nothing could be
    measured; `missing` counts the samples for which the metric is undefined. `se` is the standard error and `interval`
    the 95 % interval, either may be None where none is known. `direction` says which way is better; `protocol` is one
    line with whatever must agree before two values may be compared. `role` and `shown` place it in tables; `blind_to`
    says in a few words what hardly moves it; `compared` between which lines of a table it may be compared, where that
    is not what its role says (see `scope`).
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
    role: Role = ""
    shown: Shown = "default"
    blind_to: str = ""
    compared: Scope | None = None

    @property
    def scope(self) -> Scope:
        """Between which lines of a table it may be compared: of a prior's scores those of one tokenizer, of proxies of
        modelability those whose latents have one shape, of all else any; unless it declares another."""
        return self.compared if self.compared is not None else _SCOPES.get(self.role, "table")

    @classmethod
    def from_samples(
        cls,
        name: str,
        samples: Sequence[float],
        *,
        direction: Direction,
        unit: str = "",
        protocol: str = "",
        role: Role = "",
        shown: Shown = "default",
    ) -> Metric:
        """The mean over per-sample values with its normal 95 % interval; non-finite samples count as missing."""
        finite = [float(x) for x in samples if math.isfinite(x)]
        mean = se = interval = None
        if finite:
            mean = math.fsum(finite) / len(finite)
        if mean is not None and len(finite) > 1:
            variance = math.fsum((x - mean) ** 2 for x in finite) / (len(finite) - 1)
            se = math.sqrt(variance / len(finite))
            interval = (mean - NORMAL * se, mean + NORMAL * se)
        return cls(
            name=name,
            value=mean,
            se=se,
            interval=interval,
            n=len(finite),
            missing=len(samples) - len(finite),
            direction=direction,
            unit=unit,
            protocol=protocol,
            role=role,
            shown=shown,
        )

    @classmethod
    def of_checked(cls, facts: Mapping[str, Any], **measured: Any) -> Metric:
        """The metric with the fields `facts` and `measured`, of which each has been checked and none is lacking that
        has no default: large stores have half a million, and the usual way takes five times as long."""
        metric = object.__new__(cls)
        if len(facts) + len(measured) < _FIELDS:
            metric.__dict__.update(_DEFAULTS)
        metric.__dict__.update(facts, **measured)
        return metric

    def to_json(self) -> dict[str, Any]:
        """Plain data for a record; non-finite numbers become None (JSON has none)."""
        places = {"role": self.role, "shown": self.shown, "blind_to": self.blind_to, "compared": self.compared}
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
            **{name: place for name, place in places.items() if place not in ("", "default", None)},
        }


_FIELDS = len(fields(Metric))
_DEFAULTS = {item.name: item.default for item in fields(Metric) if item.default is not MISSING}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
