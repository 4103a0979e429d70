"""All entries of a table at once. tests/coverage/ranks.py simulates what is here in small."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import scipy.stats

from latentbench.results import pairwise
from latentbench.results.pairwise import MOST, best, compare
from latentbench.results.quantiles import sidak, student, tukey
from latentbench.results.samples import Samples
from latentbench.results.statistics import Entry, difference_interval


def entries(values: np.ndarray) -> list[Entry]:
    """Entries of `[k, S]`, without the cells that are NaN."""
    return [Entry(values={s: float(v) for s, v in enumerate(row) if not math.isnan(v)}) for row in values]


def sampled(values: np.ndarray, data: str = "d") -> list[Entry]:
    """Entries of `[k, S, M]`."""
    read = [{s: Samples(data=data, values=v) for s, v in enumerate(of_entry)} for of_entry in values]
    return [
        Entry(values={s: float(np.nanmean(v)) for s, v in enumerate(of_entry)}, read=lambda by_seed=by_seed: by_seed)
        for of_entry, by_seed in zip(values, read, strict=True)
    ]


def test_half_widths_are_those_of_the_blocked_analysis_of_variance() -> None:
    values = np.random.default_rng(0).normal(size=(5, 4)) + np.arange(4)
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    spread = math.sqrt((rest**2).sum() / 12)
    half = scipy.stats.studentized_range.ppf(0.95, 5, 12) * spread / math.sqrt(4)
    compared = compare(entries(values))
    off = ~np.eye(5, dtype=bool)
    assert compared.below[off] == pytest.approx(np.full(20, half))
    assert compared.values[0, 1] == pytest.approx(values[0].mean() - values[1].mean())


def test_missing_cells_are_least_squares() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=(4, 4)) + 5 * generator.normal(size=4)
    values[0, 1] = values[2, 3] = values[3, 0] = math.nan
    # The same by dummies: x = entry + seed, the first seed left out.
    rows, columns = np.nonzero(~np.isnan(values))
    design = np.hstack([np.eye(4)[rows], np.eye(4)[columns][:, 1:]])
    response = values[rows, columns]
    coefficients = np.linalg.lstsq(design, response, rcond=None)[0]
    spread = ((response - design @ coefficients) ** 2).sum() / (len(response) - 7)
    covariance = spread * np.linalg.inv(design.T @ design)
    variance = covariance[0, 0] + covariance[2, 2] - 2 * covariance[0, 2]
    half = scipy.stats.studentized_range.ppf(0.95, 4, len(response) - 7) * math.sqrt(variance / 2)
    compared = compare(entries(values))
    assert compared.below[0, 2] == pytest.approx(half)
    # The point between the ends is the difference of entries under the same seeds, not of bare means.
    assert compared.values[0, 2] == pytest.approx(coefficients[0] - coefficients[2])


def test_two_entries_are_a_pair_named_in_advance() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5))
    a, b = entries(values)
    pair = difference_interval(a, b)
    assert pair is not None
    assert compare([a, b]).below[0, 1] == pytest.approx(pair.value - pair.low)
    empty = Entry(values={})
    assert compare([a, empty, b]).below[0, 2] == pytest.approx(pair.value - pair.low)
    assert compare([]).ranks("higher") == []
    assert compare([empty]).ranks("higher") == [None]
    assert compare([a]).ranks("higher") == [1]
    assert compare([Entry(values={0: 1.0})]).best("higher") == []


def test_entries_that_seeds_do_not_change_are_not_pooled() -> None:
    generator = np.random.default_rng(0)
    varying = generator.normal(size=(4, 3))
    frozen = [Entry(values=dict.fromkeys(range(3), v), within=(v - 0.5, v + 0.5)) for v in (0.0, 0.1)]
    bare = [Entry(values=dict.fromkeys(range(3), v)) for v in (0.0, 50.0)]
    alone = compare(entries(varying)).below[0, 1] / float(tukey(4, np.array(6.0)))
    compared = compare([*entries(varying), *frozen, *bare])
    assert compared.below[0, 1] / float(tukey(8, np.array(6.0))) == pytest.approx(alone)
    assert not compared.apart[4, 5]
    assert compared.apart[0, 7]
    assert math.isnan(compared.below[6, 7])  # nothing is known of either: not a difference with ±0


def test_very_different_spreads_are_not_pooled() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(6, 4)) * np.array([0.01, 0.01, 0.01, 1, 1, 1])[:, None]
    values[1] += 0.5
    compared = compare(entries(values))
    assert compared.apart[0, 1]
    assert compared.below[0, 1] < 0.2 * compared.below[3, 4]


def test_seeds_that_nothing_links() -> None:
    generator = np.random.default_rng(0)
    disjoint = [
        Entry(values={10 * i + s: float(v) for s, v in enumerate(row)})
        for i, row in enumerate(generator.normal(size=(4, 3)))
    ]
    spread = np.mean([np.var(list(entry.values.values()), ddof=1) for entry in disjoint])
    half = scipy.stats.studentized_range.ppf(0.95, 4, 8) * math.sqrt(spread / 3)
    assert compare(disjoint).below[0, 1] == pytest.approx(half)


def test_one_seed_is_compared_sample_by_sample() -> None:
    generator = np.random.default_rng(0)
    half = 0.3 * generator.normal(size=(4, 1, 32))
    values = generator.normal(28, 4, size=64) + np.concatenate([half, -half], axis=2)  # no skewness
    compared = compare(sampled(values))
    half = float(sidak(4, np.array(63.0))) * scipy.stats.sem(values[0, 0] - values[1, 0])
    assert compared.below[0, 1] == pytest.approx(half)
    # Those without values by sample are compared by what is known of them.
    rest = Entry(values={0: 20.0}, within=(19.0, 21.0))
    mixed = compare([*sampled(values), rest])
    assert math.isfinite(mixed.below[0, 1])
    assert math.isnan(mixed.below[0, 4])


def test_seeds_and_samples_both_count() -> None:
    generator = np.random.default_rng(0)
    half = generator.normal(size=(4, 1, 32))
    own = np.concatenate([half, -half], axis=2)  # no skewness
    values = generator.normal(28, 4, size=64) + generator.normal(size=(4, 3, 1)) + own
    both = compare(sampled(values)).below[0, 1]
    seeds = compare(entries(values.mean(2))).below[0, 1]
    factor = float(sidak(4, np.array(63.0)))
    samples = factor * scipy.stats.sem((values[0] - values[1]).mean(0))
    assert both == pytest.approx(math.hypot(seeds, samples), rel=0.02)
    # Copies of one run under several seeds: samples alone.
    frozen = np.repeat(values[:, :1], 3, axis=1)
    assert compare(sampled(frozen)).below[0, 1] == pytest.approx(factor * scipy.stats.sem(values[0, 0] - values[1, 0]))


def test_skewed_differences_are_those_of_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    # All pairs at once, with Student's quantile in the place of Šidák's, are the pairs one by one.
    generator = np.random.default_rng(0)
    values = generator.normal(28, 4, size=40) + generator.exponential(1, size=(3, 1, 40)) ** 2
    monkeypatch.setattr(pairwise, "sidak", lambda k, freedom: np.vectorize(student)(freedom))
    entries = sampled(values)
    compared = compare(entries)
    for i, j in ((0, 1), (2, 0), (1, 2)):
        pair = difference_interval(entries[i], entries[j])
        assert pair is not None
        assert (compared.below[i, j], compared.above[i, j]) == pytest.approx(
            (pair.value - pair.low, pair.high - pair.value)
        )
        assert compared.below[j, i] == pytest.approx(compared.above[i, j])
        assert abs(compared.below[i, j] / compared.above[i, j] - 1) > 0.05


def test_equals_are_seldom_ranked_and_what_differs_is_told_apart() -> None:
    # 300 tables by hand: 4.3 % of 20 equals over three seeds, 6 % before the pooled intervals' power of .86 at 4 sd.
    generator = np.random.default_rng(0)
    false = told = 0
    for _ in range(120):
        values = generator.normal(size=(20, 3))
        false += any(rank != 1 for rank in compare(entries(values)).ranks("higher"))
        values[0] += 4
        told += bool(compare(entries(values)).apart[0, 1])
    assert false <= 12
    assert told >= 90


def test_equals_over_seeds_and_samples_are_seldom_ranked() -> None:
    generator = np.random.default_rng(0)
    false = 0
    for _ in range(100):
        values = (
            generator.normal(0, 3, size=32)
            + generator.normal(0, 0.1, size=(6, 3, 1))
            + generator.normal(0, 0.5, size=(6, 1, 32))
            + generator.normal(0, 0.3, size=(6, 3, 32))
        )
        false += any(rank != 1 for rank in compare(sampled(values)).ranks("higher"))
    assert false <= 11


def test_single_seeds_combine_their_skewed_intervals() -> None:
    within = [(0.0, 3.0), (1.0, 2.5), (-1.0, 9.0)]
    lines = [Entry(values={0: 2.0}, within=ends) for ends in within] + [Entry(values={0: 5.0})]
    compared = compare(lines)
    widened = scipy.stats.studentized_range.ppf(0.95, 4, np.inf) / math.sqrt(2) / 1.959964
    assert compared.below[0, 2] == pytest.approx(widened * math.hypot(2.0, 7.0), rel=1e-4)  # MOVER, both ends apart
    assert compared.above[0, 2] == pytest.approx(widened * math.hypot(1.0, 3.0), rel=1e-4)
    assert compared.below[2, 0] == compared.above[0, 2]
    assert np.isnan(compared.below[3]).all()
    assert compared.ranks("higher") == [1, 1, 1, None]


def test_more_lines_than_anybody_reads_are_not_compared() -> None:
    lines = entries(np.random.default_rng(0).normal(size=(MOST + 1, 2)))
    compared = compare(lines)
    assert (compared.ranks("higher"), compared.best("lower"), compared.differences()) == ([], [], {})


@pytest.mark.slow
def test_six_hundred_lines_are_fast() -> None:
    values = np.random.default_rng(0).normal(size=(600, 3)) + np.arange(600)[:, None]
    lines = entries(values)
    start = time.process_time()  # half a second on an idle core
    compared = compare(lines)
    compared.ranks("higher")
    compared.differences()
    assert time.process_time() - start < 4


@pytest.mark.parametrize("sort", ["alike", "unlike", "frozen", "balanced"])
def test_the_best_alone_are_those_of_the_whole_comparison(sort: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(150):
        drawn = []
        for _ in range(rng.integers(1, 9)):
            seeds = 3 if sort == "balanced" else int(rng.integers(0, 4))
            spread = 10.0 ** rng.integers(-1, 2) if sort == "unlike" else 1.0
            values = {seed: float(rng.normal() * spread) for seed in range(seeds)}
            if sort == "frozen" and rng.random() < 0.3:
                values = dict.fromkeys(values, float(rng.normal()))
            within = (min(values.values()) - 0.1, max(values.values()) + 0.1) if values and rng.random() < 0.5 else None
            drawn.append(Entry(values=values, within=within))
        for direction in ("higher", "lower"):
            assert best(drawn, direction) == compare(drawn).best(direction)


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_best_alone_by_samples_too(seeds: int) -> None:
    rng = np.random.default_rng(6)
    for _ in range(40):
        values = rng.normal(size=(rng.integers(3, 7), seeds, 20)) + rng.normal(size=20)
        lines = [*sampled(values), *entries(rng.normal(size=(rng.integers(0, 2), 2)))]
        for direction in ("higher", "lower"):
            assert best(lines, direction) == compare(lines).best(direction)
