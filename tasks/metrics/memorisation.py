"""Are samples copies? Their distances to the nearest training sample beside those of held-out data.

A generative model may be no closer to its training set than fresh data are (the idea of Meehan et al. 2020, arXiv
2004.05675, and of the nearest-neighbour pictures of most papers). Data that were held out tell how close that is.

Shape legend: N samples, M training samples, V held-out samples, D feature length, R resamples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...results.errors import UserError
from ...results.metric import Metric
from .balls import MOST, both_sides, evenly, radii_of
from .interface import SampleSet, Score
from .precision import full_precision

QUANTILE = 0.01
_BLOCK_BYTES = 32 << 20
_ROWS = 65536  # of the training samples at a time
_RESAMPLES = 1000
_PAIRS = 8  # the nearest pairs that are kept to look at


def nearest(features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (float64) and index of the nearest of `known` `[M, D]` for each of `[N, D]`: two `[N]`.

    The neighbour is found in float32, its distance then taken in float64 from the difference, so that a copy is at 0.
    `known` may be a file's, mapped into memory: some rows of it are read at a time. Raises UserError for an empty or
    differing `known`, or values that are not finite.
    """
    if features.ndim != 2 or known.ndim != 2 or features.shape[1] != known.shape[1] or not len(known):
        raise UserError(f"features must be [N, D] and [M, D], got {list(features.shape)} and {list(known.shape)}")
    mean = torch.stack([part.double().sum(0) for part in known.split(_ROWS)]).sum(0).to(features.device) / len(known)
    if not bool(torch.isfinite(features).all() and torch.isfinite(mean).all()):
        raise UserError("features hold values that are not finite")
    best = torch.full((len(features),), torch.inf, device=features.device)
    indices = torch.zeros(len(features), dtype=torch.int64, device=features.device)
    for first in range(0, len(known), _ROWS):
        y = (known[first : first + _ROWS].to(features.device) - mean).float()
        norms = y.square().sum(1)
        size = max(1, _BLOCK_BYTES // (4 * len(y)))
        with full_precision():
            for start in range(0, len(features), size):
                rows = slice(start, start + size)
                # ‖x‖² is the same for all of a row
                squared, nearest_of_part = torch.addmm(norms, (features[rows] - mean).float(), y.t(), alpha=-2).min(1)
                nearer = squared < best[rows]
                best[rows] = torch.where(nearer, squared, best[rows])
                indices[rows] = torch.where(nearer, nearest_of_part + first, indices[rows])
    apart = [
        (x.double() - known[i.to(known.device)].to(x.device).double()).norm(dim=1)
        for x, i in zip(features.split(4096), indices.split(4096), strict=True)
    ]
    return torch.cat(apart), indices


class MemorisationScore(Score):
    """See `MemorisationConfig`."""

    def measure(self, samples: SampleSet) -> tuple[list[Metric], dict[str, Any]]:
        net = samples.net
        train, held_out = (samples.splits[net.name, split].features for split in ("train", "val"))
        protocol = "; ".join(filter(None, (net.protocol, samples.note)))
        metrics, closest = memorisation(
            net.name, samples.features, train, held_out, protocol=protocol, seed=samples.seed
        )
        return metrics, {"closest_to_training": closest}


def memorisation(
    net: str, features: Tensor, train: Tensor, held_out: Tensor, *, protocol: str, seed: int = 0
) -> tuple[list[Metric], list[dict[str, Any]]]:
    """`nearest_train_ratio_<net>`, `memorised_share_<net>` and `nearest_sample_ratio_<net>` of samples `[N, D]`.

    Also the closest pairs: sample, training sample, distance. The ratio is the median distance to the nearest of
    `train` `[M, D]` over that of `held_out` `[V, D]`: 1 for fresh data, less for copies. The share is that of samples
    no further from `train` than the 1 % quantile of `held_out`, the j-th smallest of its distances with j =
    ⌊(V + 1)/100⌋, at least 1: of fresh data j/(V + 1) are. Neither has a better direction: samples unlike any data are
    far from all of it. Samples that are all alike, at the data's mean say, are near to training samples without being
    copies: the third value, the median distance to the nearest other sample over the same among as many held-out data,
    is then near 0; copies of many training samples leave it near 1. Standard errors and 95 % percentile intervals by a
    seeded bootstrap over samples and held-out samples, `train` held fixed. Samples whose features are not finite are
    left out and counted; without any, or without held-out samples, the values are None.
    """
    finite = torch.isfinite(features).all(1)
    usable = features[finite]
    n, missing = len(usable), len(features) - len(usable)
    sides = f"n = {n} and {len(held_out)} held out, against {len(train)} training samples; Euclidean"
    j = max(1, int((len(held_out) + 1) * QUANTILE))
    expected = (
        f"the {j}. smallest held-out distance ({QUANTILE:.0%} quantile); {j / (len(held_out) + 1):.3g} of fresh data"
    )
    ratio: _Estimate = (None, None, None)
    share: _Estimate = (None, None, None)
    alike: _Estimate = (None, None, None)
    closest: list[dict[str, Any]] = []
    if n and len(held_out):
        distances, indices = nearest(usable, train)
        usual = nearest(held_out.to(usable.device), train)[0].cpu().numpy()
        ratio, share = _bootstrapped(distances.cpu().numpy(), usual, j, seed)
        alike = _spread(usable, held_out, seed)
        closest = _closest(torch.nonzero(finite).flatten(), indices, distances)

    def metric(name: str, estimate: _Estimate, what: str) -> Metric:
        value, se, interval = estimate
        line = f"{protocol}; {what}; {sides}".removeprefix("; ")
        return Metric(
            name=f"{name}_{net}",
            value=value,
            se=se,
            interval=interval,
            n=n,
            missing=missing,
            direction="none",
            protocol=line,
            role="generation",
        )

    of = "median distance to the nearest training sample, over the held-out one's"
    within = f"share no further from a training sample than {expected}"
    among = "median distance to the nearest other sample, over the same among as many held-out data; 0 of a collapse"
    metrics = [
        metric("nearest_train_ratio", ratio, of),
        metric("memorised_share", share, within),
        metric("nearest_sample_ratio", alike, among),
    ]
    return metrics, closest


_Estimate = tuple[float | None, float | None, tuple[float, float] | None]


def _closest(numbers: Tensor, indices: Tensor, distances: Tensor) -> list[dict[str, Any]]:
    """The nearest pairs: samples by their `numbers` `[N]`, their nearest training samples and the distances."""
    order = np.argsort(distances.cpu().numpy(), kind="stable")[:_PAIRS].tolist()
    return [{"sample": int(numbers[i]), "train": int(indices[i]), "distance": float(distances[i])} for i in order]


def _bootstrapped(mine: np.ndarray, usual: np.ndarray, j: int, seed: int) -> tuple[_Estimate, _Estimate]:
    """Value, standard error and interval of the ratio of medians and of the share within the j-th smallest."""
    generator = np.random.default_rng(seed)
    ratios, shares = np.empty(_RESAMPLES), np.empty(_RESAMPLES)
    for r in range(_RESAMPLES):
        a = mine[generator.integers(len(mine), size=len(mine))]
        b = usual[generator.integers(len(usual), size=len(usual))]
        ratios[r], shares[r] = _ratio(a, b), _share(a, b, j)
    return _estimate(_ratio(mine, usual), ratios), _estimate(_share(mine, usual, j), shares)


def _spread(features: Tensor, held_out: Tensor, seed: int) -> _Estimate:
    """How far samples lie from each other, over the same for as many held-out data, at most 10,000."""
    n = min(len(features), len(held_out), MOST)
    if n < 2:
        return None, None, None
    sides = both_sides(features[evenly(len(features), n)], held_out[evenly(len(held_out), n)], 1)
    mine, usual = (radii_of(side, (1,))[0].clamp_min(0).sqrt().cpu().numpy() for side in sides)
    return _bootstrapped(mine, usual, 1, seed)[0]


def _ratio(a: np.ndarray, b: np.ndarray) -> float:
    below = float(np.median(b))
    return float(np.median(a)) / below if below > 0 else float("nan")


def _share(a: np.ndarray, b: np.ndarray, j: int) -> float:
    return float((a <= np.partition(b, j - 1)[j - 1]).mean())


def _estimate(value: float, resampled: np.ndarray) -> _Estimate:
    if not np.isfinite(value):
        return None, None, None  # half of the held-out samples are copies themselves: nothing to compare with
    resampled = resampled[np.isfinite(resampled)]
    if len(resampled) < 2:
        return value, None, None
    low, high = np.quantile(resampled, [0.025, 0.975])
    return value, float(resampled.std(ddof=1)), (float(low), float(high))
