"""Which tokenizers deserve a full prior: ordered by a fitted score, and how sure a choice among them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..comparable import SCORE
from ..display import printable
from ..filters import select
from ..groups import Group, aggregate, direction_of, split
from ..rows import rows
from .left_out import chances, half_width
from .run_records import cell_name
from .score import Score
from .score_file import verdict
from .scored import described, usable_score, with_score
from .stopping import may_stop

_LOGARITHM = ("log ", "log_")  # how an outcome's name begins that is one


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A tokenizer: its score, None where it has none, with half of the 95 % interval that seeds or proxies leave it;
    how probably it has the best outcome of those with a score, where the score's file tells; its outcome, where it is
    measured; whether it may be left out for what the best one so far has, if its own is not; and what is to be
    doubted."""

    group: Group
    value: float | None
    half: float | None
    chance: float | None
    outcome: float | None
    stopped: bool
    doubts: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its label with its place on the axes."""
        return cell_name(self.group)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The candidates of one table, the best score first and those without one last. Of the first `best` those are
    chosen that may not be left out."""

    candidates: tuple[Candidate, ...]
    best: int
    score: Score

    @property
    def places(self) -> tuple[int, ...]:
        """The places, from 0, of those that deserve a full prior."""
        first = enumerate(self.candidates[: self.best])
        return tuple(place for place, item in first if item.value is not None and not item.stopped)

    @property
    def chosen(self) -> tuple[Candidate, ...]:
        """Those that deserve a full prior."""
        return tuple(self.candidates[place] for place in self.places)

    @property
    def scored(self) -> int:
        """How many have a score."""
        return sum(item.value is not None for item in self.candidates)

    @property
    def sure(self) -> float | None:
        """How probably the best of those with a score is among the chosen; None where the score's file has no errors
        on families left out."""
        known = [item.chance for item in self.chosen if item.chance is not None]
        return min(sum(known), 1.0) if known else None

    def lines(self) -> list[str]:
        """How sure the choice is, in words."""
        if self.sure is None:
            return []
        count = len(self.chosen)
        place = f"among the chosen {count}" if count > 1 else "the chosen one"
        odds = f"a probability of {self.sure:.2f} (by chance {count / self.scored:.2f})"
        basis = "by the score's errors on families that it was not fitted on"
        result = [f"The best of the {self.scored} with a score is {place} with {odds}, {basis}."]
        if half := half_width(self.score):
            result.append(f"Of new families 95 % lie within ±{half:.2g} standard deviations of their score.")
        if missing := len(self.candidates) - self.scored:
            result.append(f"It says nothing of {missing} without a score.")
        if any(item.doubts for item in self.candidates if item.value is not None):
            result.append("It takes scores that are to be doubted as they are.")
        return result


def choose(groups: Sequence[Group], score: Score, *, best: int, risk: float = 0.1) -> Choice:
    """The choice among the tokenizers of one table, whose rows are those of `scored.scored_rows`. `risk` is that of
    `stopping.may_stop`."""
    order = sorted(groups, key=_order)
    known = [group for group in order if group.mean(SCORE) is not None]
    probable: list[float | None] = [None] * len(order)
    if len({row.family for row in score.left_out}) > 1 and known:
        values = [value for group in known if (value := group.mean(SCORE)) is not None]
        probable[: len(known)] = chances(values, [group.label for group in known], score).tolist()
    outcome = outcome_metric(score)
    leader = _leader(order, outcome)
    return Choice(
        candidates=tuple(
            Candidate(
                group=group,
                value=group.mean(SCORE),
                half=estimate.half if (estimate := group.estimate(SCORE)) is not None else None,
                chance=chance,
                outcome=group.mean(outcome),
                stopped=group.mean(outcome) is None and leader is not None and _may_stop(group, leader, score, risk),
                doubts=group.doubts(SCORE),
            )
            for group, chance in zip(order, probable, strict=True)
        ),
        best=best,
        score=score,
    )


def ranking(score: Path, dirs: Sequence[Path], *, where: Sequence[str] = (), best: int = 3) -> list[str]:
    """Lines of Markdown: by suite and data set the tokenizers, the best score first, with what is to be doubted (that
    the score was fitted on it too); those whose score is withheld come last. The first `best` are marked. Raises
    UserError where no cell has a score."""
    fitted = usable_score(score)
    tables = split(aggregate(with_score(select(rows(dirs), list(where)), score)))
    lines = [verdict(fitted), "", f"Score: {printable(described(fitted))}.", ""]
    for table in tables:
        first, choice = table[0], choose(table, fitted, best=best)
        chance = choice.sure is not None
        lines += [
            f"## {printable(first.suite)} · {printable(first.dataset)} ({first.modality})",
            "",
            f"| full prior | tokenizer | score (lower is better) |{' is the best |' if chance else ''} |",
            f"| --- | --- | ---: |{' ---: |' if chance else ''} --- |",
        ]
        for place, item in enumerate(choice.candidates):
            mark = "yes" if place in choice.places else ""
            number = "withheld" if item.value is None else f"{item.value:.3g}"
            share = f" {percent(item.chance)} |" if chance else ""
            lines.append(f"| {mark} | {printable(item.name)} | {number} |{share} {printable('; '.join(item.doubts))} |")
        lines += ["", *([" ".join(choice.lines()), ""] if chance else [])]
    return lines[:-1]


def outcome_metric(score: Score) -> str:
    """The column that the score predicts, itself or its logarithm."""
    for start in _LOGARITHM:
        if score.outcome.startswith(start):
            return score.outcome[len(start) :]
    return score.outcome


def percent(chance: float | None) -> str:
    """A probability as a table has it: 41 %, <1 %."""
    if chance is None:
        return ""
    return "<1 %" if 0 < chance < 0.005 else f"{100 * chance:.0f} %"


def _order(group: Group) -> tuple[bool, float]:
    value = group.mean(SCORE)
    return value is None, value or 0.0


def _leader(groups: Sequence[Group], outcome: str) -> Group | None:
    """The tokenizer with the best outcome so far."""
    measured = [group for group in groups if group.mean(outcome) is not None]
    sign = -1.0 if direction_of(measured, outcome) == "higher" else 1.0
    return min(measured, key=lambda group: sign * (group.mean(outcome) or 0.0), default=None)


def _may_stop(group: Group, leader: Group, score: Score, risk: float) -> bool:
    """Whether `may_stop` holds of every seed against every seed of the leader."""
    return all(may_stop(row, other, score, risk=risk) for row in group.rows for other in leader.rows)
