"""Fréchet distance on 2048-d features, ours against what a user would pick: `python -P tests/perf/fd.py [N] [D]`.

The same features, interleaved runs of one process, medians. Ours is shown with the reference ready (as in a sweep),
with the reference's preparation, and with its jackknife interval, which the peers do not have. A missing peer is
skipped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance, frechet_metric

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved


def pytorch_fid_like(x: torch.Tensor, y: torch.Tensor) -> float:
    """The classic: covariances by numpy, scipy's matrix square root of their product."""
    from scipy import linalg

    a, b = x.numpy(), y.numpy()
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(c1 @ c2)
    if not np.isfinite(root).all():
        offset = np.eye(len(c1)) * 1e-6
        root = linalg.sqrtm((c1 + offset) @ (c2 + offset))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * np.trace(root).real)


def torch_fidelity(x: torch.Tensor, y: torch.Tensor) -> float:
    from torch_fidelity import metric_fid

    one, two = metric_fid.fid_features_to_statistics(x), metric_fid.fid_features_to_statistics(y)
    return float(metric_fid.fid_statistics_to_metric(one, two, verbose=False)["frechet_inception_distance"])


def torchmetrics(x: torch.Tensor, y: torch.Tensor) -> float:
    from torchmetrics.image.fid import _compute_fid

    return float(_compute_fid(x.mean(0), torch.cov(x.t()), y.mean(0), torch.cov(y.t())))


def main(n: int = 1000, d: int = 2048, rounds: int = 3) -> None:
    torch.manual_seed(0)
    mix = torch.randn(d, d, dtype=torch.float64) / d**0.5
    scales = torch.arange(1, d + 1, dtype=torch.float64) ** -0.5
    x, y = ((torch.randn(n, d, dtype=torch.float64) * scales) @ mix + shift for shift in (0.02, 0.0))
    reference = FrechetReference.of(y)
    runs: dict[str, Callable[[], float | None]] = {
        "ours, reference cached": lambda: frechet_distance(x, reference),
        "ours, reference and distance": lambda: frechet_distance(x, FrechetReference.of(y)),
        "ours with interval, cached": lambda: frechet_metric("fd", x, reference, protocol="").value,
        "torchmetrics": lambda: torchmetrics(x, y),
        "torch-fidelity": lambda: torch_fidelity(x, y),
        "pytorch-fid (scipy sqrtm)": lambda: pytorch_fid_like(x, y),
    }
    medians, values = interleaved(runs, rounds, patience=8)  # one run of a slow peer says enough
    ours = medians["ours, reference cached"]
    print(f"Fréchet distance, {n}+{n} features of {d}, float64, {torch.get_num_threads()} threads")
    for name, median in medians.items():
        relative = values[name] / values["ours, reference cached"] - 1
        print(f"{name:30s} {median:8.3f} s  x{median / ours:7.1f}  value {values[name]:.9g} ({relative:+.1e})")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
