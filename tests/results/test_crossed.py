from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from latentbench.results.crossed import crossed, crossed_pair, skewness_of, unskewed
from latentbench.results.quantiles import student


def test_parts_are_the_expected_mean_squares() -> None:
    values = np.random.default_rng(0).normal(size=(4, 30)) + np.arange(4)[:, None]
    spread = crossed(list(values))
    assert spread is not None
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    mean_square = (rest**2).sum() / (3 * 29)
    assert spread.rest == pytest.approx(mean_square / 120)
    assert spread.seeds == pytest.approx(values.mean(1).var(ddof=1) / 4)
    assert spread.samples == pytest.approx(values.mean(0).var(ddof=1) / 30)
    assert (spread.seeds_freedom, spread.samples_freedom) == (3, 29)


def test_one_seed_is_a_t_interval_over_samples() -> None:
    half = np.random.default_rng(0).normal(size=10)
    values = np.concatenate([half, -half])
    spread = crossed([values])
    assert spread is not None
    half = scipy.stats.t.ppf(0.975, 19) * scipy.stats.sem(values)
    assert (*spread.half_widths, spread.half) == pytest.approx((half, half, half))
    assert crossed([np.array([1.0, math.nan, math.nan])]) is None


def test_unpaired_seeds_keep_their_samples_paired() -> None:
    generator = np.random.default_rng(0)
    shared = 10 * generator.normal(size=50)
    a, b = shared + generator.normal(size=(3, 50)), shared + generator.normal(size=(2, 50))
    spread = crossed_pair(list(a), list(b))
    assert spread is not None
    assert spread.samples == pytest.approx((a.mean(0) - b.mean(0)).var(ddof=1) / 50)
    assert spread.seeds == pytest.approx(a.mean(1).var(ddof=1) / 3 + b.mean(1).var(ddof=1) / 2)


@pytest.mark.parametrize(("seeds", "own"), [(2, 0.3), (3, 0.1), (5, 0.0)])
def test_the_interval_covers_the_mean_over_seeds_and_samples(seeds: int, own: float) -> None:
    # 94 to 99 % over 300 draws by hand (tests/coverage/ranks.py); most with few seeds, where both count.
    generator = np.random.default_rng(seeds)
    inside = 0
    for _ in range(400):
        values = (
            generator.normal(0, own, size=(seeds, 1))
            + generator.exponential(2, size=64)
            - 2
            + generator.normal(0, 0.5, size=(seeds, 64))
        )
        spread = crossed(list(values))
        assert spread is not None
        below, above = spread.half_widths
        inside += -above <= values.mean() <= below
    assert 0.92 <= inside / 400 <= 0.995


def test_skewness_moves_the_quantile_on_its_side_as_its_formula_says() -> None:
    # f(T) = T + g T²/3 + g² T³/27 + g/6 at the end of the interval is the quantile itself.
    for skewness, samples in ((0.0, 20.0), (1e-9, 20.0), (0.8, 20.0), (-2.0, 64.0), (3.0, 12.0)):
        below, above = (float(x) for x in unskewed(np.array(2.0), np.array(skewness), np.array(samples)))
        g = abs(skewness) / math.sqrt(samples)
        far, near = (above, below) if skewness >= 0 else (below, above)
        assert -far + g * far**2 / 3 - g**2 * far**3 / 27 + g / 6 == pytest.approx(-2.0, abs=1e-8)
        assert near == pytest.approx(2.0, abs=1e-8)
    assert skewness_of(np.array([1.0, 1.0, 1.0])) == 0.0
    assert skewness_of(1e200 * np.array([0.0, 0.0, 1.0])) == pytest.approx(skewness_of(np.array([0.0, 0.0, 1.0])))


@pytest.mark.parametrize(("samples", "student_covers"), [(12, 0.885), (32, 0.92)])
def test_skewed_samples_are_covered(samples: int, student_covers: float) -> None:
    # tests/coverage/ranks.py prints more; Student's t covers 87 to 90 % here, and errs on one side.
    generator, draws = np.random.default_rng(samples), 1500
    inside = with_t = 0
    for _ in range(draws):
        values = generator.gamma(0.5, size=samples) - 0.5
        spread = crossed([values])
        assert spread is not None
        below, above = spread.half_widths
        inside += -above <= values.mean() <= below
        with_t += abs(values.mean()) <= student(samples - 1) * math.sqrt(spread.samples)
    assert 0.92 <= inside / draws <= 0.98
    assert with_t / draws <= student_covers
