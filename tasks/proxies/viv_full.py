"""VIV (see `viv`) of the full covariance, which no factorisation into channels and positions has to hold for.

The mean root of a sample covariance's eigenvalues is too low, since the roots of scattered eigenvalues are: of white
latents by about r/8f for r directions and f degrees of freedom. The bias falls as 1/f, so it is extrapolated away from
the value of all samples and the mean of its two halves'. Directions without variance stay without, so latents of low
rank need samples for their rank alone.

Shape legend: N samples, C channels, d = C times positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.jackknife import delete_a_group, group_of
from .interface import NORMALISED, Proxy, ProxyInput, Value, metric
from .viv import renormalised, take, within_class

# More directions than a quarter of the degrees of freedom, and what is left of the bias shows beside the interval.
_FREEDOM_PER_DIRECTION = 4
_LARGEST = 4096  # of the smaller of samples and elements: eigenvalues cost its cube
_JACKKNIFE_UP_TO = 512
_ZERO = 1e-10  # of the largest eigenvalue: below it lies the rounding of float32 latents


def full_viv(z: Tensor, labels: Tensor | None = None) -> float:
    """(π/2) mean √λ of the (within-class) covariance of `[N, C, *grid]`, extrapolated to infinitely many samples.

    NaN where latents vary in more directions than a quarter of the degrees of freedom (samples less classes),
    where a class has no two samples in a half, or where both N and d exceed 4,096.
    """
    _, freedom, rank = _of_all(z, labels)
    return _extrapolated(z, labels) if rank * _FREEDOM_PER_DIRECTION <= freedom else float("nan")


def _extrapolated(z: Tensor, labels: Tensor | None) -> float:
    value, freedom, _ = _of_all(z, labels)
    halves = [_of_all(*take(z, labels, part)) for part in _halves(len(z), labels)]
    if any(of_half[1] < 1 for of_half in halves):
        return float("nan")
    half = sum(of_half[0] for of_half in halves) / 2
    inverse = sum(1 / of_half[1] for of_half in halves) / 2
    return value + (value - half) / (inverse * freedom - 1)


class VivFull(Proxy):
    """See `VivFullConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised.flatten(2) if latents.normalised.numel() else latents.normalised
        labels = None if latents.labels is None else latents.labels[latents.finite.to(latents.labels.device)]
        number = se = half = None
        elements = z[0].numel() if len(z) else 0
        if z.numel() and len(z) >= 4 and min(len(z), elements) <= _LARGEST:
            number = full_viv(z, labels)
            if math.isfinite(number) and min(len(z), elements) <= _JACKKNIFE_UP_TO and len(z) >= 20:
                left_out = []
                for part in group_of(len(z), 10):
                    others = torch.ones(len(z), dtype=torch.bool, device=z.device)
                    others[part] = False
                    rest, rest_labels = take(z, labels, others)
                    left_out.append(_extrapolated(renormalised(rest, z), rest_labels))
                se, half = delete_a_group(left_out)
        of = "global" if labels is None else "within-class"
        protocol = f"(π/2) mean √λ of the full {of} covariance, extrapolated in 1/N; {NORMALISED}"
        if number is None or not math.isfinite(number):
            protocol += "; withheld: more directions than a quarter of the samples"
        value: Value = None if number is None else (number, se, half)
        scale = math.sqrt(elements)
        scaled: Value = None
        if number is not None:
            scaled = (number * scale, None if se is None else se * scale, None if half is None else half * scale)
        return (
            metric(
                "viv_full",
                value,
                latents,
                direction="lower",
                protocol=f"{protocol}; compare at equal latent shape",
            ),
            metric(
                "viv_normalised",
                scaled,
                latents,
                direction="lower",
                protocol=f"√d · {protocol}",
                shown="asked",
                compared="table",
            ),
        )


def _of_all(z: Tensor, labels: Tensor | None) -> tuple[float, int, int]:
    """(π/2) mean √λ of the sample covariance, its degrees of freedom and its rank."""
    residual, freedom = within_class(z, labels)
    if freedom < 1:
        return float("nan"), freedom, 0
    x = residual.flatten(1).double()
    gram = x.t() @ x if x.shape[1] <= len(x) else x @ x.t()
    values = torch.linalg.eigvalsh(gram / freedom).clamp_min(0)
    rank = int((values > _ZERO * values[-1]).sum())
    return math.pi / 2 * float(values.sqrt().sum()) / x.shape[1], freedom, rank


def _halves(n: int, labels: Tensor | None) -> list[Tensor]:
    """Indices of two halves, in each of which every class has its share."""
    order = torch.arange(n) if labels is None else torch.argsort(labels.cpu(), stable=True)
    return [order[::2], order[1::2]]
