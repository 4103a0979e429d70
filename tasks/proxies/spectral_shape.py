"""The shape of the latents' power spectrum: its slope and its flatness.

Shape legend: N samples, C channels, *grid the axes of a latent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.jackknife import group_of, of_sums
from .interface import NORMALISED, Proxy, ProxyInput, metric
from .spectrum import dct

BINS = 16
_CHUNK = 1 << 24


def power_sums(z: Tensor, groups: int = 10) -> Tensor:
    """Σ (1, squared DCT-II coefficients) over the samples of each of G groups: `[N, C, *grid]` to `[G, 1 + C, *grid]`
    float64, whose first channel counts samples."""
    axes = z.ndim - 2
    sums = []
    for part in group_of(len(z), groups):
        x = z[part]
        total = torch.zeros(1 + z.shape[1], *z.shape[2:], dtype=torch.float64)
        for chunk in x.split(max(1, _CHUNK // max(1, z[0].numel()))):
            total[1:] += dct(chunk, axes).double().square().sum(0).cpu()
        total[0] = len(x)
        sums.append(total)
    return torch.stack(sums)


def frequencies(grid: tuple[int, ...]) -> Tensor:
    """`grid` float64: each coefficient's distance from 0 frequency, with axis i's running from 0 to (n - 1)/n."""
    squared = torch.zeros(grid, dtype=torch.float64)
    for axis, length in enumerate(grid):
        shape = [1] * len(grid)
        shape[axis] = length
        squared = squared + (torch.arange(length, dtype=torch.float64) / length).view(shape).square()
    return squared.sqrt()


def slope(power: Tensor) -> float:
    """The least-squares slope of log mean power over log frequency, in up to 16 bins of equal width in frequency.

    `power` `[C, *grid]` holds mean squared coefficients; the mean over channels is fitted. White latents have 0, a
    spectrum f^-2 has -2. NaN with fewer than three bins.
    """
    frequency = frequencies(tuple(power.shape[1:])).flatten()
    mean = power.mean(0).flatten()[frequency > 0]
    frequency = frequency[frequency > 0]
    if len(frequency) < 3:
        return float("nan")
    index = (frequency / frequency.max() * BINS).ceil().long().clamp(1, BINS) - 1
    counts = torch.bincount(index, minlength=BINS).double()
    # The mean of logs within a bin: a power law then lies on a line whatever the bins are.
    x, y = (torch.bincount(index, v.log(), minlength=BINS)[counts > 0] / counts[counts > 0] for v in (frequency, mean))
    if len(x) < 3:
        return float("nan")
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / x.square().sum())


def flatness(power: Tensor) -> float:
    """Geometric over arithmetic mean of the power spectrum without its constant (Gray and Markel 1974), the mean over
    channels: 1 when white, towards 0 the more of it is in few coefficients. NaN with fewer than three coefficients."""
    spectra = power.flatten(1)[:, 1:]
    if spectra.shape[1] < 3:
        return float("nan")
    return float((spectra.log().mean(1).exp() / spectra.mean(1)).mean())


class SpectralShape(Proxy):
    """See `SpectralShapeConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        sums = power_sums(z) if z.numel() and math.prod(z.shape[2:]) > 3 else None
        of = f"of the mean DCT-II power without its constant; {NORMALISED}"
        rows = (
            ("spectrum_slope", slope, f"slope of log power over log frequency, up to {BINS} bins, {of}"),
            ("spectral_flatness", flatness, f"geometric over arithmetic mean {of}"),
        )
        return tuple(
            metric(
                name,
                None if sums is None else of_sums(sums, lambda total, of=statistic: of(total[1:] / total[0])),  # type: ignore[misc]
                latents,
                direction="none",
                protocol=protocol,
            )
            for name, statistic, protocol in rows
        )
