"""Coverage of the project's 95 % intervals, by simulation, beside the intervals that they replaced.

    python tests/coverage/intervals.py [--draws 300] [--only rfd]

Each line: the mean over draws, 1.96 deviations of the estimate, the mean half-width of the interval, and the share of
draws whose interval holds the population's value and the expected value at that number of samples (the mean over
draws, where an estimate is biased by design). A share of 95 % has a standard error of 1.3 % over 300 draws.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from latentbench.results.metric import Metric

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path

# A method's value and interval, from one draw.
Estimate = tuple[float, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One setting: `draw` gives each method's estimate, `population` the value that infinitely many samples have."""

    name: str
    draw: Callable[[torch.Generator], Mapping[str, Estimate | None]]
    population: float | None = None


def estimate(metric: Metric) -> Estimate | None:
    """A metric's value and interval; None where it has none."""
    return None if metric.value is None or metric.interval is None else (metric.value, metric.interval)


def coverage(case: Case, draws: int, seed: int = 0) -> list[str]:
    """One printable line per method."""
    generator = torch.Generator().manual_seed(seed)
    seen: dict[str, list[Estimate]] = {}
    for _ in range(draws):
        for method, one in case.draw(generator).items():
            seen.setdefault(method, []).extend([] if one is None else [one])
    lines = []
    for method, estimates in seen.items():
        if not estimates:
            lines.append(f"{case.name:34} {method:14} withheld")
            continue
        values = torch.tensor([value for value, _ in estimates], dtype=torch.float64)
        low, high = torch.tensor([interval for _, interval in estimates], dtype=torch.float64).unbind(1)

        def share(truth: float | None, low: torch.Tensor = low, high: torch.Tensor = high) -> str:
            return "     -" if truth is None else f"{float(((low <= truth) & (truth <= high)).double().mean()):6.1%}"

        lines.append(
            f"{case.name:34} {method:14} mean {float(values.mean()):<10.4g} ±{1.96 * float(values.std()):<9.3g} "
            f"interval ±{float((high - low).mean()) / 2:<9.3g} "
            f"population {share(case.population)}  expected {share(float(values.mean()))}"
        )
    return lines


def main() -> None:
    """Print every case whose name holds `--only`."""
    from interval_cases import cases

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for case in cases():
        if options.only in case.name:
            print(*coverage(case, options.draws), sep="\n", flush=True)


if __name__ == "__main__":
    main()
