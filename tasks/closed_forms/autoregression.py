"""Linear autoregression over positions. Shape legend: N samples, C channels, P positions, *grid a latent's axes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..proxies.predictability import causal_offsets, moments
from .gaussians import root
from .interface import ClosedForm

_RIDGE = 1e-3  # of the values' variance, 1


class Autoregression(ClosedForm):
    """See `AutoregressionConfig`: z(p) = b + Σ A_o z(p + o) + ε over the causal neighbours p + o, diagonal ones
    included and 0 beyond the border; b, A by ridge regression, ε of the residuals' covariance over channels."""

    def fit(self, data: Tensor) -> None:
        total = moments(data.float())
        channels = data.shape[1]
        known, own = [0, *range(1 + channels, len(total))], list(range(1, 1 + channels))
        gram, cross = total[known][:, known], total[known][:, own]
        ridge = torch.full((len(known),), _RIDGE, dtype=torch.float64) * total[0, 0]
        ridge[0] = 0
        self.weights = torch.linalg.solve(gram + ridge.diag(), cross)
        error = total[own][:, own] - self.weights.t() @ cross - cross.t() @ self.weights
        self.noise = root((error + self.weights.t() @ gram @ self.weights) / total[0, 0])
        self.shape = tuple(data.shape[1:])

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        channels, *grid = self.shape
        # A border of zeros on both sides of every axis: a neighbour beyond it reads 0.
        padded = torch.zeros(n, channels, *(length + 2 for length in grid), dtype=torch.float64)
        offsets = causal_offsets(tuple(grid))
        for place in torch.cartesian_prod(*[torch.arange(length) for length in grid]).view(-1, len(grid)).tolist():
            at = [index + 1 for index in place]
            before = [padded[(..., *(a + o for a, o in zip(at, offset, strict=True)))] for offset in offsets]
            read = torch.cat([torch.ones(n, 1, dtype=torch.float64), *before], dim=1)
            noise = torch.randn(n, channels, generator=generator, dtype=torch.float64)
            padded[(..., *at)] = read @ self.weights + noise @ self.noise
        inside: tuple[slice, ...] = (slice(None), slice(None), *[slice(1, -1)] * len(grid))
        return padded[inside].contiguous()
