"""What is claimed of a system, as comparisons of measured numbers, and the verdict of a run's records on each.

A comparison is of one metric of a cell with the same of another cell of the same data set, or with a constant. Cells
are found by their label, seeds are paired (see `statistics.difference_interval`), and the interval is of 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .comparable import OF_PRIORS, one_training, other_latents
from .derived import SCALED, entry_of
from .display import measured
from .groups import Group, aggregate, detail
from .rows import Row
from .statistics import Difference, Entry, difference_interval

Relation = Literal["above", "below", "not below", "not above", "equal to"]
Status = Literal["confirmed", "not confirmed", "not run"]
Conclusion = Literal["confirmed", "refuted", "undecided", "not run"]


@dataclass(frozen=True, kw_only=True)
class ClaimComparison:
    """`metric` of the cell `left` stands in `relation` to that of `right`: a label, the mean of several, or a
    number.

    With a `margin` m the difference d = left - right must be above m, below -m, not below -m, not above m, or within
    ±m ("equal to", claimed of every seed by itself), as far as its interval goes; `relative` counts d and m in parts of
    the right side. `right_metric` is the other cell's where it has another name. `modalities` restricts where it is
    tested (empty: wherever both cells are). Metrics of latents are compared between cells with the same ones alone
    (`Metric.scope`), unless `across_latents` says that these two may be. A comparison that does not `count` is
    reported, and decides nothing.
    """

    metric: str
    left: str
    relation: Relation
    right: str | float | tuple[str, ...]
    margin: float = 0.0
    relative: bool = False
    right_metric: str = ""
    across_latents: bool = False
    modalities: tuple[str, ...] = ()
    counts: bool = True

    def __post_init__(self) -> None:
        if self.margin < 0:
            raise ValueError(f"margin: must not be negative, got {self.margin:g}")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A `[[claims]]` table of a suite: what is claimed of a system, and the comparisons that test it.

    `id` and `name` are the system's; `options` are those that switch it on, where it is no recipe of its own.
    """

    id: str
    name: str
    claim: str
    comparisons: tuple[ClaimComparison, ...]
    options: str = ""

    def __post_init__(self) -> None:
        if not any(comparison.counts for comparison in self.comparisons):
            raise ValueError("comparisons: at least one must count (counts = true)")

    @property
    def title(self) -> str:
        """The system's id and name."""
        return f"{self.id} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the records say of one comparison on one data set.

    `value`, `low`, `high` are of left - right (in parts of the right side if relative), `seeds` how many of them there
    are, `left` and `right` the two means.
    """

    comparison: ClaimComparison
    dataset: str
    modality: str
    status: Status
    value: float | None = None
    low: float | None = None
    high: float | None = None
    left: float | None = None
    right: float | None = None
    seeds: int = 0
    unit: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        """One line: "psnr: ae above kl-vae-1, by 3.1 [2.2, 4.0] dB, 3 seeds: confirmed"."""
        c = self.comparison
        if isinstance(c.right, tuple):
            right = f"the mean of {' and '.join(c.right)}"
        else:
            right = c.right if isinstance(c.right, str) else f"{c.right:g}"
        if c.right_metric:
            right = f"its {c.right_metric}" if right == c.left else f"{right}'s {c.right_metric}"
        if self.value is None:
            reason = f" ({self.reason})" if self.reason else ""
            return f"{c.metric}: {c.left} {c.relation} {right}: {self.status}{reason}"
        scale, unit = (100.0, "%") if c.relative else (1.0, self.unit)
        half = None if self.low is None or self.high is None else scale * (self.high - self.low) / 2
        number, _ = measured(scale * self.value, half)
        if self.low is not None and self.high is not None:
            digits = [measured(scale * end, half)[0] for end in (self.low, self.high)]
            number += f" [{digits[0]}, {digits[1]}]"
        unit = f" {unit}" if unit and unit != "%" else unit
        count = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        reason = f" ({self.reason})" if self.reason else ""
        return f"{c.metric}: {c.left} {c.relation} {right}, by {number}{unit}, {count}: {self.status}{reason}"

    @property
    def told(self) -> str:
        """`text`, and whether it decides nothing."""
        return self.text if self.comparison.counts else f"{self.text} (for information)"


def judge(claim: Claim, table: Sequence[Row]) -> list[Finding]:
    """A finding per comparison of `claim` and data set where it can be tested; one "not run" where there is none."""
    findings: list[Finding] = []
    tables = _by_dataset(table)
    for comparison in claim.comparisons:
        here: list[Finding] = []
        for (dataset, modality), groups in tables.items():
            if comparison.modalities and modality not in comparison.modalities:
                continue
            if {comparison.left, *_others(comparison)} <= {group.label for group in groups}:
                here.append(compare(comparison, groups, dataset, modality))
        findings += here or [
            Finding(comparison=comparison, dataset="", modality="", status="not run", reason="no such cells")
        ]
    return findings


def verdicts(findings: Sequence[Finding]) -> dict[str, Status]:
    """The verdict by modality: confirmed where every comparison that counts is. {} when nothing was run.

    A modality gets a verdict only if every comparison that applies to it has cells there; it is left out where one was
    run in other modalities alone. A comparison that has no cells in any modality makes the verdict "not run".
    """
    order: tuple[Status, ...] = ("not confirmed", "not run", "confirmed")
    counted = [finding for finding in findings if finding.comparison.counts]
    where: dict[ClaimComparison, set[str]] = {}
    for finding in counted:
        where.setdefault(finding.comparison, set()).update({finding.modality} - {""})
    result: dict[str, Status] = {}
    for modality in dict.fromkeys(finding.modality for finding in counted if finding.modality):
        applying = [places for c, places in where.items() if not c.modalities or modality in c.modalities]
        if any(places and modality not in places for places in applying):
            continue
        status: Status = "confirmed" if all(applying) else "not run"
        for finding in counted:
            if finding.modality == modality:
                status = min(status, finding.status, key=order.index)
        result[modality] = status
    return result


def conclusions(findings: Sequence[Finding]) -> dict[str, Conclusion]:
    """The verdict by modality, where "not confirmed" is told apart: refuted where the interval of a comparison that
    counts lies wholly where the claim says that it does not, else undecided.
    """
    result: dict[str, Conclusion] = {}
    for modality, status in verdicts(findings).items():
        here = [f for f in findings if f.modality == modality and f.comparison.counts]
        if status == "not confirmed":
            result[modality] = "refuted" if any(refuted(f) for f in here) else "undecided"
        else:
            result[modality] = status
    return result


def refuted(finding: Finding) -> bool:
    """Whether all of the finding's interval [low, high] of left - right lies outside of what the relation says."""
    c, low, high = finding.comparison, finding.low, finding.high
    if finding.status != "not confirmed" or low is None or high is None:
        return False
    above, below = high <= c.margin, low >= -c.margin  # no number of the interval is above m, below -m
    return {
        "above": above,
        "below": below,
        "not below": high < -c.margin,
        "not above": low > c.margin,
        "equal to": low > c.margin or high < -c.margin,
    }[c.relation]


def compare(comparison: ClaimComparison, groups: Sequence[Group], dataset: str, modality: str) -> Finding:
    """What `groups` (of one data set) say of the comparison."""
    c = comparison
    a = entry_of(_named(c.left, groups), c.metric)
    other = c.right_metric or c.metric
    rights = {label: entry_of(_named(label, groups), other) for label in _others(c)}
    lacking = [f"{c.left} has no {c.metric}"] if not a.values else []
    lacking += [f"{label} has no {other}" for label, entry in rights.items() if not entry.values]
    if lacking:
        return Finding(comparison=c, dataset=dataset, modality=modality, status="not run", reason=lacking[0])
    if reason := _incomparable(c, groups):
        return Finding(comparison=c, dataset=dataset, modality=modality, status="not run", reason=reason)
    b = _mean(list(rights.values())) if rights else None
    if b is None:
        assert isinstance(c.right, float | int)
        difference, centre = _from_constant(a, c.right), float(c.right)
    else:
        difference, centre = difference_interval(a, b), b.estimate.value
    if c.relation == "equal to":
        difference = _apart(a, b if b is not None else centre)
    value = a.estimate.value - centre
    scale = abs(centre) if c.relative else 1.0
    known = detail(groups, SCALED[c.metric][0] if c.metric in SCALED else c.metric)
    low = high = None
    status: Status = "not confirmed"
    if difference is not None and scale > 0:
        low, high = difference.low / scale, difference.high / scale
        status = "confirmed" if holds(c.relation, low, high, c.margin) else "not confirmed"
    shared = len(a.values.keys() & b.values.keys()) if b is not None else len(a.values)
    return Finding(
        comparison=c,
        dataset=dataset,
        modality=modality,
        status=status,
        value=value / scale if scale > 0 else value,
        low=low,
        high=high,
        left=a.estimate.value,
        right=centre,
        seeds=shared or min(len(a.values), len(b.values) if b is not None else len(a.values)),
        unit=known.unit if known is not None and c.metric not in SCALED else "",
        reason="" if difference is not None else "no interval is known",
    )


def _incomparable(c: ClaimComparison, groups: Sequence[Group]) -> str:
    """Why left and right may not be compared, or ""."""
    if c.right_metric not in ("", c.metric) or c.relation == "equal to":  # sameness is claimed of every seed by itself
        return ""
    metric = SCALED[c.metric][0] if c.metric in SCALED else c.metric
    pairs = [[_named(c.left, groups), _named(label, groups)] for label in _others(c) if label != c.left]
    reasons = [
        ("" if c.across_latents else other_latents(pair, metric)) or one_training(pair, metric, OF_PRIORS)
        for pair in pairs
    ]
    return next((reason for reason in reasons if reason), "")


def holds(relation: Relation, low: float, high: float, margin: float) -> bool:
    """Whether an interval [low, high] of left - right lies where the relation says."""
    if relation == "above":
        return low > margin
    if relation == "below":
        return high < -margin
    if relation == "not below":
        return low >= -margin
    if relation == "not above":
        return high <= margin
    return low >= -margin and high <= margin


def _named(label: str, groups: Sequence[Group]) -> Group:
    return next(group for group in groups if group.label == label)


def _others(comparison: ClaimComparison) -> tuple[str, ...]:
    """The labels on the right side."""
    right = comparison.right
    return right if isinstance(right, tuple) else (right,) if isinstance(right, str) else ()


def _mean(entries: Sequence[Entry]) -> Entry:
    """The mean over several cells, seed by seed; within a run, of independent estimates."""
    if len(entries) == 1:
        return entries[0]
    seeds = set.intersection(*(set(entry.values) for entry in entries))
    values = {seed: sum(entry.values[seed] for entry in entries) / len(entries) for seed in seeds}
    halves = [(w[1] - w[0]) / 2 for entry in entries if (w := entry.within) is not None]
    within = None
    if len(set(values.values())) == 1 and len(halves) == len(entries):  # one seed, or seeds that change nothing
        value, half = next(iter(values.values())), math.hypot(*halves) / len(entries)
        within = (value - half, value + half)
    return Entry(values=values, within=within)


def _from_constant(entry: Entry, constant: float) -> Difference | None:
    estimate = entry.estimate
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        if estimate.value != constant:
            return None
        low = high = constant  # exactly what was claimed, of a number that is not a mean
    return Difference(value=estimate.value - constant, low=low - constant, high=high - constant, method="paired")


def _apart(a: Entry, b: Entry | float) -> Difference | None:
    """The least and the largest difference of any seed: sameness is claimed of each, and not of their mean."""
    other = b.values if isinstance(b, Entry) else dict.fromkeys(a.values, b)
    apart = [a.values[seed] - other[seed] for seed in a.values if seed in other]
    if not apart:
        return None
    mean = sum(apart) / len(apart)
    return Difference(value=mean, low=min(apart), high=max(apart), method="paired")


def _by_dataset(table: Sequence[Row]) -> dict[tuple[str, str], list[Group]]:
    tables: dict[tuple[str, str], list[Group]] = {}
    for group in aggregate(table):
        tables.setdefault((group.dataset, group.modality), []).append(group)
    return tables
