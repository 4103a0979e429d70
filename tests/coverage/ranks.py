"""How often tables rank equals, and how well they tell apart what differs: `python -P tests/coverage/ranks.py`.

Simulates tables of k entries over a few seeds and prints, over 300 of them each: tables in which some entry of equal
truth gets a rank below 1, and those in which one loses its bold; and the power between two entries 4 standard
deviations (of one seed) apart. Then the coverage of the intervals over seeds and samples. Not collected by pytest;
tests/results/test_pairwise.py and test_crossed.py have small versions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from latentbench.results.crossed import crossed
from latentbench.results.pairwise import compare
from latentbench.results.quantiles import student
from latentbench.results.samples import Samples
from latentbench.results.statistics import Entry, difference_interval

DRAWS = 300


def seeds_alone(values: np.ndarray) -> list[Entry]:
    """Entries of `[k, S]`, NaN where a cell is missing."""
    return [Entry(values={s: float(v) for s, v in enumerate(row) if np.isfinite(v)}) for row in values]


def sampled(values: np.ndarray) -> list[Entry]:
    """Entries of `[k, S, M]`."""
    entries = []
    for of_entry in values:
        samples_of = {s: Samples(data="d", values=v) for s, v in enumerate(of_entry)}
        entries.append(
            Entry(
                values={s: float(v.mean()) for s, v in enumerate(of_entry)},
                read=lambda samples_of=samples_of: samples_of,
            )
        )
    return entries


def drawn(
    generator: np.random.Generator,
    truth: np.ndarray,
    seeds: int,
    samples: int,
    *,
    seed: float = 0.0,
    own_seed: float = 0.06,
    sample: float = 3.0,
    own_sample: float = 0.5,
    rest: float = 0.3,
    skewed: bool = False,
) -> np.ndarray:
    """Values `[k, S, M]`: truth + seed + entry's seed + sample + entry's sample + rest, with these deviations."""
    k = len(truth)
    draw = generator.normal
    own = draw(0, 1, (k, 1, samples))
    if skewed:  # of one entry alone: the difference of two alike would be symmetric
        own = np.zeros((k, 1, samples))
        own[0] = generator.exponential(1, (1, samples)) - 1
    return (
        truth[:, None, None]
        + draw(0, seed, (1, seeds, 1))
        + draw(0, own_seed, (k, seeds, 1))
        + draw(0, sample, (1, 1, samples))
        + own_sample * own
        + draw(0, rest, (k, seeds, samples))
    )


def false_ranks(k: int, seeds: int, *, missing: float = 0.0, spreads: float = 1.0, draws: int = DRAWS) -> list[float]:
    """Shares of tables of k equals with a rank below 1, with a bold lost, and of pairs apart. `spreads` is the ratio
    of the largest seed deviation to the smallest."""
    generator = np.random.default_rng([k, seeds, round(100 * missing), round(100 * spreads)])
    ranked = unbold = pairs = 0.0
    scale = np.geomspace(1, spreads, k)[:, None]
    for _ in range(draws):
        values = 0.7 * generator.normal(size=(1, seeds)) + scale * generator.normal(size=(k, seeds))
        hidden = generator.random((k, seeds)) < missing
        hidden[:, 0] &= ~hidden.all(1)
        values[hidden] = np.nan
        compared = compare(seeds_alone(values))
        ranked += any(rank is not None and rank > 1 for rank in compared.ranks("higher"))
        unbold += len(compared.best("higher")) < k
        pairs += compared.apart.sum() / (k * (k - 1))
    return [ranked / draws, unbold / draws, pairs / draws]


def power(k: int, seeds: int, *, apart: float = 4.0, draws: int = DRAWS) -> float:
    """How often the first of k entries is told apart from the second, `apart` seed deviations above it."""
    generator = np.random.default_rng([k, seeds, 7])
    told = 0
    for _ in range(draws):
        values = generator.normal(size=(k, seeds))
        values[0] += apart
        told += bool(compare(seeds_alone(values)).apart[0, 1])
    return told / draws


def covered(seeds: int, samples: int, *, of: str, draws: int = DRAWS, **deviations: float | bool) -> float:
    """How often the interval of one entry's mean, or of the difference of two, holds the truth."""
    generator = np.random.default_rng([seeds, samples, len(of)])
    inside = 0
    for _ in range(draws):
        a, b = sampled(drawn(generator, np.array([0.2, 0.0]), seeds, samples, **deviations))  # type: ignore[arg-type]
        interval = a.estimate if of == "mean" else difference_interval(a, b)
        assert interval is not None
        assert interval.low is not None
        assert interval.high is not None
        inside += interval.low <= 0.2 <= interval.high
    return inside / draws


SKEWED: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], float]] = {
    "normal": (lambda generator, n: generator.normal(size=n), 0.0),
    "Student's t, 3 degrees": (lambda generator, n: generator.standard_t(3, size=n), 0.0),
    "exponential": (lambda generator, n: generator.exponential(size=n), 1.0),
    "gamma, shape 0.5": (lambda generator, n: generator.gamma(0.5, size=n), 0.5),
    "log-normal": (lambda generator, n: np.exp(generator.normal(size=n)), float(np.exp(0.5))),
    "2 % at the cap": (lambda generator, n: _with_cap(generator, n, 0.02), 0.02 * 70),
    "10 % at the cap": (lambda generator, n: _with_cap(generator, n, 0.1), 0.1 * 70),
}


def _with_cap(generator: np.random.Generator, n: int, share: float) -> np.ndarray:
    """Differences of ± 3 dB, a share of them with one side at PSNR's cap, 70 dB up."""
    return generator.normal(0, 3, size=n) + 70 * (generator.random(n) < share)


def one_seed(kind: str, n: int, *, draws: int = 2000) -> list[float]:
    """Of differences by sample: how often Student's t and the project's interval hold the truth, and the mean width of
    the second in parts of the first."""
    generator, (draw, truth) = np.random.default_rng(n), SKEWED[kind]
    with_t, now, width = 0, 0, 0.0
    for _ in range(draws):
        values = draw(generator, n) - truth
        spread = crossed([values])
        assert spread is not None
        half, (below, above) = student(n - 1) * math.sqrt(spread.samples), spread.half_widths
        with_t += abs(values.mean()) <= half
        now += -above <= values.mean() <= below
        width += (below + above) / (2 * half)
    return [with_t / draws, now / draws, width / draws]


def sampled_table(k: int, seeds: int, samples: int, *, apart: float = 0.0, draws: int = DRAWS) -> float:
    """With `apart` 0, the share of tables of k equals with a rank below 1; else that in which the first differs from
    the second."""
    generator = np.random.default_rng([k, seeds, samples])
    truth = np.zeros(k)
    truth[0] += apart
    hits = 0
    for _ in range(draws):
        own_seed = 0.06 if seeds > 1 else 0.0  # what one seed cannot see
        compared = compare(sampled(drawn(generator, truth, seeds, samples, own_seed=own_seed)))
        hits += bool(compared.apart[0, 1]) if apart else any((rank or 1) > 1 for rank in compared.ranks("higher"))
    return hits / draws


def main() -> None:
    print(f"seeds alone, {DRAWS} tables each; standard error about 1.3 % at 5 %")
    print("| k | seeds | missing | spread | false rank | bold lost | pairs apart | power at 4 sd |")
    for k in (2, 4, 10, 20):
        for seeds in (2, 3, 5):
            for missing, spreads in ((0.0, 1.0), (0.2, 1.0), (0.0, 10.0)):
                if k == 2 and missing:
                    continue
                shares = " | ".join(f"{share:.3f}" for share in false_ranks(k, seeds, missing=missing, spreads=spreads))
                strength = f"{power(k, seeds):.2f}" if not missing and spreads == 1 else ""
                print(f"| {k} | {seeds} | {missing:.0%} | {spreads:.0f} | {shares} | {strength} |")
    print("\nsamples: one seed, 128 samples, deviation .5 of the difference by sample, .4 apart")
    for k in (2, 4, 10, 20):
        print(f"k {k}: false rank {sampled_table(k, 1, 128):.3f}, power {sampled_table(k, 1, 128, apart=0.4):.3f}")
    print("\none seed, differences by sample: Student's t holds, the interval holds, its width over that of t")
    for kind in SKEWED:
        for n in (12, 32, 64, 128, 256):
            with_t, now, width = one_seed(kind, n)
            print(f"{kind:24} {n:4} {with_t:6.1%} {now:6.1%} {width:.2f}")
    print("\nseeds and samples: 3 seeds, 128 samples")
    for k in (2, 4, 10, 20):
        print(f"k {k}: false rank {sampled_table(k, 3, 128):.3f}, power {sampled_table(k, 3, 128, apart=0.4):.3f}")
    print("\ncoverage over seeds and samples")
    print("| seeds | samples | own seed | own sample | rest | skewed | mean | difference |")
    for seeds, samples in ((1, 64), (2, 64), (3, 64), (3, 256), (8, 64)):
        for own_seed, own_sample, rest, skewed in (
            (0.0, 0.5, 0.0, False),
            (0.0, 2.0, 0.0, True),
            (0.3, 0.5, 0.3, False),
            (0.05, 0.5, 3.0, False),
            (0.3, 0.0, 0.0, False),
        ):
            if seeds == 1 and own_seed:
                continue
            options = {"own_seed": own_seed, "own_sample": own_sample, "rest": rest, "skewed": skewed}
            shares = (
                [covered(seeds, samples, of=of, **options) for of in ("mean", "difference")]
                if seeds > 1
                else [
                    float("nan"),
                    covered(seeds, samples, of="difference", **options),
                ]
            )
            line = " | ".join(f"{share:.3f}" for share in shares)
            print(f"| {seeds} | {samples} | {own_seed} | {own_sample} | {rest} | {skewed} | {line} |")


if __name__ == "__main__":
    main()
