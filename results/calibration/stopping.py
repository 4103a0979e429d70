"""Whether a tokenizer's full prior may be left out or stopped early, given its score and that of the best so far.

The error is to stop one whose outcome would have been better than the best so far. A threshold on the difference of
their scores holds it down as split conformal prediction does (Vovk et al. 2005). Its units are pairs of families, each
family in one pair: margins of pairs that share a family go together, and would be fewer than they seem. Two new
families are taken to be drawn as the fitted ones were; nothing is assumed of how outcomes or their noise are
distributed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..comparable import SCORE
from ..groups import doubts_column
from ..rows import Row
from .correlation import Array
from .observations import Observations
from .score import Score, ScoreTable, fit_terms, together


def pair_margins(tables: Sequence[Observations], *, terms: int = 2, least: int = 0, seed: int = 0) -> tuple[float, ...]:
    """By pair of families the largest difference score − score' between a tokenizer of the first and a truly worse one
    of the second in the same table: what a threshold must exceed for none of the first to be stopped wrongly.

    Families of a table are paired at random. Scores are by a fit that saw neither, proxies being chosen anew; where it
    takes none, the margin is ∞. Raises UserError as `fit_score` does.
    """
    data = together(tables)
    margins = []
    for first, second in _pairs(data, np.random.default_rng(seed)):
        inside = np.isin(data.family, (first, second))
        rows, rest = np.flatnonzero(inside), np.flatnonzero(~inside)
        chosen, intercept, weights, centre, spread = fit_terms(data, rest, terms, least)
        scores = intercept + ((data.x[rows][:, chosen] - centre) / spread) @ weights
        ours = data.family[rows] == first
        margin = max(
            margin_of(scores[ours & here], data.y[rows][ours & here], scores[~ours & here], data.y[rows][~ours & here])
            for here in (data.table[rows] == number for number in np.unique(data.table[rows]))
        )
        margins.append(margin if chosen else math.inf)
    return tuple(margins)


def margin_of(scores: Array, outcomes: Array, other_scores: Array, other_outcomes: Array) -> float:
    """The largest score − other score where the outcome is better than the other, of both of which lower is better; at
    least 0. Scores and outcomes `(n,)` and others' `(m,)`."""
    wronged = outcomes[:, None] < other_outcomes
    return float(np.where(wronged, scores[:, None] - other_scores, 0.0).max(initial=0.0))


def _pairs(data: ScoreTable, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Families of one table by twos, each in one pair at most."""
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for table in np.unique(data.table):
        families = rng.permutation(np.unique(data.family[data.table == table]))
        free = [int(family) for family in families if int(family) not in taken]
        pairs += zip(free[::2], free[1::2], strict=False)
        taken = {family for pair in pairs for family in pair}
    return pairs


def threshold(margins: Sequence[float], risk: float) -> float:
    """How much worse than the best's a score must be for its tokenizer to be stopped.

    Of two new families the chance is at most `risk` that a tokenizer of the first is stopped in favour of one of the
    second though it would have been better: the ⌈(1 − risk)(pairs + 1)⌉-th smallest margin, and ∞ where there are
    fewer than 1/risk − 1 pairs. Raises ValueError unless 0 < risk < 1.
    """
    if not 0 < risk < 1:
        raise ValueError(f"risk must lie between 0 and 1, got {risk}")
    place = math.ceil((1 - risk) * (len(margins) + 1) - 1e-9)
    return sorted(margins)[place - 1] if place <= len(margins) else math.inf


def may_stop(candidate: Row, best: Row, score: Score, *, risk: float = 0.1) -> bool:
    """Whether the candidate's prior may be stopped, `best` being the row with the best outcome so far in its table.

    Both rows are those of `scored.with_score`. Never where the score has shown no skill, where one of the two is
    withheld or to be doubted (outside the domain, fitted on), and where pairs of families are too few for the risk.
    Raises ValueError for rows of two tables, which no score compares.
    """
    for name in ("suite", "dataset", "modality"):
        if candidate[name] != best[name]:
            raise ValueError(f"a score orders the tokenizers of one table: {name} {candidate[name]} and {best[name]}")
    own, others = candidate.get(SCORE), best.get(SCORE)
    if (
        not score.has_skill
        or own is None
        or others is None
        or any(row.get(doubts_column(SCORE)) for row in (candidate, best))
    ):
        return False
    return bool(own - others > threshold(score.margins, risk))
