"""The job "halving": tokenizers ranked at a rung of their trainings, so that only the best train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ...results.errors import UserError, unknown
from ...results.gates import (
    ABSENT,
    ASYNCHRONOUS,
    CANDIDATES,
    DOUBTS,
    GATE,
    HALVING,
    LIMIT,
    REACHED,
    RUNG_REACHED,
    Gate,
    passes,
    places,
    reason,
)
from ...results.metric import Metric
from ...results.record import JobResult, Record
from ...tasks.metrics.config import PairMetricConfig, metrics
from ...tokenizers.bottlenecks.linear_config import LinearConfig
from ..datasets.config import signal_spec
from ..grid import Cell
from ..suite import Suite
from .base import JobContext, JobKind
from .gate import check_group

VALUES = "values"  # in an asynchronous job's `extra`: of those that have come to the rung so far


@dataclass(frozen=True, kw_only=True)
class HalvingConfig:
    """Successive halving of tokenizers' trainings (Jamieson and Talwalkar 2016, arXiv 1502.07943), off without
    `metric`, a distortion of reconstructions.

    Rungs lie at 1/`eta`, 1/`eta`², ... of the training, down to `min`. At each of them, from the lowest on, the best
    1/`eta` of a group by the metric on `samples` validation samples (0: all) train on, and never fewer than the `best`
    so many. A group is what one data set, and equal values of the facts in `group`, have in common. Of a tokenizer's
    seeds the first `seeds` (None: all) are trained in rungs, and the others once it has passed the last.

    `asynchronous` as in ASHA (Li et al. 2018, arXiv 1810.05934), by its rule that stops: a tokenizer does not wait for
    its group, but trains on if it is among the best 1/`eta`, or `best`, of those that have come before it and itself.
    Before it are those that stand before it in an order drawn from their names, whoever is faster.
    """

    metric: str = ""
    eta: int = 3
    min: float = 0.1
    best: int = 1
    group: tuple[str, ...] = ()
    seeds: int | None = None
    samples: int = 0
    asynchronous: bool = False

    def __post_init__(self) -> None:
        if self.eta < 2:
            raise ValueError(f"eta is at least 2, got {self.eta}")
        if not 0.001 <= self.min < 1:
            raise ValueError(f"min is at least 0.001 and below 1, got {self.min}")
        if not self.shares:
            raise ValueError(f"min is at most 1/eta, which is where the last rung lies, got {self.min}")
        for name in ("best", "seeds"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, got {getattr(self, name)}")
        if self.samples < 0:
            raise ValueError(f"samples is at least 0, got {self.samples}")

    @property
    def is_on(self) -> bool:
        """Whether trainings are stopped early."""
        return bool(self.metric)

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """Where rungs may lie, the lowest first."""
        shares: list[Fraction] = []
        while (share := Fraction(1, self.eta ** (len(shares) + 1))) >= self.min * (1 - 1e-9):
            shares.append(share)
        return tuple(reversed(shares))

    def rungs(self, candidates: int) -> tuple[tuple[Fraction, int], ...]:
        """Of a group of so many tokenizers each rung's share of the training, the lowest first, and how many train on
        from there; rungs that would stop none are left out."""
        result, left = [], candidates
        for share in self.shares:
            limit = passing(left, eta=self.eta, best=self.best)
            if limit < left:
                result.append((share, limit))
                left = limit
        return tuple(result)


def passing(reached: int, *, eta: int, best: int) -> int:
    """How many of so many that have come to a rung train on."""
    return max(best, reached // eta)


class HalvingJob(JobKind):
    """Its record has each training's value and place at a rung. It belongs to a group: see `bench.halving`.

    An asynchronous one is of a single training, whose place is among those `earlier` ones that have come to the rung.
    """

    name, order, version = HALVING, 39, 1
    options = HalvingConfig

    def read(self, table: Mapping[str, Any], where: str) -> HalvingConfig:
        config: HalvingConfig = super().read(table, where)
        if table and not config.is_on:
            raise UserError(f"{where}: needs `metric`, of reconstructions, such as psnr")
        check_group(config.group, where)
        return config

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        """Refuse a metric that some data have not, and what halving does not go together with."""
        config: HalvingConfig = suite.options[self.name]
        if not config.is_on:
            return
        where = f"{suite.where}: {self.name}"
        if suite.options[GATE].is_on:
            raise UserError(f"{where}: not beside gate, which ranks tokenizers that are trained to their end")
        metric = _metric(config.metric, f"{where}.metric")
        for data in dict.fromkeys(cell.data for cell in cells):
            if why := metric.unsupported_reason(signal_spec(data)):
                raise UserError(f"{where}.metric: {metric.kind} of {data.label}: {why}")
        if not any(is_trained(cell) for cell in cells):
            raise UserError(f"{where}: has no effect: the suite trains no tokenizer by steps")

    def run(self, ctx: JobContext) -> JobResult:
        config = ctx.job.config
        before = ctx.record("before") if "before" in ctx.job.depends else None
        earlier = ctx.record("earlier") if "earlier" in ctx.job.depends else None
        absent = [job for record in (before, earlier) if record is not None for job in record.extra[ABSENT]]
        stopped: dict[str, str] = {}
        values: dict[str, float | None] = {}
        for name, jobs in config[CANDIDATES].items():
            if before is not None:
                gate = Gate(job=ctx.job.depends["before"], candidate=name, limit=config["limit"])
                if not passes(before, gate):
                    stopped[name] = reason(before, gate)
                    continue
            records = {job: ctx.store.load_any(*job.split("/")) for job in jobs}
            absent += [job for job, record in records.items() if record is None or record.status == "failed"]
            values[name] = _mean([record for record in records.values() if record is not None], config["metric"])
        extra: dict[str, Any] = {}
        others: dict[str, float | None] = {} if earlier is None else dict(earlier.extra[VALUES])
        if ASYNCHRONOUS in config:
            reached = {name: value for name, value in (others | values).items() if value is not None}
            limit = passing(len(reached), **config[ASYNCHRONOUS])
            extra = {VALUES: reached, REACHED: len(reached), LIMIT: limit}
        elif all(value is None for value in values.values()):
            raise UserError(f"no training has a {config['metric']} after {config['share']} of its steps")
        direction = metrics.get(config["metric"]).direction
        ranks = places(others | values, higher=direction == "higher")
        number = 1 if before is None else before.extra[RUNG_REACHED]["number"] + 1
        standings: dict[str, Any] = {}
        for name in config[CANDIDATES]:
            value = values.get(name)
            note = f"it has no {config['metric']}" if value is None and name not in stopped else ""
            standings[name] = {"value": value, "place": ranks.get(name), "note": note, "stopped": stopped.get(name, "")}
        extra |= {"by": config["metric"], "direction": direction, CANDIDATES: standings}
        extra |= {ABSENT: [*dict.fromkeys(absent)], DOUBTS: []}
        return JobResult(extra=extra | {RUNG_REACHED: {"number": number, "share": config["share"]}})


def is_trained(cell: Cell) -> bool:
    """Whether the cell's tokenizer is trained by steps: no codec, no adapter's, no closed form."""
    tokenizer = cell.tokenizer.unscrambled
    if tokenizer.codec is not None or tokenizer.adapter is not None:
        return False
    if isinstance(tokenizer.bottleneck, LinearConfig) and tokenizer.bottleneck.solve == "closed-form":
        return False
    return tokenizer.training.flops is not None or tokenizer.training.steps > 0


def _metric(name: str, where: str) -> type[PairMetricConfig]:
    if name not in metrics.names():
        raise unknown("metric of reconstructions", name, metrics.names(), where=where)
    config: type[PairMetricConfig] = metrics.get(name)
    return config


def _mean(records: Sequence[Record], name: str) -> float | None:
    """The mean over the seeds that have the metric."""
    measured: list[Metric] = [metric for record in records for metric in record.metrics if metric.name == name]
    values = [metric.value for metric in measured if metric.value is not None]
    return sum(values) / len(values) if values else None
