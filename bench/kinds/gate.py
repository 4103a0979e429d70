"""The job "gate": tokenizers ranked by what is known of them without priors, so that only the best get one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ...results.errors import UserError, unknown
from ...results.gates import ABSENT, GATE
from ...results.record import JobResult
from ...results.rows import SPEC
from ...tasks.proxies import proxies
from ..grid import Cell
from ..suite import Suite
from .base import JobContext, JobKind
from .modelability import chosen_proxies

FITTED = "fitted_jobs"  # in a gate's runtime: those of its candidates' jobs that its score was fitted on
_THIRD = 1 / 3
FACTS = (*SPEC, "discrete", "topology")


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Which tokenizers get priors: the best `share` of each group, or the `best` so many, `by` a column (the way that
    is `better` where it does not say so itself) or by the fitted `score` of a file. A group is what one data set, and
    equal values of the facts in `group`, have in common. Without `by` and `score` all tokenizers get them."""

    by: str = ""
    score: str = ""
    better: Literal["", "lower", "higher"] = ""
    share: float | None = None
    best: int | None = None
    group: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"share lies above 0 and up to 1, got {self.share}")
        if self.best is not None and self.best < 1:
            raise ValueError(f"best is at least 1, got {self.best}")

    @property
    def is_on(self) -> bool:
        """Whether there is a gate."""
        return bool(self.by or self.score)

    def limit(self, candidates: int) -> int:
        """How many of so many pass: the share rounded to a whole number, and never none."""
        if self.best is not None:
            return self.best
        return max(1, math.floor((_THIRD if self.share is None else self.share) * candidates + 0.5))

    def identity(self) -> dict[str, Any]:
        """What ranks: how many pass, and in which groups, is no part of it."""
        if not self.score:
            return {"by": self.by, "better": self.better}
        from ...results.calibration.score_file import from_json

        score = from_json(Path(self.score))
        plain = asdict(replace(score, families=replace(score.families, spearman=None), tables={}))
        outside = ["fitted_jobs", "margins", "left_out", "beyond", "samples"]
        outside += [name for name in ("kinds", "signals") if not plain[name]]
        return {"score": {name: value for name, value in plain.items() if name not in outside}}

    def fitted_jobs(self) -> frozenset[str]:
        """The jobs that made the tokenizers which the score was fitted on."""
        if not self.score:
            return frozenset()
        from ...results.calibration.score_file import from_json

        return from_json(Path(self.score)).fitted_jobs


def check_group(group: Sequence[str], where: str) -> None:
    """Raises UserError for a name in `group` that is no fact of a tokenizer."""
    for i, name in enumerate(group):
        if name not in FACTS:
            raise unknown("fact of a tokenizer", name, FACTS, where=f"{where}.group[{i}]")


class GateJob(JobKind):
    """Its record has each candidate's value and place. It belongs to the cells of a group: see `bench.gates`."""

    name, order, version = GATE, 65, 1
    options = GateConfig

    def read(self, table: Mapping[str, Any], where: str) -> GateConfig:
        config: GateConfig = super().read(table, where)
        if table and not config.is_on:
            raise UserError(f"{where}: needs `by`, a column such as viv, or `score`, a file of `calibrate --fit-score`")
        if config.by and config.score:
            raise UserError(f"{where}: by or score, not both")
        if config.share is not None and config.best is not None:
            raise UserError(f"{where}: share or best, not both")
        if config.score and config.better:
            raise UserError(f"{where}.better: of a score less is better; leave it out")
        check_group(config.group, where)
        return config

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        """Refuse a gate that holds back nothing, or that ranks by a proxy which is not computed."""
        config: GateConfig = suite.options[self.name]
        where = f"{suite.where}: {self.name}"
        if not config.is_on:
            return
        if "generation" not in suite.tasks:
            raise UserError(f"{where}: has no effect without the task generation")
        for name in _columns(config, where):
            measuring = [proxy for proxy in proxies.names() if f"`{name}`" in (proxies.get(proxy).__doc__ or "")]
            chosen = chosen_proxies(suite) if "modelability" in suite.tasks else ()
            if measuring and not set(measuring) & set(chosen):
                raise UserError(
                    f"{where}: {name} is measured by the proxy {measuring[0]}, which this suite does not compute: "
                    "add it to modelability.proxies, and modelability to tasks"
                )

    def run(self, ctx: JobContext) -> JobResult:
        from ...results.calibration.score import Score, Skill, Term
        from ...results.groups import Group
        from ...results.rows import cell_row
        from ...results.standings import standings

        config, runtime = ctx.job.config, ctx.job.runtime
        groups = {}
        for name, cells in runtime["cells"].items():
            rows = tuple(cell_row(ctx.store, runtime["suite"], cell, runtime["kinds"]) for cell in cells)
            facts = {fact: cells[0][fact] for fact in ("dataset", "modality", "recipe", "label", "axes")}
            groups[name] = Group(suite=runtime["suite"], rows=rows, **facts)
        score = None
        if "score" in config:
            plain = dict(config["score"])
            terms = tuple(Term(**term) for term in plain.pop("terms"))
            families, modalities = Skill(**plain.pop("families")), tuple(plain.pop("modalities"))
            domain: dict[str, Any] = {name: tuple(plain.pop(name, ())) for name in ("kinds", "signals")}
            fitted = frozenset(runtime.get(FITTED, ()))
            score = Score(**plain, **domain, terms=terms, families=families, modalities=modalities, fitted_jobs=fitted)
        extra = standings(groups, column=config.get("by", ""), score=score, better=config.get("better", ""))
        jobs = [job for of in config["candidates"].values() for job in of]
        known = {job: ctx.store.load_any(*job.split("/")) for job in dict.fromkeys(jobs)}
        extra[ABSENT] = [job for job, record in known.items() if record is None or record.status == "failed"]
        return JobResult(extra=extra)


def _columns(config: GateConfig, where: str) -> list[str]:
    """The columns that the ranking reads. Raises UserError for a score that can't be read, or has none."""
    if config.by:
        return [config.by]
    from ...results.calibration.score_file import from_json, verdict

    score = from_json(Path(config.score))
    if not score.terms:
        raise UserError(f"{where}.score: {config.score}: {verdict(score)}")
    return [term.proxy for term in score.terms]
