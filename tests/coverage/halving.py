"""How often successive halving trains the best tokenizer to its end, and how much it saves, by simulation.

Run by hand: `python -P tests/coverage/halving.py [SWEEPS]`. A sweep draws for each tokenizer a score at every rung and
an outcome from normal distributions, more being better, and stops whom `[halving]` does. The lowest rung and the
outcome correlate by ρ; in between, each rung and the next correlate alike (a Markov chain), so that of R rungs the last
correlates with the outcome by ρ^(1/R). Of each ρ and setting: the share of sweeps in which the tokenizer with the best
outcome is trained to its end, and the mean regret, by how many standard deviations of the outcome the best that is lies
behind it. Exits with 1 if chance (ρ = 0) lets the best through more or less often than the numbers say.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentbench.bench.kinds.halving import HalvingConfig

Array = NDArray[np.float64]
CORRELATIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)
_TWO = HalvingConfig(metric="score")
_HALF = HalvingConfig(metric="score", eta=2, min=0.25)
_ONE = HalvingConfig(metric="score", min=1 / 3)
COLUMNS = (
    *((12, _TWO), (12, HalvingConfig(metric="score", best=3)), (12, _HALF), (12, _ONE)),
    *((27, _TWO), (27, HalvingConfig(metric="score", eta=2)), (27, _HALF), (27, _ONE)),
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """`survived`: the share of sweeps whose best is trained to its end; `regret`: in standard deviations of the
    outcome, the mean over sweeps."""

    survived: float
    regret: float


def draws(correlation: float, rungs: int, size: int, sweeps: int, seed: int) -> Array:
    """Scores at the rungs, and the outcome as the last: `[rungs + 1, sweeps, size]`."""
    generator = np.random.default_rng(seed)
    step = correlation ** (1 / rungs)
    values = generator.standard_normal((rungs + 1, sweeps, size))
    for number in range(1, rungs + 1):
        values[number] = step * values[number - 1] + math.sqrt(1 - step**2) * values[number]
    return values


def surviving(scores: Array, limits: list[int]) -> NDArray[np.bool_]:
    """Who is trained to the end, `[sweeps, size]`: at each rung the so many highest of those that are left."""
    left = np.ones(scores.shape[1:], dtype=np.bool_)
    for score, limit in zip(scores, limits, strict=True):
        places = 1 + np.where(left, -score, np.inf).argsort(1).argsort(1)
        left &= places <= limit
    return left


def simulate(correlation: float, size: int, config: HalvingConfig, *, sweeps: int, seed: int = 0) -> Result:
    """Many sweeps of `size` tokenizers."""
    limits = [limit for _, limit in config.rungs(size)]
    values = draws(correlation, len(limits), size, sweeps, seed)
    through, outcome = surviving(values[:-1], limits), values[-1]
    rows, best = np.arange(sweeps), outcome.argmax(1)
    regret = outcome[rows, best] - np.where(through, outcome, -np.inf).max(1)
    return Result(survived=float(through[rows, best].mean()), regret=float(regret.mean()))


def saved(size: int, config: HalvingConfig) -> float:
    """The share of the steps of `size` whole trainings that are not done."""
    left, done, spent = size, 0.0, 0.0
    for share, limit in config.rungs(size):
        spent += left * (float(share) - done)
        left, done = limit, float(share)
    return 1 - (spent + left * (1 - done)) / size


def label(size: int, config: HalvingConfig) -> str:
    """As 12 → 4 → 1 at 1/9, 1/3."""
    rungs = config.rungs(size)
    return " → ".join(map(str, [size, *(limit for _, limit in rungs)])) + f" at {', '.join(str(s) for s, _ in rungs)}"


def main() -> int:
    sweeps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print(f"{sweeps} sweeps: the best is trained to its end (mean regret in standard deviations of the outcome)")
    print("| ρ |" + "".join(f" {label(*column)} |" for column in COLUMNS))
    print("| ---: |" + " ---: |" * len(COLUMNS))
    broken = False
    for correlation in CORRELATIONS:
        results = [simulate(correlation, size, config, sweeps=sweeps) for size, config in COLUMNS]
        cells = (f" {result.survived:.0%} ({result.regret:.2f}) |" for result in results)
        print(f"| {correlation} |" + "".join(cells), flush=True)
        if correlation == 0:
            expected = [config.rungs(size)[-1][1] / size for size, config in COLUMNS]
            error = 4 * 0.5 / math.sqrt(sweeps)
            broken = any(abs(r.survived - e) > error for r, e in zip(results, expected, strict=True))
    print("| steps saved |" + "".join(f" {saved(*column):.0%} |" for column in COLUMNS))
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
