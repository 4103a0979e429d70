"""Spectra of signals and latents of any rank: cosine transforms, power by relative frequency, low passes, shifts.

Shape legend: B batch, C channels, *axes those that are transformed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def dct_matrix(length: int) -> Tensor:
    """The orthonormal DCT-II of `length` values, `[length, length]`: rows are frequencies."""
    frequency = torch.arange(length, dtype=torch.float64)
    angles = math.pi / length * torch.outer(frequency, frequency + 0.5)
    matrix = math.sqrt(2 / length) * angles.cos()
    matrix[0] /= math.sqrt(2)
    return matrix.float()


def dct(x: Tensor, *, inverse: bool = False) -> Tensor:
    """The orthonormal DCT-II over all axes of `[B, C, *axes]`, or its inverse."""
    for axis in range(2, x.ndim):
        matrix = dct_matrix(x.shape[axis]).to(x)
        x = (x.movedim(axis, -1) @ (matrix if inverse else matrix.T)).movedim(-1, axis)
    return x


def radii(shape: Sequence[int]) -> Tensor:
    """Each coefficient's relative frequency, `shape`: the root mean square of k / n over the axes longer than 1."""
    squares = torch.zeros(tuple(shape))
    long = [axis for axis, length in enumerate(shape) if length > 1]
    for axis in long:
        view = [1] * len(shape)
        view[axis] = -1
        squares = squares + (torch.arange(shape[axis]) / shape[axis]).view(view).square() / len(long)
    return squares.sqrt()


def band_power(x: Tensor, bands: int) -> Tensor:
    """Mean squared coefficients of `[B, C, *axes]` in `bands` equal bands of relative frequency in (0, 1), `[bands]`.

    The constant belongs to none; a band without a coefficient has 0.
    """
    index, counts = band_of(x.shape[2:], bands)
    power = dct(x).square().mean((0, 1)).flatten()[1:]
    sums = power.new_zeros(bands).index_add(0, index.to(x.device), power)
    return sums / counts.clamp_min(1).to(x.device)


def band_of(shape: Sequence[int], bands: int) -> tuple[Tensor, Tensor]:
    """The band of every coefficient but the constant, in raster order, and how many there are in each, `[bands]`."""
    index = (radii(shape).flatten()[1:] * bands).long().clamp_max(bands - 1)
    return index, torch.bincount(index, minlength=bands)


def low_pass(x: Tensor, cutoff: float) -> Tensor:
    """`[B, C, *axes]` without what lies above the relative frequency `cutoff`."""
    return dct(dct(x) * (radii(x.shape[2:]).to(x.device) <= cutoff), inverse=True)


def fourier_shift(x: Tensor, length: float, axis: int) -> Tensor:
    """x circularly shifted along `axis` by `length` positions, by its trigonometric interpolation.

    Exact for whole lengths, and for fractions of whatever has no energy at the highest frequency.
    """
    size = x.shape[axis]
    phase = -2 * math.pi * length * torch.fft.rfftfreq(size, device=x.device)
    spectrum = torch.fft.rfft(x.movedim(axis, -1)) * torch.polar(torch.ones_like(phase), phase)
    return torch.fft.irfft(spectrum, n=size).movedim(-1, axis)
