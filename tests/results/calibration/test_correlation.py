"""Coefficients against SciPy, on rows repeated as often as their weights say."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from latentbench.results.calibration import correlation
from latentbench.results.calibration.correlation import KINDS, Kind, coefficient, coefficients, partial

REFERENCE = {"spearman": stats.spearmanr, "kendall": stats.kendalltau, "pearson": stats.pearsonr}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [5, 25])
@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_weighted_rows_are_repeated_rows(kind: Kind, n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = np.round(rng.normal(size=(2, n)), 1)
    weights = rng.multinomial(n, [1 / n] * n, size=20).astype(float)
    repeated = [np.repeat(np.arange(n), row.astype(int)) for row in weights]
    expected = [REFERENCE[kind](x[rows], y[rows])[0] for rows in repeated]
    assert coefficients(kind, x, y, weights) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
def test_each_resample_may_have_its_own_outcome(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=8), rng.normal(size=(5, 8))
    together = coefficients(kind, x, y, np.ones((5, 8)))
    assert together == pytest.approx([coefficient(kind, x, one) for one in y])


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_vary_has_no_coefficient(kind: Kind) -> None:
    x = np.arange(6.0)
    assert np.isnan(coefficient(kind, x, np.full(6, 0.1)))
    assert np.isnan(coefficient(kind, np.full(6, 1e9 + 0.1), x))
    assert np.isnan(coefficient(kind, x[:1], x[:1]))


def test_partial_is_the_formula_of_three_ranks() -> None:
    """ρ_xy.z = (ρ_xy − ρ_xz ρ_yz) / √((1 − ρ_xz²)(1 − ρ_yz²))."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=40)
    x, y = z + rng.normal(size=40), z - rng.normal(size=40)
    xy, xz, yz = (stats.spearmanr(a, b)[0] for a, b in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial(x, y, z[:, None]) == pytest.approx(expected, abs=1e-12)


def test_partial_of_what_is_held_fixed() -> None:
    z = np.arange(10.0)
    assert np.isnan(partial(z, np.random.default_rng(0).normal(size=10), z[:, None]))
    assert np.isnan(partial(z[:3], z[:3], z[:3, None]))


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_any_size_have_their_coefficient(kind: Kind) -> None:
    """Squares of 1e200 are no numbers; a warning is an error here."""
    x, y = np.random.default_rng(2).normal(size=(2, 12))
    expected = coefficient(kind, x, y)
    for size in (2.0**900, 2.0**-900):
        assert coefficient(kind, x * size, y / size) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("several", [False, True])
def test_blocks_change_nothing(kind: Kind, several: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=40).round(1), rng.normal(size=(30 if several else 1, 40)).round(1)
    weights = rng.multinomial(40, [1 / 40] * 40, size=30).astype(float)
    whole = coefficients(kind, x, y, weights)
    monkeypatch.setattr(correlation, "_LARGEST_BLOCK", 130)
    assert coefficients(kind, x, y, weights).tolist() == whole.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_resamples_times_pairs_of_rows(kind: Kind) -> None:
    rng = np.random.default_rng(4)
    x, y, weights = rng.normal(size=200), rng.normal(size=(1000, 200)), np.ones((1000, 200))
    tracemalloc.start()
    coefficients(kind, x, y, weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1000 * 200 * 200 * 8 / 3  # bytes: one array of all pairs, of which there were several
