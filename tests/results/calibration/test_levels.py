"""Within, across and overall; and whether their intervals hold what they promise."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

from latentbench.results.calibration.levels import (
    LEVELS,
    Rows,
    correlate,
    half_widths,
    level_coefficient,
    of_normal,
    resample,
)

BENCH = Path(__file__).parents[2] / "coverage" / "calibration.py"


def rows(x: list[float], y: list[float], family: list[int]) -> Rows:
    return Rows(x=np.array(x), outcomes=[np.array([v]) for v in y], family=np.array(family), place=np.arange(len(x)))


def simpson() -> Rows:
    """Five families that each rise, and whose means fall."""
    x, y, family = [], [], []
    for f in range(5):
        for i in range(4):
            x.append(10.0 * f + i)
            y.append(-10.0 * f + i)
            family.append(f)
    return rows(x, y, family)


def test_simpsons_paradox_is_seen() -> None:
    table = simpson()
    values = {level: level_coefficient(level, "spearman", table) for level in LEVELS}
    assert values["within"] == pytest.approx(1)
    assert values["across"] == pytest.approx(-1)
    assert values["overall"] < -0.8


def test_within_is_weighted_by_rows_less_one() -> None:
    table = rows([1, 2, 3, 1, 2, 3, 4, 5], [1, 2, 3, 5, 4, 3, 2, 1], [0, 0, 0, 1, 1, 1, 1, 1])
    assert level_coefficient("within", "pearson", table) == pytest.approx((2 * 1 + 4 * -1) / 6)


def test_small_families_have_no_coefficient_of_their_own() -> None:
    table = rows([1, 2, 3, 4], [1, 2, 4, 3], [0, 0, 1, 1])
    drawn = resample(table, 10, 0)
    assert correlate("within", "spearman", table, drawn) is None
    assert correlate("across", "spearman", table, drawn) is None  # two families
    overall = correlate("overall", "spearman", table, drawn)
    assert overall is not None
    assert overall.value == pytest.approx(0.8)
    assert overall.low is None  # four rows


def test_perfect_order_of_few_rows_is_not_certain() -> None:
    table = rows([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [0] * 6)
    result = correlate("overall", "spearman", table, resample(table, 200, 0))
    assert result is not None
    assert result.value == 1
    assert result.low is not None
    assert result.low < 0.6
    assert result.high == 1


def test_equal_seeds_give_equal_intervals() -> None:
    table = simpson()
    first, second = (correlate("overall", "kendall", table, resample(table, 100, 3)) for _ in range(2))
    assert first == second


def test_families_are_drawn_whole() -> None:
    table = simpson()
    weights = resample(table, 50, 0).weights
    by_family = weights.reshape(50, 5, 4)
    assert (by_family == by_family[:, :, :1]).all()
    assert (by_family.sum(1)[:, 0] == 5).all()


def test_rows_are_drawn_where_families_are_few() -> None:
    table = rows([1, 2, 3, 4, 5, 6], [1, 3, 2, 5, 4, 6], [0, 0, 0, 1, 1, 1])
    weights = resample(table, 50, 0).weights
    assert (weights[:, :3].sum(1) == 3).all()
    assert (weights[:, 3:].sum(1) == 3).all()
    assert len(np.unique(weights[:, 0])) > 1


@pytest.mark.parametrize("correlation", [0.3, 0.8])
def test_what_normal_pairs_are_expected_to_have(correlation: float) -> None:
    """20,000 families of three and of five pairs."""
    rng = np.random.default_rng(0)
    means = {"spearman": [], "kendall": []}  # type: ignore[var-annotated]
    for n in (3, 5):
        x, other = rng.normal(size=(2, 20_000, n))
        y = correlation * x + np.sqrt(1 - correlation**2) * other
        a, b = rankdata(x, axis=1), rankdata(y, axis=1)
        means["spearman"].append((1 - 6 * ((a - b) ** 2).sum(1) / (n * (n * n - 1))).mean())
        means["kendall"].append(np.mean([kendalltau(*pair).statistic for pair in zip(x[:1000], y[:1000], strict=True)]))
    table = rows([0.0] * 8, [0.0] * 8, [0] * 3 + [1] * 5)
    of_three = rows([0.0] * 3, [0.0] * 3, [0] * 3)
    at = np.array([correlation])
    assert of_normal("overall", "spearman", of_three, at)[0] == pytest.approx(means["spearman"][0], abs=0.015)
    within = (2 * means["spearman"][0] + 4 * means["spearman"][1]) / 6
    assert of_normal("within", "spearman", table, at)[0] == pytest.approx(within, abs=0.015)
    assert of_normal("within", "kendall", table, at)[0] == pytest.approx(np.mean(means["kendall"]), abs=0.04)
    assert of_normal("overall", "spearman", table, np.array([1.0]))[0] == pytest.approx(1)


def test_bars_have_one_variance_for_all_rows() -> None:
    """Two seeds 2 and 0 apart, and three: a variance of (2 + 0 + 2)/4; t of 4 degrees of freedom is 2.776."""
    halves = half_widths([np.array([1.0, 3.0]), np.array([5.0, 5.0]), np.array([1.0, 2.0, 3.0])])
    assert halves == pytest.approx([2.776 / 2**0.5, 2.776 / 2**0.5, 2.776 / 3**0.5], rel=1e-3)
    assert (half_widths([np.array([1.0]), np.array([2.0])]) == 0).all()


@pytest.mark.slow
def test_intervals_of_comparisons_cover() -> None:
    """The gain over the best baseline, and the partial coefficient, at eight families of four rows."""
    shares = runpy.run_path(str(BENCH))["coverage_of_comparisons"](8, 4, 1.0, 1.0, draws=12, resamples=60)
    assert min(shares.values()) >= 0.75  # 12 draws of .95 lie above it 99.8 % of the time, of .5 in 7 %


@pytest.mark.slow
def test_intervals_cover() -> None:
    """The bench's settings, small: eight families of four rows, two seeds."""
    coverage = runpy.run_path(str(BENCH))["coverage"]
    setting = {"families": 8, "members": 4, "seeds": 2, "between": -0.5, "within": 0.9}
    results = coverage(draws=40, resamples=60, repeats=2, **setting)
    assert set(results) == {(level, kind) for level in LEVELS for kind in ("spearman", "kendall", "pearson")}
    for key, (share, width) in results.items():
        assert share >= 0.85, key  # 40 draws of .95 lie above it 99.7 % of the time
        assert 0.1 < width < 1.9, key
