"""How far a score errs on families that its fit has not seen, and how sure a choice by it is for that reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..quantiles import student
from .correlation import Array
from .score import Score

_DRAWS = 4000


def errors_by_family(score: Score) -> list[Array]:
    """Measured less predicted of the tokenizers of each family, by the fit that had not seen it; standard deviations of
    a table's outcome. Empty for a score whose file does not have them."""
    families: dict[int, list[float]] = {}
    for row in score.left_out:
        families.setdefault(row.family, []).append(row.measured - row.predicted)
    return [np.array(errors) for errors in families.values()]


def half_width(score: Score) -> float | None:
    """Half of the interval about a score that holds 95 % of the outcomes of a new family's tokenizers: Student's t, the
    families' mean squared errors being one observation each. None for a score without left-out errors."""
    errors = errors_by_family(score)
    if len(errors) < 2:
        return None
    return student(len(errors) - 1) * math.sqrt(float(np.mean([np.mean(of**2) for of in errors])))


def chances(scores: Sequence[float], families: Sequence[str], score: Score, *, seed: int = 0) -> Array:
    """How probable it is of each tokenizer that it has the best outcome of all (n,), given their scores and families.

    Errors are drawn from those on left-out families: for each of the candidates' families the mean error of a fitted
    one, less that of all, and for each tokenizer of it a deviation from the family's mean, both √(m/(m − 1)) times as
    large since the mean is that of m alone. In each draw all are larger or smaller together, as much as so few families
    leave open (√(k/χ²ₖ) times, k being one less than their number). It is right in the mean if the candidates' families
    are drawn as the fitted ones were. Raises ValueError for a score without left-out errors of two families.
    """
    errors = errors_by_family(score)
    if len(errors) < 2:
        raise ValueError("the score has no errors on left-out families")
    rng = np.random.default_rng(seed)
    deviations = [_deviations(of) for of in errors]
    pool = np.concatenate(deviations)
    if not len(pool):  # no family says how alike its own are
        families = [str(i) for i in range(len(families))]
    numbers = {family: i for i, family in enumerate(dict.fromkeys(families))}
    family = np.array([numbers[name] for name in families], dtype=np.intp)
    drawn = rng.integers(len(errors), size=(_DRAWS, len(numbers)))[:, family]
    drawn_errors = _deviations(np.array([of.mean() for of in errors]))[drawn]
    if len(pool):
        choices = [of if len(of) else pool for of in deviations]
        sizes = np.array([len(of) for of in choices])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        place = starts[drawn] + (rng.random(drawn.shape) * sizes[drawn]).astype(np.intp)
        drawn_errors += np.concatenate(choices)[place]
    freedom = len(errors) - 1
    width = np.sqrt(freedom / rng.chisquare(freedom, (_DRAWS, 1)))
    outcomes = np.asarray(scores, dtype=float) + width * drawn_errors
    best = outcomes == outcomes.min(1, keepdims=True)  # equal outcomes share
    shares: Array = (best / best.sum(1, keepdims=True)).mean(0)
    return shares


def _deviations(errors: Array) -> Array:
    """Errors about their mean, as large as those about the mean of endlessly many would be; none of one error."""
    count = len(errors)
    return (errors - errors.mean()) * math.sqrt(count / (count - 1)) if count > 1 else errors[:0]
