from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from latentbench.results.metric import Direction
from latentbench.results.pairwise import compare
from latentbench.results.samples import Samples
from latentbench.results.statistics import (
    Entry,
    alike,
    difference_interval,
    mean_interval,
    pareto,
)

A = [20.0, 20.4, 20.1, 20.9]
B = [20.5, 20.8, 20.6, 21.2]


def distinguishable(a: Entry, b: Entry) -> bool:
    difference = difference_interval(a, b)
    return difference is not None and difference.significant


def entry(*values: float, first: int = 0, within: tuple[float, float] | None = None) -> Entry:
    return Entry(values={first + seed: value for seed, value in enumerate(values)}, within=within)


@pytest.mark.parametrize("values", [A, A[:2], [1e6, 1e6 + 1e-3, 1e6 - 1e-3]])
def test_mean_interval_is_scipys_t_interval(values: list[float]) -> None:
    estimate = mean_interval(values)
    expected = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    assert (estimate.low, estimate.high) == pytest.approx(expected, rel=1e-12)
    assert estimate.value == pytest.approx(np.mean(values), rel=1e-15)
    assert estimate.half == pytest.approx((expected[1] - expected[0]) / 2)
    assert estimate.n == len(values)


def test_one_seed_has_the_interval_of_its_run_or_none() -> None:
    estimate = mean_interval([3.0], (2.5, 4.0))
    assert (estimate.low, estimate.high, estimate.half) == (2.5, 4.0, 0.75)
    assert mean_interval([3.0]).half is None
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def test_equal_seeds_are_paired() -> None:
    difference = difference_interval(entry(*A), entry(*B))
    expected = scipy.stats.ttest_rel(A, B)
    interval = expected.confidence_interval(0.95)
    assert difference is not None
    assert difference.method == "paired"
    assert (difference.low, difference.high) == pytest.approx(tuple(interval), rel=1e-12)
    # What pairing is for: the seeds' common ups and downs cancel.
    assert difference.significant
    assert not distinguishable(entry(*A), entry(*B, first=9))


def test_other_seeds_are_welchs() -> None:
    difference = difference_interval(entry(*A), entry(*B[:3], first=2))
    expected = scipy.stats.ttest_ind(A, B[:3], equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert difference is not None
    assert difference.method == "welch"
    assert (difference.low, difference.high) == pytest.approx(tuple(interval), rel=1e-12)


def test_single_seeds_combine_their_own_intervals() -> None:
    a, b = entry(5.0, within=(4.0, 6.5)), entry(2.0, within=(0.5, 4.0))
    difference = difference_interval(a, b)
    assert difference is not None
    assert difference.low == pytest.approx(3 - math.hypot(1.0, 2.0))
    assert difference.high == pytest.approx(3 + math.hypot(1.5, 1.5))
    assert difference.significant
    # Symmetric normal intervals give the z test.
    z = 1.959963984540054
    a, b = entry(1.0, within=(1 - 0.3 * z, 1 + 0.3 * z)), entry(0.0, within=(-0.4 * z, 0.4 * z))
    difference = difference_interval(a, b)
    assert difference is not None
    assert (difference.low, difference.high) == pytest.approx((1 - 0.5 * z, 1 + 0.5 * z))


def test_nothing_is_said_without_an_interval() -> None:
    assert difference_interval(entry(1.0), entry(9.0)) is None
    assert difference_interval(entry(1.0), entry(*A)) is None
    assert difference_interval(entry(), entry(*A)) is None
    assert not distinguishable(entry(1.0), entry(9.0))


def test_seeds_that_change_nothing_say_nothing_of_uncertainty() -> None:
    # JPEG at quality 50 and 51, two seeds: the same values twice are not an uncertainty of 0.
    assert entry(28.04, 28.04).estimate.half is None
    assert difference_interval(entry(28.04, 28.04), entry(28.03, 28.03)) is None
    a, b = (Entry(values={0: v, 1: v}, within=(v - 0.3, v + 0.3)) for v in (28.04, 28.03))
    assert a.estimate.half == pytest.approx(0.3)
    difference = difference_interval(a, b)
    assert difference is not None
    assert difference.method == "independent"
    assert not difference.significant
    # Entries that differ by the same amount under every seed: Welch's interval, not one without width.
    assert not distinguishable(entry(1.0, 2.0), entry(1.5, 2.5))


def sampled(values: np.ndarray, data: str = "data/x") -> Entry:
    """Values by sample `[S, M]`, as an entry of S seeds."""
    means = {seed: float(of_seed.mean()) for seed, of_seed in enumerate(values)}
    read = {seed: Samples(data=data, values=of_seed) for seed, of_seed in enumerate(values)}
    return Entry(values=means, within=(-1e3, 1e3) if len(values) == 1 else None, read=lambda: read)


def mirrored(values: np.ndarray) -> np.ndarray:
    """The values and their negatives, which have no skewness: their interval is Student's."""
    return np.concatenate([values, -values])


def test_one_seed_is_compared_sample_by_sample() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(28, 4, size=64)
    b = a - 0.4 + mirrored(generator.normal(0, 0.5, size=32))
    difference = difference_interval(sampled(a[None]), sampled(b[None]))
    interval = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
    assert difference is not None
    assert difference.method == "samples"
    assert (difference.low, difference.high) == pytest.approx(tuple(interval), rel=1e-9)
    assert difference.significant
    # Other data, or another number of samples: not the same samples.
    other = difference_interval(sampled(a[None]), sampled(b[None], data="data/y"))
    assert other is not None
    assert other.method == "independent"


def test_samples_that_are_not_defined_are_left_out() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=40)
    b = a + mirrored(generator.normal(size=20))
    a[3] = a[23] = b[7] = b[27] = math.nan
    defined = np.isfinite(a) & np.isfinite(b)
    difference = difference_interval(
        Entry(values={0: 1.0}, read=lambda: {0: Samples(data="d", values=a)}),
        Entry(values={0: 0.0}, read=lambda: {0: Samples(data="d", values=b)}),
    )
    interval = scipy.stats.ttest_rel(a[defined], b[defined]).confidence_interval(0.95)
    assert difference is not None
    assert difference.high - difference.low == pytest.approx(interval.high - interval.low)


def test_frozen_entries_have_their_uncertainty_from_samples() -> None:
    values = 28 + mirrored(np.random.default_rng(0).normal(0, 4, size=25))
    estimate = sampled(np.stack([values, values])).estimate
    assert estimate.half == pytest.approx(scipy.stats.t.ppf(0.975, 49) * scipy.stats.sem(values))
    assert not distinguishable(sampled(np.stack([values] * 2)), sampled(np.stack([values] * 2)))
    assert distinguishable(sampled(np.stack([values] * 2)), sampled(np.stack([values - 1] * 2)))


def test_numbers_of_any_size_have_statistics() -> None:
    entries = [entry(1e299, -1e299, 0.0), entry(1e299, 9e299, first=7), entry(5.0, within=(-9e299, 9e299))]
    for a in entries:
        for b in entries:
            assert not distinguishable(a, b)


def test_the_difference_is_antisymmetric() -> None:
    for a, b in ((entry(*A), entry(*B)), (entry(*A), entry(3.0, within=(2.0, 5.0)))):
        one, other = difference_interval(a, b), difference_interval(b, a)
        assert one is not None
        assert other is not None
        assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


def band(value: float, half: float = 0.5) -> Entry:
    return entry(value, within=(value - half, value + half))


def ranked(entries: list[Entry], direction: Direction) -> list[int | None]:
    return compare(entries).ranks(direction)


def test_ranks_share_what_cant_be_told_apart() -> None:
    # Half-widths of .5 are .707 for a difference, and 1.393 of that among five (Tukey): .985.
    entries = [band(3.0), band(1.0), band(2.9), band(1.95), band(2.5)]
    assert ranked(entries, "higher") == [1, 4, 1, 2, 1]  # 3.0 beats 1.95; 2.9 does not
    assert ranked(entries, "lower") == [3, 1, 2, 1, 2]  # 1.0 beats all but 1.95, which beats 3.0 alone
    # Two lines are a pair named in advance: .707.
    assert ranked([band(1.0), band(1.7)], "higher") == [1, 1]
    assert ranked([band(1.0), band(1.72)], "higher") == [2, 1]


def test_entries_that_nothing_is_known_of_have_no_rank() -> None:
    assert ranked([band(1.0), entry(), entry(7.0), band(5.0)], "higher") == [2, None, None, 1]
    assert ranked([band(1.0), entry()], "higher") == [1, None]
    with pytest.raises(ValueError, match="no direction"):
        ranked([band(1.0)], "none")


def test_alike_lists_every_group_without_a_pair_apart() -> None:
    assert alike(3, []) == [[0, 1, 2]]
    assert alike(3, [(0, 2)]) == [[0, 1], [1, 2]]
    assert alike(2, [(0, 1)]) == []
    assert alike(4, [(0, 1), (2, 3)]) == [[0, 2], [0, 3], [1, 2], [1, 3]]
    assert alike(14, [(2 * i, 2 * i + 1) for i in range(7)]) is None


def test_alike_covers_exactly_the_pairs_that_are_not_apart() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        n = int(generator.integers(2, 8))
        pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
        apart = [pair for pair in pairs if generator.random() < 0.5]
        groups = alike(n, apart, limit=1000)
        assert groups is not None
        together = {(i, j) for group in groups for i in group for j in group if i < j}
        assert together == set(pairs) - set(apart)
        assert not any(set(a) < set(b) for a in groups for b in groups)


def test_pareto() -> None:
    points = [(1.0, 10.0), (2.0, 20.0), (2.0, 15.0), (3.0, 20.0), (0.5, None), (1.0, 10.0)]
    assert pareto(points, ["lower", "higher"]) == [True, True, False, False, False, True]
    assert pareto(points[:4], ["higher", "higher"]) == [False, False, False, True]
    with pytest.raises(ValueError, match="no direction"):
        pareto(points, ["none", "higher"])


def test_interval_covers_the_mean_in_95_percent_of_draws() -> None:
    generator = np.random.default_rng(0)
    draws = generator.normal(7.0, 2.0, size=(2000, 3))
    inside = 0
    for draw in draws:
        estimate = mean_interval(draw.tolist())
        assert estimate.low is not None
        assert estimate.high is not None
        inside += estimate.low <= 7.0 <= estimate.high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)
