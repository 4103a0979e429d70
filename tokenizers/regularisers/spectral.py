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
    frequency = torch.arange(length, dtype=torch.float64, device="cpu")
    angles = math.pi / length * torch.outer(frequency, frequency + 0.5)
    matrix = math.sqrt(2 / length) * angles.cos()
    matrix[0] /= math.sqrt(2)
    return matrix.float()


# Tables are copied to a device once: a copy in every step would have the host wait for it.
@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _placed_matrix(length: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return dct_matrix(length).to(device, dtype)


def dct(x: Tensor, *, inverse: bool = False) -> Tensor:
    """The orthonormal DCT-II over all axes of `[B, C, *axes]`, or its inverse."""
    for axis in range(2, x.ndim):
        matrix = _placed_matrix(x.shape[axis], x.device, x.dtype)
        x = (x.movedim(axis, -1) @ (matrix if inverse else matrix.T)).movedim(-1, axis)
    return x


def radii(shape: Sequence[int]) -> Tensor:
    """Each coefficient's relative frequency, `shape`: the root mean square of k / n over the axes longer than 1."""
    squares = torch.zeros(tuple(shape), device="cpu")
    long = [axis for axis, length in enumerate(shape) if length > 1]
    for axis in long:
        view = [1] * len(shape)
        view[axis] = -1
        squares = squares + (torch.arange(shape[axis], device="cpu") / shape[axis]).view(view).square() / len(long)
    return squares.sqrt()


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _placed_radii(shape: tuple[int, ...], device: torch.device) -> Tensor:
    return radii(shape).to(device)


def band_power(x: Tensor, bands: int) -> Tensor:
    """Mean squared coefficients of `[B, C, *axes]` in `bands` equal bands of relative frequency in (0, 1), `[bands]`.

    The constant belongs to none; a band without a coefficient has 0.
    """
    index, counts = _placed_bands(tuple(x.shape[2:]), bands, x.device)
    power = dct(x).square().mean((0, 1)).flatten()[1:]
    sums = power.new_zeros(bands).index_add(0, index, power)
    return sums / counts.clamp_min(1)


def band_of(shape: Sequence[int], bands: int) -> tuple[Tensor, Tensor]:
    """The band of every coefficient but the constant, in raster order, and how many there are in each, `[bands]`."""
    index = (radii(shape).flatten()[1:] * bands).long().clamp_max(bands - 1)
    return index, (index.unsqueeze(1) == torch.arange(bands, device="cpu")).sum(0)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _placed_bands(shape: tuple[int, ...], bands: int, device: torch.device) -> tuple[Tensor, Tensor]:
    index, counts = band_of(shape, bands)
    return index.to(device), counts.to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def present_bands(shape: tuple[int, ...], bands: int, device: torch.device) -> Tensor:
    """The bands that have a coefficient, in ascending order: a small grid has none near 0."""
    return band_of(shape, bands)[1].nonzero().flatten().to(device)


def low_pass(x: Tensor, cutoff: float) -> Tensor:
    """`[B, C, *axes]` without what lies above the relative frequency `cutoff`."""
    return dct(dct(x) * (_placed_radii(tuple(x.shape[2:]), x.device) <= cutoff), inverse=True)


def fourier_shift(x: Tensor, length: float, axis: int) -> Tensor:
    """x circularly shifted along `axis` by `length` positions, by its trigonometric interpolation.

    Exact for whole lengths, and for fractions of whatever has no energy at the highest frequency.
    """
    size = x.shape[axis]
    phase = -2 * math.pi * length * torch.fft.rfftfreq(size, device=x.device)
    spectrum = torch.fft.rfft(x.movedim(axis, -1)) * torch.polar(torch.ones_like(phase), phase)
    return torch.fft.irfft(spectrum, n=size).movedim(-1, axis)
