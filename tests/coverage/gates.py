"""How often a gate lets the best tokenizer through, and what it costs where it does not, by simulation.

Run by hand: `python -P tests/coverage/gates.py [SWEEPS]`. A sweep draws a score and an outcome for each tokenizer from
a normal distribution with correlation ρ, lower being better for both, and lets through what `[gate]` does. Of each
number of tokenizers, share and ρ: the share of sweeps in which the best outcome has passed, and the mean regret, by how
many standard deviations of the outcome the best that has passed lies above the best there is. Beside ρ stands
Spearman's coefficient of such pairs, which `latentbench calibrate` measures. Exits with 1 if chance (ρ = 0) does not
let the best through as often as the share says.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentbench.bench.kinds.gate import GateConfig

Array = NDArray[np.float64]
CORRELATIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)
SIZES = (12, 36, 120)
SHARES = (1 / 3, 1 / 2)


@dataclass(frozen=True, kw_only=True)
class Result:
    """`survived`: the share of sweeps whose best has passed; `regret`: in standard deviations of the outcome, the mean
    over sweeps."""

    survived: float
    regret: float


def spearman(correlation: float) -> float:
    """That of two normal variables (Pearson 1907)."""
    return 6 / math.pi * math.asin(correlation / 2)


def draws(correlation: float, size: int, sweeps: int, seed: int) -> tuple[Array, Array]:
    """Scores and outcomes `[sweeps, size]`."""
    generator = np.random.default_rng(seed)
    score, rest = generator.standard_normal((2, sweeps, size))
    return score, correlation * score + math.sqrt(1 - correlation**2) * rest


def passing(score: Array, limit: int) -> NDArray[np.bool_]:
    """Who passes, `[sweeps, size]`: of scores without ties the `limit` lowest, as `results.gates.places` has them."""
    places = 1 + score.argsort(1).argsort(1)
    return np.asarray(places <= limit, dtype=np.bool_)


def simulate(correlation: float, size: int, share: float, *, sweeps: int, seed: int = 0) -> Result:
    """Many sweeps of `size` tokenizers."""
    score, outcome = draws(correlation, size, sweeps, seed)
    through = passing(score, GateConfig(by="score", share=share).limit(size))
    best = outcome.argmin(1)
    rows = np.arange(sweeps)
    regret = np.where(through, outcome, np.inf).min(1) - outcome[rows, best]
    return Result(survived=float(through[rows, best].mean()), regret=float(regret.mean()))


def main() -> int:
    sweeps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print(f"{sweeps} sweeps: the best passes (mean regret in standard deviations of the outcome)")
    columns = [(size, share) for share in SHARES for size in SIZES]
    print("| ρ | Spearman |" + "".join(f" best {share:.0%} of {size} |" for size, share in columns))
    print("| ---: | ---: |" + " ---: |" * len(columns))
    broken = False
    for correlation in CORRELATIONS:
        results = [simulate(correlation, size, share, sweeps=sweeps) for size, share in columns]
        cells = (f" {result.survived:.0%} ({result.regret:.2f}) |" for result in results)
        print(f"| {correlation} | {spearman(correlation):.2f} |" + "".join(cells), flush=True)
        if correlation == 0:
            expected = [GateConfig(by="score", share=share).limit(size) / size for size, share in columns]
            error = 4 * 0.5 / math.sqrt(sweeps)
            broken = any(abs(r.survived - e) > error for r, e in zip(results, expected, strict=True))
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
