"""Intervals: the delete-a-group jackknife, differences by it, and Wilson's interval of shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from scipy.special import stdtrit
from torch import Tensor

from ...results.metric import NORMAL, Metric, Role


def group_of(n: int, groups: int) -> list[slice]:
    """`n` samples dealt to `groups` (at most `n`) by turns, so that samples in class order spread evenly."""
    groups = min(groups, n)
    return [slice(start, None, groups) for start in range(groups)]


def delete_a_group(left_out: Sequence[float]) -> tuple[float | None, float | None]:
    """From the statistic without each of G groups in turn: its standard error, and the half-width of its 95 % interval.

    The delete-a-group jackknife (Shao and Tu 1995, section 2.3) with Student's t of G - 1 degrees of freedom. Both
    None when a value is not finite or G < 2.
    """
    count = len(left_out)
    if count < 2 or not all(math.isfinite(x) for x in left_out):
        return None, None
    mean = math.fsum(left_out) / count
    se = math.sqrt((count - 1) / count * math.fsum((x - mean) ** 2 for x in left_out))
    return se, float(stdtrit(count - 1, 0.975)) * se


def interval_of(value: float | None, half: float | None) -> tuple[float, float] | None:
    """value ± half, or None when either is unknown."""
    return None if value is None or half is None else (value - half, value + half)


def distance_metric(
    name: str,
    value: float | None,
    se: float | None,
    half: float | None,
    *,
    n: int,
    missing: int,
    protocol: str,
    role: Role = "distribution",
    least: float = -math.inf,
) -> Metric:
    """A distance between sets of samples as a metric called `name`, its interval value ± half and not below `least`."""
    interval = interval_of(value, half)
    return Metric(
        name=name,
        value=value,
        se=se,
        interval=None if interval is None else (max(least, interval[0]), interval[1]),
        n=n,
        missing=missing,
        direction="lower",
        protocol=protocol.removeprefix("; "),
        role=role,
    )


def of_sums(sums: Tensor, statistic: Callable[[Tensor], float]) -> tuple[float, float | None, float | None]:
    """A statistic of sums over samples: its value, standard error and half-width of its 95 % interval.

    `sums` `[G, ...]` holds each group's sum; `statistic` reads the sum over any of the groups.
    """
    total = sums.sum(0)
    left_out = [statistic(total - part) for part in sums] if len(sums) > 1 else []
    return statistic(total), *delete_a_group(left_out)


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a binomial share (Wilson 1927)."""
    z2 = NORMAL**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
