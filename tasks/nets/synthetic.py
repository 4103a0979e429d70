"""Random pictures and clips with the statistics of natural ones, which fix a feature net's projection without data."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def synthetic(n: int, channels: int, shape: tuple[int, ...]) -> Tensor:
    """`n` random pictures `[n, C, *shape]` in [-1, 1], the same at every call.

    Gaussian noise whose amplitude falls with frequency f as f^-a, a in [0.5, 2] (natural images have 1: Field 1987,
    doi 10.1364/JOSAA.4.002379), stretched by up to 4 along random axes; half of them mostly of two levels, which makes
    edges. Contrast, brightness, tint and a share of white noise are random too. The channels have most in common.
    """
    random = torch.Generator().manual_seed(0)
    ones = [1] * len(shape)

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *size, *[1] * (1 + len(shape) - len(size)), generator=random)

    stretch = torch.exp(torch.randn(n, len(shape), generator=random) * math.log(2))
    squares = torch.zeros(n, 1, *shape)
    for axis, size in enumerate(shape):
        along = [1, 1, *ones]
        along[axis + 2] = size
        squares = squares + (torch.fft.fftfreq(size).view(along) * stretch[:, axis].view(n, 1, *ones)) ** 2
    amplitude = (squares + 1 / max(shape) ** 2).sqrt() ** -uniform(0.5, 2.0)
    axes = tuple(range(2, 2 + len(shape)))
    white = torch.randn(n, channels, *shape, generator=random)
    x = torch.fft.ifftn(torch.fft.fftn(white, dim=axes) * amplitude, dim=axes).real
    x = x / (x.square().mean(axes, keepdim=True).sqrt() + 1e-6)
    x = torch.where(uniform(0, 1) < 0.5, x, 0.3 * x + 0.7 * x.sign())
    x = x[:, :1] + uniform(0.1, 0.5) * (x - x[:, :1])
    contrast = 0.35 * torch.exp(0.5 * torch.randn(n, 1, *ones, generator=random))
    level = 0.25 * torch.randn(n, 1, *ones, generator=random) + 0.12 * torch.randn(n, channels, *ones, generator=random)
    noise = uniform(0, 0.1) * torch.randn(n, channels, *shape, generator=random)
    return (contrast * x + level + noise).clamp(-1, 1)
