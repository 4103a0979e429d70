"""Errors on families left out: how wide they make a prediction, and how sure a choice."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from latentbench.results.calibration.left_out import chances, errors_by_family, half_width
from latentbench.results.calibration.score import LeftOut, Score, fit_score
from latentbench.results.calibration.score_file import from_json, to_json

from .test_score import table


@cache
def fitted() -> Score:
    return fit_score([table(np.random.default_rng(0), weight=3, proxies=2)], draws=10)


def score_with(*errors: tuple[float, ...]) -> Score:
    """A score with these errors, a tuple for each family."""
    rows = [LeftOut(family=i, predicted=1.0, measured=1.0 + e) for i, of in enumerate(errors) for e in of]
    return replace(fitted(), left_out=tuple(rows))


def test_a_fit_remembers_what_it_said_of_families_left_out(tmp_path: Path) -> None:
    observed = table(np.random.default_rng(0), weight=3, proxies=4)
    score = fit_score([observed], draws=10)
    means = np.array([item.mean for item in observed.items])
    assert [row.measured for row in score.left_out] == pytest.approx((means - means.mean()) / means.std())
    squares = sum((row.predicted - row.measured) ** 2 for row in score.left_out)
    rest = [means[[other.family != item.family for other in observed.items]].mean() for item in observed.items]
    around = (((means - rest) / means.std()) ** 2).sum()
    assert score.families.explained == pytest.approx(1 - squares / around)
    assert [len(of) for of in errors_by_family(score)] == [3] * 8
    (tmp_path / "s.json").write_text(to_json(score, [observed]))
    assert from_json(tmp_path / "s.json").left_out == score.left_out


def test_the_width_is_students_over_families() -> None:
    # Mean squares 1 and 4 of two families; 12.706 is the 97.5 % point of t with one degree of freedom.
    assert half_width(score_with((1.0, -1.0), (2.0,))) == pytest.approx(12.7062 * math.sqrt(2.5), rel=1e-4)
    assert half_width(score_with((1.0,))) is None
    assert half_width(replace(score_with((1.0,)), left_out=())) is None


def test_chances_are_those_of_normal_errors() -> None:
    """Two tokenizers of two families whose scores are d apart: the first is the better one with Φ(d / (σ√2))."""
    rng = np.random.default_rng(0)
    score = score_with(*[(float(e),) for e in rng.standard_normal(4000)])
    for distance in (0.0, 1.0, 3.0):
        probability = 0.5 * (1 + math.erf(distance / 2))
        first, second = chances([0.0, distance], ["a", "b"], score)
        assert first == pytest.approx(probability, abs=0.03)
        assert first + second == pytest.approx(1)


def test_tokenizers_of_a_family_err_together() -> None:
    """Where errors are the families' alone, they change no order inside one."""
    score = score_with(*[(e, e) for e in (-3.0, -1.0, 1.0, 3.0)])
    assert chances([0.0, 0.1], ["a", "a"], score).tolist() == [1.0, 0.0]
    assert chances([0.0, 0.0], ["a", "a"], score).tolist() == [0.5, 0.5]
    assert 0.3 < chances([0.0, 0.1], ["a", "b"], score)[1] < 0.5
    alone = score_with(*[(e,) for e in (-3.0, -1.0, 1.0, 3.0)])  # which say nothing of how alike a family's are
    assert 0.3 < chances([0.0, 0.1], ["a", "a"], alone)[1] < 0.5
    mixed = score_with((-3.0,), (2.0,), (-1.0, 1.0))
    assert 0 < chances([0.0, 1.0], ["a", "a"], mixed)[1] < 0.5
    with pytest.raises(ValueError, match="no errors on left-out families"):
        chances([0.0], ["a"], score_with((1.0,)))


@pytest.mark.slow
def test_a_choice_is_as_sure_as_it_says() -> None:
    """Of 150 sets of twelve new tokenizers of four families, each with errors of seven others to judge by: the best is
    among the three with the best scores as often as is said, in the mean."""
    rng = np.random.default_rng(0)

    def errors(families: int) -> np.ndarray:
        return rng.uniform(0.3, 1.2, (families, 1)) * (
            rng.standard_t(5, (families, 1)) + rng.standard_normal((families, 3))
        )

    said, true = [], []
    for _ in range(150):
        score, scores = score_with(*map(tuple, errors(7).tolist())), rng.standard_normal(12)
        three = scores.argsort()[:3]
        said.append(chances(scores.tolist(), list("aaabbbcccddd"), score)[three].sum())
        true.append((scores + errors(4).ravel()).argmin() in three)
    assert 0.4 < np.mean(said) < 0.8
    assert np.mean(true) == pytest.approx(np.mean(said), abs=0.08)
