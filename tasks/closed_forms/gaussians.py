"""Gaussian latents. Shape legend: N samples, C channels, P positions, D = C times P, *grid the axes of a latent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..proxies.spectrum import dct
from .interface import ClosedForm


class Kronecker(ClosedForm):
    """See `KroneckerConfig`: N(μ, Σ_C ⊗ Σ_P / v), with Σ_C over samples and positions, Σ_P over samples and channels,
    and v their common mean variance, as `viv` takes it."""

    def fit(self, data: Tensor) -> None:
        self.mean = data.double().mean(0)
        x = (data.double() - self.mean).flatten(2)
        n, channels, positions = x.shape
        by_channel = x.transpose(0, 1).flatten(1)
        by_position = x.flatten(0, 1)
        self.channels = root(by_channel @ by_channel.t() / (n * positions))
        self.positions = root(by_position.t() @ by_position / (n * channels))
        self.variance = float(x.square().mean())

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(n, len(self.channels), len(self.positions), generator=generator, dtype=torch.float64)
        drawn = self.channels @ noise @ self.positions / math.sqrt(max(self.variance, 1e-300))
        return self.mean + drawn.view(n, *self.mean.shape)


class Gaussian(ClosedForm):
    """See `GaussianConfig`: N(μ, (1 - ρ) S + ρ tr(S)/D I) with the sample covariance S.

    ρ is that of the oracle approximating shrinkage (Chen et al. 2010, IEEE Transactions on Signal Processing 58, eq.
    23). A sample is a random combination of the data and white noise, so that no covariance is factored.
    """

    def fit(self, data: Tensor) -> None:
        self.mean = data.double().mean(0)
        self.centred = (data.double() - self.mean).flatten(1)
        n, elements = self.centred.shape
        small = self.centred if n <= elements else self.centred.t()
        trace, square = float(self.centred.square().sum()) / n, float((small @ small.t()).square().sum()) / n**2
        above = (1 - 2 / elements) * square + trace**2
        below = (n + 1 - 2 / elements) * (square - trace**2 / elements)
        self.shrinkage = min(1.0, above / below) if below > 0 else 1.0
        self.spread = trace / elements

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        weights = torch.randn(n, len(self.centred), generator=generator, dtype=torch.float64)
        white = torch.randn(n, self.centred.shape[1], generator=generator, dtype=torch.float64)
        of_data = math.sqrt((1 - self.shrinkage) / len(self.centred)) * (weights @ self.centred)
        drawn = of_data + math.sqrt(self.shrinkage * self.spread) * white
        return self.mean + drawn.view(n, *self.mean.shape)


class Stationary(ClosedForm):
    """See `StationaryConfig`: independent DCT-II coefficients, with the mean and the channels' covariance that each
    frequency has in the data. The transform reflects at the borders, which latents do not wrap around."""

    def fit(self, data: Tensor) -> None:
        axes = data.ndim - 2
        x = dct(data.double(), axes).flatten(2)  # [N, C, P]
        self.mean = torch.zeros(data.shape[1:], dtype=torch.float64).flatten(1)
        self.mean[:, 0] = x[..., 0].mean(0)  # a stationary mean is constant
        centred = (x - self.mean).permute(2, 1, 0)
        self.roots = root(centred @ centred.transpose(1, 2) / len(data))  # [P, C, C]

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(len(self.roots), len(self.mean), n, generator=generator, dtype=torch.float64)
        x = (self.roots @ noise).permute(2, 1, 0) + self.mean
        return inverse_dct(x.reshape(n, len(self.mean), *self.spec.grid.shape), len(self.spec.grid.shape))


def root(covariance: Tensor) -> Tensor:
    """The symmetric root of positive semidefinite matrices `[..., d, d]`."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt().unsqueeze(-2)) @ vectors.transpose(-1, -2)


def inverse_dct(x: Tensor, axes: int) -> Tensor:
    """The inverse of the orthonormal DCT-II over the last `axes` axes: its transpose."""
    for axis in range(x.ndim - axes, x.ndim):
        basis = dct(torch.eye(x.shape[axis], dtype=x.dtype), 1)  # row i: the coefficients of a 1 at place i
        x = (x.transpose(axis, -1) @ basis.t()).transpose(axis, -1)
    return x
