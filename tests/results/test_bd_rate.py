"""BD-rate against published values and the package `bjontegaard`, its interval against resampling and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from latentbench.results.bd_rate import BdRate, Curve, bd_rate, log_ratio
from latentbench.results.errors import UserError
from latentbench.results.samples import Samples
from latentbench.results.statistics import Entry

Array = NDArray[np.float64]

# Rates and PSNR of two pairs of encoders, with the BD-rate that the package of version 1.3.0 gives for PCHIP.
PUBLISHED = [
    (
        ([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851]),
        ([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987]),
        -4.417485350589,
    ),
    (
        ([686.76, 309.58, 157.11, 85.95], [40.28, 37.18, 34.24, 31.42]),
        ([893.34, 407.8, 204.93, 112.75], [40.39, 37.21, 34.17, 31.24]),
        31.379878202398,
    ),
]


def exact(label: str, rates: list[float], qualities: list[float], *, higher: bool = True) -> Curve:
    entries = [[Entry(values={0: value}) for value in column] for column in (rates, qualities)]
    return Curve(label=label, rates=entries[0], qualities=entries[1], higher=higher)


@pytest.mark.parametrize(("anchor", "test", "expected"), PUBLISHED)
def test_published_values(
    anchor: tuple[list[float], list[float]], test: tuple[list[float], list[float]], expected: float
) -> None:
    result = bd_rate(exact("a", *anchor), exact("b", *test))
    assert result.value == pytest.approx(expected, abs=1e-9)
    assert (result.low, result.high) == (None, None)  # one seed, no values by sample: nothing is known
    # Turned over, quality is a distance, of which less is better.
    below = [[-q for q in qualities] for _, qualities in (anchor, test)]
    turned = bd_rate(exact("a", anchor[0], below[0], higher=False), exact("b", test[0], below[1], higher=False))
    assert turned.value == pytest.approx(expected, abs=1e-9)
    assert turned.between == pytest.approx((-result.between[1], -result.between[0]))


def test_the_package_agrees() -> None:
    package = pytest.importorskip("bjontegaard")
    rng = np.random.default_rng(0)
    for count in (4, 5, 7):
        curves = []
        for _ in range(2):
            rates = np.exp(np.sort(rng.normal(size=count)) + 0.2 * np.arange(count))
            curves.append((rates.tolist(), (30 + 3 * np.log(rates) + 0.1 * np.arange(count)).tolist()))
        expected = package.bd_rate(*curves[0], *curves[1], method="pchip", min_overlap=0)
        assert bd_rate(exact("a", *curves[0]), exact("b", *curves[1])).value == pytest.approx(expected, abs=1e-8)


def test_a_constant_saving_is_that_saving() -> None:
    rates, psnr = [1.0, 2.0, 4.0, 8.0], [20.0, 23.0, 27.0, 28.0]
    assert bd_rate(exact("a", rates, psnr), exact("b", [0.75 * r for r in rates], psnr)).value == pytest.approx(-25.0)
    # halved rates over 20 to 28 dB against an anchor that reaches 18 to 26
    shifted = bd_rate(exact("a", rates, [18, 21, 25, 26]), exact("b", rates, psnr))
    assert shifted.between == (20, 26)
    assert shifted.overlap == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("rates", "psnr", "message"),
    [
        ([1, 2, 4], [20, 22, 24], "b has 3 of the 4 points that a curve needs"),
        ([1, 2, 4, 8], [20, 22, 21, 24], "b does not get better with every bit: 22 at a rate of 2, 21 at 4"),
        ([1, 2, 2, 8], [20, 22, 23, 24], "b does not get better with every bit: 22 at a rate of 2, 23 at 2"),
        ([0, 2, 4, 8], [20, 22, 23, 24], "b has a rate that is not above 0"),
        (
            [1, 2, 4, 8],
            [26, 27, 28, 29],
            r"a \(20 to 26\) and b \(26 to 29\) share 0% of the quality that they span; at least 50% is needed",
        ),
        ([1, 2, 4, 8], [24, 27, 28, 29], "share 22% of the quality"),
    ],
)
def test_what_says_nothing_is_refused(rates: list[float], psnr: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bd_rate(exact("a", [1, 2, 4, 8], [20, 22, 24, 26]), exact("b", rates, psnr))


def measured(rates: Array, psnr: Array, *, label: str = "c", data: str = "d") -> Curve:
    """A curve of values `[P, S, M]`: points, seeds, samples."""
    columns = []
    for values in (rates, psnr):
        columns.append(
            [
                Entry(
                    values={seed: float(x.mean()) for seed, x in enumerate(point)},
                    read=lambda point=point: {s: Samples(data=data, values=x) for s, x in enumerate(point)},  # type: ignore[misc]
                )
                for point in values
            ]
        )
    return Curve(label=label, rates=columns[0], qualities=columns[1])


def drawn(rng: np.random.Generator, *, samples: int, seeds: int) -> tuple[Array, Array, Array, Array]:
    """Two curves of four points, the second with 20 % fewer bits: hard samples take more bits and come back worse under
    both; seeds move the second."""
    hard = rng.normal(size=samples)
    steps = np.arange(4.0)[:, None, None]
    bits, quality = np.exp(0.7 * steps + 0.3 * hard - 0.3**2 / 2), 24 + 2.5 * steps - 2 * hard

    def noise(seeds: int, size: float) -> Array:
        return size * rng.normal(size=(4, seeds, samples))

    of_seeds = 0.2 * rng.normal(size=(1, seeds, 1)) if seeds > 1 else 0.0
    return (
        bits * (1 + noise(1, 0.05)),
        quality + noise(1, 0.5),
        0.8 * bits * (1 + noise(seeds, 0.05)),
        quality + noise(seeds, 0.5) + of_seeds,
    )


def of_draw(draw: tuple[Array, Array, Array, Array]) -> BdRate:
    return bd_rate(measured(draw[0], draw[1]), measured(draw[2], draw[3]))


def test_the_interval_is_that_of_resampled_samples() -> None:
    rng = np.random.default_rng(1)
    draw = drawn(rng, samples=100, seeds=1)
    result = of_draw(draw)
    resampled = []
    for _ in range(400):
        rows = rng.integers(0, 100, size=100)
        rates, psnr, other_rates, other_psnr = (x[..., rows].mean((1, 2)) for x in draw)
        ratio = log_ratio(np.stack([np.log10(rates), psnr]), np.stack([np.log10(other_rates), other_psnr]))
        resampled.append(100 * (10**ratio - 1))
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert result.low is not None
    assert result.high is not None
    assert result.high - result.low == pytest.approx(high - low, rel=0.12)
    assert result.low == pytest.approx(low, abs=0.15 * (high - low))


def test_samples_are_paired() -> None:
    # What all samples share, here how hard they are, is no uncertainty of the difference.
    draw = drawn(np.random.default_rng(2), samples=100, seeds=1)
    paired = of_draw(draw)
    rows = np.random.default_rng(3).permutation(100)
    apart = bd_rate(measured(draw[0], draw[1]), measured(draw[2][..., rows], draw[3][..., rows]))
    assert apart.value == pytest.approx(paired.value)
    assert paired.high is not None
    assert paired.low is not None
    assert apart.high is not None
    assert apart.low is not None
    assert apart.high - apart.low > 2 * (paired.high - paired.low)


@pytest.mark.slow
@pytest.mark.parametrize(("samples", "seeds"), [(48, 1), (64, 3)])
def test_ninety_five_in_a_hundred_intervals_hold_the_truth(samples: int, seeds: int) -> None:
    rng = np.random.default_rng(samples)
    results = [of_draw(drawn(rng, samples=samples, seeds=seeds)) for _ in range(60)]
    assert all(r.low is not None and r.high is not None for r in results)
    share = np.mean([r.low <= -20.0 <= r.high for r in results])  # type: ignore[operator]
    # two standard errors of 95 % over 60 draws are 6 %; three seeds can't say how little they do
    assert 0.89 <= share <= (0.99 if seeds == 1 else 1.0)


def test_without_values_by_sample_seeds_alone_speak() -> None:
    rates, psnr = np.array([1.0, 2, 4, 8]), np.array([20.0, 22, 24, 26])
    moved = [Entry(values={s: float(q + m) for s, m in enumerate((-0.1, 0.0, 0.1))}) for q in psnr]
    fixed = [Entry(values={s: float(r) for s in range(3)}) for r in rates]
    curve = Curve(label="b", rates=fixed, qualities=moved)
    result = bd_rate(exact("a", rates.tolist(), psnr.tolist()), curve)
    assert result.value == pytest.approx(0.0, abs=1e-6)
    # 0.1 dB is a deviation of log10(2) / 2 / 10 of the rate; t of two degrees is 4.303
    half = 4.303 * 0.1 * np.log10(2) / 2 / np.sqrt(3)
    assert result.high == pytest.approx(100 * (10**half - 1), rel=1e-2)
