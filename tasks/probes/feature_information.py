"""How many bits of a frozen net's features a linear map reads from latents: usable information of the Gaussian family
(Xu et al. 2020, arXiv 2002.10689).

Shape legend: N training and M validation samples, D elements of a latent, F features of the net.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...results.metric import Metric
from ..features import collect
from ..interface import FeatureNet, slices
from ..metrics.balls import evenly
from ..metrics.jackknife import interval_of, of_sums
from ..proxies.interface import sums_by_group
from .interface import Probe, ProbeInput

SAMPLES = 2048
PENALTIES = tuple(10.0**power for power in range(-4, 5))
_ELEMENTS = 1 << 25  # samples times elements: beyond, fewer samples are read
_LEAST = 50
_COLUMNS = 4096
_CONSTANT = 1e-6  # of a mean, below which a deviation is rounding


class FeatureInformation(Probe):
    """See `FeatureInformationConfig`."""

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        if not probed.has_values():
            return "the latents are codes without values"
        if not probed.nets:
            return "the suite has no feature net for these data"
        n = len(_training_rows(probed))
        if n < _LEAST:
            return f"it needs {_LEAST} training samples, and there are {n} that it can read"
        return None

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        rows, held_out = _training_rows(probed), evenly(len(probed.data.val), probed.total).numpy()
        latent = Latent.of(_latents(probed, "train", rows), _latents(probed, "val", held_out))
        metrics = []
        for name, net in probed.nets.items():
            y = _training_features(probed, net, rows)
            errors = squared_errors(latent, y, probed.references[name].features[torch.from_numpy(held_out)])
            value, se, half = of_sums(sums_by_group(errors), information_bits)
            known = math.isfinite(value)  # else no feature varies, or values are not finite
            metrics.append(
                Metric(
                    name=f"feature_information_{name}",
                    value=value if known else None,
                    se=se if known else None,
                    interval=interval_of(value, half) if known else None,
                    n=len(errors) if known else 0,
                    missing=0 if known else len(errors),
                    direction="higher",
                    unit="bit",
                    protocol=(
                        "mean over features of ½ log2 1/(1 - R²), ridge regression on the whole latent, its penalty "
                        f"chosen by feature on 1/5 of {len(rows)} training samples, R² held out; {net.protocol}; "
                        "validation split"
                    ),
                )
            )
        return tuple(metrics)


@dataclass(frozen=True, kw_only=True)
class Latent:
    """What ridge regressions on latents need of them: which training samples are fitted and which choose the penalty
    (`[N]` bool), the eigenvalues of the fitted ones' Gram matrix, and the products with its eigenvectors, of the
    choosing and of the held-out samples."""

    fit: Tensor
    roots: Tensor
    vectors: Tensor
    choosing: Tensor
    held_out: Tensor

    @classmethod
    def of(cls, z: Tensor, z_held_out: Tensor) -> Latent:
        """From `[N, D]` and held-out `[M, D]`, standardised per element by the four fifths that are fitted."""
        fit = torch.randperm(len(z), generator=torch.Generator().manual_seed(0)) % 5 < 4
        gram, choosing, held_out = _products(z[fit], (z[fit], z[~fit], z_held_out))
        roots, vectors = torch.linalg.eigh(gram)
        return cls(
            fit=fit,
            roots=roots.clamp_min(0),
            vectors=vectors,
            choosing=choosing @ vectors,
            held_out=held_out @ vectors,
        )


def squared_errors(latent: Latent, y: Tensor, y_held_out: Tensor) -> Tensor:
    """Of features `[N, F]` and held-out ones `[M, F]` each held-out sample's squared errors `[M, 2, F']` float64, by
    ridge regression on latents and by the mean alone, for the features that vary.

    On the fifth that is not fitted each feature chooses its penalty, an infinite one (the mean) among them.
    """
    fit = latent.fit
    y, y_held_out = y.double(), y_held_out.double()
    mean, deviation = y[fit].mean(0), y[fit].std(0)
    varying = deviation > _CONSTANT * mean.abs().clamp_min(_CONSTANT)
    y, y_held_out = (side[:, varying] - mean[varying] for side in (y, y_held_out))
    own = latent.vectors.T @ y[fit]
    penalties = torch.tensor([*PENALTIES, torch.inf], dtype=torch.float64)

    def guesses(products: Tensor, penalty: Tensor) -> Tensor:
        return products @ (own / (latent.roots[:, None] + int(fit.sum()) * penalty))

    tried = torch.stack([(y[~fit] - guesses(latent.choosing, penalty)).square().sum(0) for penalty in penalties])
    fitted = guesses(latent.held_out, penalties[tried.argmin(0)])
    return torch.stack([(y_held_out - fitted).square(), y_held_out.square()], 1)


def information_bits(sums: Tensor) -> float:
    """Mean over features of ½ log2 1/(1 - R²) from sums of squared errors `[2, F]`, by the fit and by the mean alone;
    below 0 where the fit does worse than the mean."""
    fitted, alone = sums[:, sums[1] > 0]
    return float((0.5 * (alone / torch.maximum(fitted, 1e-12 * alone)).log2()).mean())


def _products(z: Tensor, others: tuple[Tensor, ...]) -> list[Tensor]:
    """The inner products `[M, N]` float64 of each of `others` `[M, D]` with `z` `[N, D]`, all standardised per element
    by `z`; constant elements are left out. Part by part, so that memory holds no second copy."""
    sums = [torch.zeros(len(other), len(z), dtype=torch.float64) for other in others]
    for start in range(0, z.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        fitted = z[:, columns].double()
        mean, deviation = fitted.mean(0), fitted.std(0)
        scale = torch.where(deviation > _CONSTANT * mean.abs().clamp_min(_CONSTANT), 1 / deviation, 0.0)
        fitted = (fitted - mean) * scale
        for total, other in zip(sums, others, strict=True):
            total += ((other[:, columns].double() - mean) * scale) @ fitted.T
    return sums


def _training_rows(probed: ProbeInput) -> np.ndarray:
    size = sum(level["values"][0].size for level in probed.latents.train.levels)
    return evenly(len(probed.data.train), min(SAMPLES, _ELEMENTS // size)).numpy()


def _latents(probed: ProbeInput, split: str, rows: np.ndarray) -> Tensor:
    store = probed.latents.train if split == "train" else probed.latents.val
    parts = [torch.from_numpy(np.asarray(level["values"][rows])).float().flatten(1) for level in store.levels]
    return torch.cat(parts, 1)


def _training_features(probed: ProbeInput, net: FeatureNet, rows: np.ndarray) -> Tensor:
    split = probed.data.train
    read = split.sources if net.reads == "waveform" else split.batch
    places = slices(split, len(rows), probed.batch_size, order=rows)
    return collect(net, (read(indices, probed.device) for indices in places))
