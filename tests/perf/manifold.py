"""Precision and recall, ours against torch-fidelity: `python -P tests/perf/manifold.py [N] [D]`.

The same features; interleaved, medians. Ours are all four scores with their intervals: from nothing, and against a
reference whose radii were computed before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from latentbench.tasks.metrics.balls import Manifold
from latentbench.tasks.metrics.manifold import manifold_metrics

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved

Pair = tuple[float, float]


def torch_fidelity(x: torch.Tensor, y: torch.Tensor) -> Pair:
    from torch_fidelity.metric_prc import prc_features_to_metric

    result = prc_features_to_metric(x, y, prc_neighborhood=3, prc_batch_size=10000, save_cpu_ram=False, verbose=False)
    return result["precision"], result["recall"]


def main(n: int = 1000, dim: int = 2048, rounds: int = 7) -> None:
    torch.manual_seed(0)
    mix = torch.randn(16, dim) / 4
    x, y = (torch.randn(n, 16) @ mix * scale + 0.05 * torch.randn(n, dim) for scale in (1.1, 1.0))
    reference = Manifold.of(y)

    def ours_against(known: Manifold | torch.Tensor) -> Pair:
        precision, recall, *_ = manifold_metrics("net", x, known, protocol="")
        return precision.value or 0.0, recall.value or 0.0

    runs: dict[str, Callable[[], Pair]] = {
        "ours": lambda: ours_against(y),
        "ours, radii known": lambda: ours_against(reference),
        "torch-fidelity": lambda: torch_fidelity(x, y),
    }
    medians, values = interleaved(runs, rounds)
    ours = medians["ours"]
    print(f"precision and recall, k = 3, {n}+{n} features of {dim}, {torch.get_num_threads()} threads")
    for name, median in medians.items():
        precision, recall = values[name]
        print(f"{name:30s} {median:7.3f} s  x{median / ours:5.2f}  precision {precision:.4f}  recall {recall:.4f}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
