"""KID of 100 subsets, ours against torch-fidelity and a loop over subsets: `python -P tests/perf/kid.py [N] [m]`.

The same features and, but for torch-fidelity, which draws its own, the same subsets; interleaved, medians.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from latentbench.tasks.metrics.kid import kid, kid_metric, subset_indices

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved


def loop(x: torch.Tensor, y: torch.Tensor, size: int) -> float:
    """Three float32 kernel matrices per subset."""
    rows, columns = subset_indices(len(x), size, 100, 0), subset_indices(len(y), size, 100, 1)
    values = []
    for i, j in zip(rows, columns, strict=True):
        a, b = x[i], y[j]
        xx, xy, yy = ((p @ q.t() / x.shape[1] + 1) ** 3 for p, q in ((a, a), (a, b), (b, b)))
        within = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (size * (size - 1))
        values.append(float(within - 2 * xy.mean()))
    return statistics.fmean(values)


def torch_fidelity(x: torch.Tensor, y: torch.Tensor, size: int) -> float:
    from torch_fidelity.metric_kid import kid_features_to_metric

    result = kid_features_to_metric(
        x, y, kid_subsets=100, kid_subset_size=size, kid_kernel="poly", kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1.0, rng_seed=0, verbose=False,
    )  # fmt: skip
    return float(result["kernel_inception_distance_mean"])


def main(n: int = 1000, size: int = 500, rounds: int = 5) -> None:
    torch.manual_seed(0)
    x, y = torch.rand(n, 2048) * 1.1, torch.rand(n, 2048)
    runs: dict[str, Callable[[], float | None]] = {
        "ours": lambda: kid(x, y, subset_size=size)[0],
        "ours with interval": lambda: kid_metric("kid", x, y, subset_size=size, protocol="").value,
        "loop over subsets": lambda: loop(x, y, size),
        "torch-fidelity": lambda: torch_fidelity(x, y, size),
    }
    medians, values = interleaved(runs, rounds)
    ours = medians["ours"]
    print(f"KID, 100 subsets of {size} from {n}+{n} features of 2048, {torch.get_num_threads()} threads")
    for name, median in medians.items():
        relative = values[name] / values["ours"] - 1
        print(f"{name:20s} {median:7.3f} s  x{median / ours:5.1f}  value {values[name]:.9g} ({relative:+.1e})")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
