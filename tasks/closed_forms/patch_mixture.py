"""A mixture of Gaussians of small patches. Shape legend: N samples, C channels, *grid the axes of a latent, D values of
a patch, K components."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ..metrics.balls import evenly
from ..proxies.mixture import COMPONENTS, VECTORS, Mixture
from .interface import ClosedForm

SIDE = 2
_LEAST = 10  # vectors per component and value of a patch, below which there are fewer components


class PatchMixture(ClosedForm):
    """See `PatchMixtureConfig`: patches that tile the grid, fitted by expectation and maximisation (full covariances,
    up to 8 components and 20,000 patches) and drawn independently of each other and of their place.

    Where a side of the grid is odd, the last patches are cut: they are not fitted to, and drawn as the others.
    """

    def fit(self, data: Tensor) -> None:
        self.shape = tuple(data.shape[1:])
        grid = self.shape[1:]
        self.side = [min(SIDE, length) for length in grid]
        vectors = torch.cat([self._at(data, corner) for corner in self._corners(whole=True)])
        vectors = vectors[evenly(len(vectors), VECTORS)]
        components = max(1, min(COMPONENTS, len(vectors) // (_LEAST * vectors.shape[1])))
        self.mixture = Mixture(vectors, components)
        self.roots = torch.linalg.cholesky(self.mixture.covariance)  # [K, D, D]

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        channels, *grid = self.shape
        drawn = torch.empty(n, channels, *grid, dtype=torch.float64)
        for corner in self._corners(whole=False):
            which = torch.multinomial(self.mixture.log_weight.exp(), n, replacement=True, generator=generator)
            noise = torch.randn(n, self.roots.shape[1], generator=generator, dtype=torch.float64)
            patch = self.mixture.mean[which] + torch.einsum("nij,nj->ni", self.roots[which], noise)
            patch = patch.view(n, channels, *self.side)
            kept = [min(side, length - at) for side, length, at in zip(self.side, grid, corner, strict=True)]
            place = (slice(None), slice(None), *(slice(at, at + k) for at, k in zip(corner, kept, strict=True)))
            drawn[place] = patch[(slice(None), slice(None), *(slice(k) for k in kept))]
        return drawn

    def _corners(self, *, whole: bool) -> list[tuple[int, ...]]:
        """Where patches begin; `whole` leaves out those that the grid's end cuts."""
        grid = self.shape[1:]
        axes = [
            range(0, length - side + 1 if whole else length, side) for length, side in zip(grid, self.side, strict=True)
        ]
        return list(itertools.product(*axes))

    def _at(self, data: Tensor, corner: tuple[int, ...]) -> Tensor:
        """The patches at one corner, `[N, D]`."""
        inside = (slice(at, at + side) for at, side in zip(corner, self.side, strict=True))
        return data[(slice(None), slice(None), *inside)].flatten(1)
