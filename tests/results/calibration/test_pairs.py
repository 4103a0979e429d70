"""Pairs of proxies: two halves of the truth are it together, and noise is not."""

from __future__ import annotations

import numpy as np
import pytest

from latentbench.results.calibration.observations import Observation, Observations, Predictor
from latentbench.results.calibration.pairs import with_pairs
from latentbench.results.calibration.report import calibrate
from latentbench.results.errors import UserError


def table(values: np.ndarray, outcome: np.ndarray, *predictors: Predictor) -> Observations:
    items = tuple(
        Observation(
            name=str(i),
            family=str(i // 3),
            outcome=(float(y),),
            values={p.name: float(v) for p, v in zip(predictors, row, strict=True)},
        )
        for i, (row, y) in enumerate(zip(values, outcome, strict=True))
    )
    return Observations(title="t", outcome="y", direction="lower", items=items, predictors=predictors)


def test_two_halves_of_the_truth() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, 3))
    made = with_pairs(
        table(
            x,
            x[:, 0] - x[:, 1],
            Predictor(name="a", direction="lower", seconds=1.0),
            Predictor(name="b", direction="higher", seconds=2.0),
            Predictor(name="c", direction="none"),
        )
    )
    assert [p.name for p in made.predictors] == ["a", "b", "c", "a + b"]
    assert made.predictors[-1].seconds == 3
    reports = {report.predictor.name: report for report in calibrate(made, draws=50).proxies}
    best = reports["a + b"].correlations["spearman", "overall"].value
    assert best > 0.9
    assert best > abs(reports["a"].correlations["spearman", "overall"].value) + 0.1
    assert reports["a + b"].p["overall"] < 0.05


def test_a_pair_has_the_rows_of_both() -> None:
    items = table(
        np.eye(6, 2), np.arange(6.0), Predictor(name="a", direction="lower"), Predictor(name="b", direction="lower")
    )
    short = items.items[0]
    short.values.pop("b")  # type: ignore[attr-defined]
    made = with_pairs(items)
    assert "a + b" not in made.items[0].values
    # the other rows: a is 0 but for none of them, b is 1 for the second row alone
    assert [made.items[i].values["a + b"] for i in range(1, 6)] == [(3 + 5) / 2, *[(3 + 2.5) / 2] * 4]


def test_a_cost_that_is_not_known_of_both_is_not_known() -> None:
    known = Predictor(name="a", direction="lower", seconds=1.0, share_of_flops=0.1)
    made = with_pairs(table(np.eye(6, 2), np.arange(6.0), known, Predictor(name="b", direction="lower", seconds=2.0)))
    assert (made.predictors[-1].seconds, made.predictors[-1].share_of_flops) == (3.0, None)


def test_a_column_that_is_called_as_a_pair() -> None:
    names = ("a", "b", "a + b")
    many = [Predictor(name=name, direction="lower") for name in names]
    with pytest.raises(UserError, match=r"--pairs: a column is called 'a \+ b', as the pair of the two is: rename it"):
        with_pairs(table(np.eye(6, 3), np.arange(6.0), *many))


def test_too_many() -> None:
    many = [Predictor(name=f"p{i}", direction="lower") for i in range(40)]
    with pytest.raises(UserError, match="40 proxies make 780 pairs"):
        with_pairs(table(np.ones((4, 40)), np.arange(4.0), *many))
