from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from latentbench.results.quantiles import sidak, student, tukey


@pytest.mark.slow
def test_quantiles_are_scipys() -> None:
    for k, freedom in ((3, 4.0), (20, 38.0), (100, 12.0)):
        exact = scipy.stats.studentized_range.ppf(0.95, k, freedom) / math.sqrt(2)
        assert float(tukey(k, np.array(freedom))) == pytest.approx(exact, rel=1e-9)
    freedoms = np.array([1.1, 1.7, 2.2, 3.4, 6.0, 12.0, 50.0, math.inf])
    exact = scipy.stats.studentized_range.ppf(0.95, 5, np.minimum(freedoms, 1e9)) / math.sqrt(2)
    assert tukey(5, freedoms) == pytest.approx(exact, rel=0.01)
    assert float(tukey(2, np.array(7.0))) == pytest.approx(scipy.stats.t.ppf(0.975, 7))


@pytest.mark.parametrize("freedom", [1, 2, 3.0, 4, 5, 5.5, 6, 63, 1e9, math.inf])
def test_students_point_is_scipys(freedom: float) -> None:
    exact = scipy.stats.t.ppf(0.975, freedom) if math.isfinite(freedom) else scipy.stats.norm.ppf(0.975)
    assert student(freedom) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("entries", [3, 20, 1000])
@pytest.mark.parametrize("freedom", [1.0, 1.5, 3.0, 16.0, 300.0])
def test_the_range_is_integrated_well(entries: int, freedom: float) -> None:
    quantile = math.sqrt(2) * float(tukey(entries, np.array(freedom)))
    assert scipy.stats.studentized_range.cdf(quantile, entries, freedom) == pytest.approx(0.95, abs=1e-5)


def test_sidaks_point_is_that_of_as_many_independent_pairs() -> None:
    assert sidak(2, np.array([5.0, 63.0])) == pytest.approx(scipy.stats.t.ppf(0.975, [5, 63]))
    point = float(sidak(4, np.array(11.0)))
    assert (1 - 2 * scipy.stats.t.sf(point, 11)) ** 6 == pytest.approx(0.95)
    assert float(sidak(20, np.array(np.inf))) == pytest.approx(scipy.stats.norm.ppf((1 + 0.95 ** (1 / 190)) / 2))
