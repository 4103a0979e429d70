"""How much of the latents' energy lies at high spatial frequencies.

Shape legend: N samples, C channels, *grid the axes of a latent.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.jackknife import of_sums
from ..metrics.precision import full_precision
from .interface import NORMALISED, Proxy, ProxyInput, metric, sums_by_group

RHOS = (0.25, 0.5)
# Longer axes are transformed by FFT; a matrix is faster below and takes too much memory above.
_MATRIX = 256
_CHUNK = 1 << 24


def dct(x: Tensor, axes: int) -> Tensor:
    """The orthonormal DCT-II over the last `axes` axes of `x`."""
    with full_precision():
        for axis in range(x.ndim - axes, x.ndim):
            length = x.shape[axis]
            if length == 1:
                continue
            moved = x.transpose(axis, -1)
            moved = moved @ _matrix(length, x.device, x.dtype).t() if length <= _MATRIX else _long_dct(moved)
            x = moved.transpose(axis, -1)
    return x


def high_frequencies(grid: tuple[int, ...], rho: float) -> Tensor:
    """Bool `grid`: the coefficients whose normalised frequencies Σ k/(n - 1) exceed `rho` times the largest sum.

    On a square grid that is u + v > ρ max(u + v). Axes of length 1 have no frequency.
    """
    total = torch.zeros(grid, dtype=torch.float64)
    for axis, length in enumerate(grid):
        if length > 1:
            shape = [1] * len(grid)
            shape[axis] = length
            total = total + (torch.arange(length, dtype=torch.float64) / (length - 1)).view(shape)
    # The tolerance keeps sums of thirds and sevenths that meet the bound exactly on its lower side.
    return total > rho * float(total.max()) + 1e-9


def band_energies(z: Tensor, rhos: tuple[float, ...] = RHOS) -> Tensor:
    """Each sample's DCT energy above each ρ, and in all: `[N, C, *grid]` to `[N, len(rhos) + 1]`."""
    grid = tuple(z.shape[2:])
    masks = torch.stack([*(high_frequencies(grid, rho) for rho in rhos), torch.ones(grid, dtype=torch.bool)])
    weights = masks.flatten(1).t().to(z)
    step = max(1, _CHUNK // z[0].numel())
    with full_precision():
        parts = [dct(part, len(grid)).square_().sum(1).flatten(1) @ weights for part in z.split(step)]
    return torch.cat(parts)


class HighFrequencyShare(Proxy):
    """See `HighFrequencyShareConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        sums = None
        if z.numel() and math.prod(z.shape[2:]) > 1:
            sums = sums_by_group(band_energies(z))
        return tuple(
            metric(
                f"high_frequency_share_{round(100 * rho)}",
                None if sums is None else of_sums(sums, partial(_ratio, index=index)),
                latents,
                direction="lower",
                protocol=f"share of DCT-II energy at Σ k/(n-1) > {rho:g} of its maximum; {NORMALISED}",
            )
            for index, rho in enumerate(RHOS)
        )


def _ratio(energies: Tensor, index: int) -> float:
    return float(energies[index] / energies[-1])


@lru_cache(maxsize=16)
def _matrix(length: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    k = torch.arange(length, dtype=torch.float64)
    rows = torch.cos(math.pi / length * torch.outer(k, k + 0.5)) * math.sqrt(2 / length)
    rows[0] /= math.sqrt(2)
    return rows.to(device, dtype)


def _long_dct(x: Tensor) -> Tensor:
    """Along the last axis: the real FFT of the sequence followed by its mirror image, turned by half a sample."""
    length = x.shape[-1]
    spectrum = torch.fft.rfft(torch.cat([x, x.flip(-1)], -1))[..., :length]
    turn = torch.polar(
        torch.full((length,), 0.5 * math.sqrt(2 / length), dtype=torch.float64),
        -math.pi / (2 * length) * torch.arange(length, dtype=torch.float64),
    )
    turn[0] /= math.sqrt(2)
    return (spectrum * turn.to(spectrum)).real
