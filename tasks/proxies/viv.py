"""Velocity irreducible variance: what no prior can predict of a flow's velocity, were the latents Gaussian.

For z ~ N(m, Σ), noise ε ~ N(0, I) and the straight path x_t = (1 - t) z + t ε, the velocity ε - z given x_t has, along
an eigenvector of Σ with eigenvalue λ, the variance λ / ((1 - t)² λ + t²). Its mean over t in [0, 1] is (π/2) √λ, and
over the eigenvectors (π/2) mean √λ (arXiv 2606.03578).

Shape legend: N samples, C channels, P positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.jackknife import delete_a_group, group_of
from .interface import NORMALISED, Proxy, ProxyInput, metric

# Positions beyond which the position factor is itself split by axes; its eigenvalues cost P³.
_LARGEST = 2048
_JACKKNIFE_UP_TO = 256
_CHUNK = 1 << 23


def within_class(z: Tensor, labels: Tensor | None = None) -> tuple[Tensor, int]:
    """`[N, C, *grid]` minus the mean of each sample's class (or of all), and the degrees of freedom: N - classes."""
    if labels is None:
        return z - z.mean(0), len(z) - 1
    classes, index = torch.unique(labels.to(z.device), return_inverse=True)
    counts = torch.bincount(index, minlength=len(classes)).to(z)
    means = z.new_zeros(len(classes), *z.shape[1:]).index_add_(0, index, z)
    means = means / counts.view(-1, *[1] * (z.ndim - 1))
    return z - means[index], len(z) - len(classes)


def viv(z: Tensor, labels: Tensor | None = None) -> float:
    """(π/2) mean √λ of the (within-class) covariance of `[N, C, *grid]`, Kronecker-factored over channel and position.

    The covariance is taken as Σ_C ⊗ Σ_P / v with Σ_C the channels' covariance over samples and positions, Σ_P the
    positions' over samples and channels and v their common mean variance, so that the eigenvalues are products. A grid
    of more than 2,048 positions and several axes is factored axis by axis. (π/2) σ for white noise of deviation σ; NaN
    when no degree of freedom is left or a single axis is longer than 2,048.
    """
    residual, freedom = within_class(z, labels)
    if freedom < 1:
        return float("nan")
    axes = _factored_axes(tuple(z.shape[1:]))
    if axes is None:
        return float("nan")
    # Float64 even for the sums: a smooth latent's small eigenvalues drown in float32's rounding of the large ones.
    scatters = [z.new_zeros(length, length, dtype=torch.float64) for length in axes]
    for part in residual.split(max(1, _CHUNK // z[0].numel())):
        x = part.reshape(len(part), *axes).double()
        for axis, scatter in enumerate(scatters, start=1):
            rows = x.transpose(0, axis).flatten(1)
            scatter.addmm_(rows, rows.t())
    total = float(scatters[0].trace())
    if total <= 0:
        return float("nan")
    variance = total / (freedom * math.prod(axes))
    root_mean = 1.0
    for length, scatter in zip(axes, scatters, strict=True):
        # Each factor scaled to unit mean variance; their product times the variance is the covariance.
        roots = torch.linalg.eigvalsh(scatter * (length / total)).clamp_min(0).sqrt()
        root_mean *= float(roots.mean())
    return math.pi / 2 * math.sqrt(variance) * root_mean


def take(z: Tensor, labels: Tensor | None, rows: Tensor) -> tuple[Tensor, Tensor | None]:
    """The `rows` (indices or bools) of latents and labels."""
    return z[rows.to(z.device)], None if labels is None else labels[rows.to(labels.device)]


def renormalised(rest: Tensor, whole: Tensor) -> Tensor:
    """`rest`, some of the samples of `whole` `[N, C, *grid]`, with the deviation that each channel has in `whole`.

    A channel that does not vary without the others is left as it is.
    """
    ours, theirs = (z.double().transpose(0, 1).flatten(1).std(1, correction=0) for z in (rest, whole))
    factor = torch.where(ours > 1e-6 * theirs, theirs / ours, torch.ones_like(ours))
    return rest * factor.to(rest).view(-1, *[1] * (rest.ndim - 2))


class Viv(Proxy):
    """See `VivConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        labels = None if latents.labels is None else latents.labels[latents.finite.to(latents.labels.device)]
        value = se = half = None
        if z.numel() and len(z) >= 2:
            value = viv(z, labels)
            if math.prod(z.shape[2:]) <= _JACKKNIFE_UP_TO and len(z) >= 20:
                left_out = []
                for part in group_of(len(z), 10):
                    others = torch.ones(len(z), dtype=torch.bool, device=z.device)
                    others[part] = False
                    # Normalised again: the scale is an estimate too, and its error goes with the spectrum's.
                    rest, rest_labels = take(z, labels, others)
                    left_out.append(viv(renormalised(rest, z), rest_labels))
                se, half = delete_a_group(left_out)
        of = "global" if labels is None else "within-class"
        protocol = f"(π/2) mean √λ of the {of} covariance, Kronecker-factored over channel and position; {NORMALISED}"
        return (
            metric(
                "viv",
                None if value is None else (value, se, half),
                latents,
                direction="lower",
                protocol=f"{protocol}; compare at equal latent shape",
            ),
        )


def _factored_axes(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    channels, *grid = shape
    positions = math.prod(grid)
    if positions <= _LARGEST:
        return (channels, positions)
    return (channels, *grid) if max(grid) <= _LARGEST else None
