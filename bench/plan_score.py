"""Which of a plan's tokenizers deserve a full prior, by a fitted score of what is measured already. Torch-free."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..results.calibration.made import made
from ..results.calibration.ranking import Candidate, Choice, choose, outcome_metric, percent
from ..results.calibration.run_records import cell_name
from ..results.calibration.score import Score
from ..results.calibration.score_file import verdict
from ..results.calibration.scored import described, scored_rows, usable_score
from ..results.display import printable
from ..results.errors import UserError
from ..results.groups import Group
from ..results.metric import Metric
from ..results.rows import Row, cell_row, is_number
from ..results.store import Store
from .forecast import clock
from .gates import LATENTS, PRIOR, below, candidate_groups
from .grid import is_prior_axis
from .kinds import kinds
from .kinds.gate import GateConfig
from .plan import Plan
from .plan_cost import PlanCost
from .planned_cell import PlannedCell


@dataclass(frozen=True, kw_only=True)
class TableAdvice:
    """The `choice` among the tokenizers of one data set, what each lacks of what its score needs, and the `jobs` of
    each one's full priors, by its name; their FLOPs are those of the plan."""

    data: str
    choice: Choice
    lacking: Mapping[str, str]
    jobs: Mapping[str, Sequence[str]]
    cost: PlanCost

    def flops(self, candidates: Sequence[Candidate]) -> float:
        """The FLOPs of the candidates' priors, and of all that reads them."""
        return sum(self.cost.jobs[name].flops for name in self._jobs(candidates))

    def _jobs(self, candidates: Sequence[Candidate]) -> set[str]:
        return {job for item in candidates for job in self.jobs[item.name]}

    def doubts(self, item: Candidate) -> str:
        """What is to be doubted of a candidate's score, or why it has none."""
        return "; ".join(filter(None, [*item.doubts, self.lacking[item.name]]))

    def mark(self, place: int, item: Candidate) -> str:
        """What is advised: yes, no ("leave out"), or nothing; and whether its priors are trained already."""
        advised = "leave out" if item.stopped else "yes" if place in self.choice.places else ""
        return ", ".join(filter(None, [advised, "is trained" if item.outcome is not None else ""]))

    def lines(self) -> list[str]:
        """For people: a table, how sure the choice is, and what it costs."""
        rows: list[tuple[str, ...]] = [("full prior", printable(self.data), "score", "is the best", "TFLOP", "")]
        for place, item in enumerate(self.choice.candidates):
            half = "" if item.half is None else f" ±{item.half:.1g}"
            rows.append(
                (
                    self.mark(place, item),
                    printable(item.name),
                    "none" if item.value is None else f"{item.value:.3g}{half}",
                    percent(item.chance),
                    f"{self.flops([item]) / 1e12:.3g}",
                    printable(self.doubts(item)),
                )
            )
        filled = [i for i in range(len(rows[0])) if i < 3 or any(row[i] for row in rows[1:])]
        rows = [tuple(row[i] for i in filled) for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return [*table, "", *self.choice.lines(), *self._price()]

    def _price(self) -> list[str]:
        chosen, every = self.choice.chosen, self.choice.candidates
        if not any(self.jobs.values()):
            return ["The suite trains no priors, so that their cost is not known: add generation to tasks."]
        if not chosen:
            return [f"Full priors of all {len(every)}: {_tera(self.flops(every))}."]
        of, whole = self.flops(chosen), self.flops(every)
        hours = [clock(self.cost.span_of(self._jobs(items)).seconds) for items in (chosen, every)]
        share = f"{100 * of / whole:.0f} % of the {_tera(whole)} of all {len(every)}"
        return [
            f"Full priors of the chosen {len(chosen)}: {_tera(of)}, {share}; still {hours[0]} hours, not {hours[1]}."
        ]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        every, chosen = self.choice.candidates, self.choice.chosen
        return {
            "data": self.data,
            "candidates": [
                {
                    "name": item.name,
                    "score": item.value,
                    "half": item.half,
                    "is_best": item.chance,
                    "chosen": place in self.choice.places,
                    "may_be_left_out": item.stopped,
                    "outcome": item.outcome,
                    "prior_flops": self.flops([item]),
                    "doubts": self.doubts(item) or None,
                }
                for place, item in enumerate(every)
            ],
            "sure": self.choice.sure,
            "flops": self.flops(chosen),
            "flops_of_all": self.flops(every),
            "seconds": self.cost.span_of(self._jobs(chosen)).seconds,
            "seconds_of_all": self.cost.span_of(self._jobs(every)).seconds,
        }


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What a score advises for each of a plan's data sets."""

    score: Score
    tables: tuple[TableAdvice, ...]

    def lines(self) -> list[str]:
        """For people."""
        result = [verdict(self.score), f"Score: {printable(described(self.score))}."]
        for table in self.tables:
            result += ["", *table.lines()]
        return result

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        known = {"has_skill": self.score.has_skill, "protocol": described(self.score)}
        return known | {"tables": [table.to_json() for table in self.tables]}


def advise(plan: Plan, file: Path, store: Store, cost: PlanCost, *, best: int, risk: float = 0.1) -> Advice:
    """What the score of a file advises by the records in `store`: the `best` so many of each data set; `risk` is that
    of `stopping.may_stop`. Raises UserError for a file that is no score, one without terms, and a suite that makes no
    latents."""
    score = usable_score(file)
    with_latents = [planned for planned in plan.cells if LATENTS in planned.jobs]
    groups = candidate_groups(with_latents, group=GateConfig().group, kind=LATENTS)
    if not groups:
        raise UserError(
            f"{plan.suite.where}: tasks make no latents, so that no proxy can be measured: add modelability"
        )
    reader = _Reader(plan=plan, score=score, store=store, held=below(plan.jobs, lambda job: job.kind == PRIOR))
    result = []
    for data, candidates in groups.items():
        read = [(reader.group(members), members) for members in candidates.values()]
        members_of = {cell_name(group): members for group, members in read}
        choice = choose([group for group, _ in read], score, best=best, risk=risk)
        result.append(
            TableAdvice(
                data=data,
                choice=choice,
                lacking={item.name: reader.lacking(item, members_of[item.name]) for item in choice.candidates},
                jobs={name: reader.prior_jobs(members) for name, members in members_of.items()},
                cost=cost,
            )
        )
    return Advice(score=score, tables=tuple(result))


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads what the `store` has of a plan's tokenizers; `held` are the jobs of priors and what reads them."""

    plan: Plan
    score: Score
    store: Store
    held: Collection[str]

    def group(self, members: Sequence[PlannedCell]) -> Group:
        """One tokenizer's rows with their scores, a row per seed: of its priors the one that did best."""
        facts = members[0].cell.to_json()
        facts["axes"] = {axis: value for axis, value in facts["axes"].items() if not is_prior_axis(axis)}
        shared = {name: facts[name] for name in ("recipe", "label", "axes")}
        names, outcome = [kind.name for kind in kinds()], outcome_metric(self.score)
        by_latents: dict[str, Row] = {}
        for planned in members:
            cell: Any = planned.to_json() | shared
            row = cell_row(self.store, self.plan.suite.name, cell, names)
            other = by_latents.get(planned.jobs["latents"])
            if other is None or _is_better(row.metrics.get(outcome), other.metrics.get(outcome)):
                by_latents[planned.jobs["latents"]] = row
        rows = tuple(scored_rows([*by_latents.values()], self.score))
        known = {name: facts[name] for name in ("dataset", "modality", "recipe", "axes")}
        return Group(suite=self.plan.suite.name, label=str(rows[0]["label"]), rows=rows, **known)

    def lacking(self, item: Candidate, members: Sequence[PlannedCell]) -> str:
        """What has still to be done for a score, where seeds have none for want of a proxy."""
        known = [_proxies(row) for row in item.group.rows]
        missing = [term.proxy for term in self.score.terms if any(term.proxy not in names for names in known)]
        jobs = {job: kind for cell in members for kind, job in cell.jobs.items() if job not in self.held}
        ends = {job: self.store.load_any(*job.split("/")) for job in jobs}
        failed = {jobs[job] for job, record in ends.items() if record is not None and record.status == "failed"}
        waiting = {jobs[job] for job, record in ends.items() if record is None}
        texts = []
        for kind in dict.fromkeys(_measured_by(proxy) for proxy in missing):
            if kind not in jobs.values():
                texts.append(f"add {kind} to the suite's tasks")
            elif "tokenizer" in waiting | failed:
                texts.append("its tokenizer is not trained" if "tokenizer" in waiting else "its tokenizer has failed")
            elif kind in failed:
                texts.append(f"{kind} has failed")
            else:
                texts.append(f"{kind} is not done" if kind in waiting else f"{kind} of this suite does not measure it")
        return "; ".join(dict.fromkeys(texts))

    def prior_jobs(self, members: Sequence[PlannedCell]) -> list[str]:
        """The jobs of a tokenizer's priors, and what reads them."""
        return sorted({job for cell in members for job in cell.jobs.values() if job in self.held})


def _proxies(row: Row) -> Collection[str]:
    """The columns of a row that have a number, those that are made of them too."""
    return made(row).keys() | {name for name in (*row.columns, *row.metrics) if is_number(row.get(name))}


def _measured_by(proxy: str) -> str:
    """The task whose job measures the proxy."""
    starts = {"cfd_": "closed_form", "micro_": "micro_prior"}
    return next((kind for start, kind in starts.items() if proxy.startswith(start)), "modelability")


def _is_better(metric: Metric | None, other: Metric | None) -> bool:
    """Whether one prior's outcome is better than another's, or alone known."""
    if metric is None or metric.value is None:
        return False
    if other is None or other.value is None:
        return True
    return metric.value > other.value if metric.direction == "higher" else metric.value < other.value


def _tera(flops: float) -> str:
    return f"{flops / 1e12:.3g} TFLOP"
