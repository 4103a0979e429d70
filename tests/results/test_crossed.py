from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from latentbench.results.crossed import crossed, crossed_pair


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
    values = np.random.default_rng(0).normal(size=20)
    spread = crossed([values])
    assert spread is not None
    assert spread.half == pytest.approx(scipy.stats.t.ppf(0.975, 19) * scipy.stats.sem(values))
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
        inside += abs(values.mean()) <= spread.half
    assert 0.92 <= inside / 400 <= 0.995
