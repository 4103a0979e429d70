"""How well a mixture of Gaussians describes the vectors at single positions. Shape legend: n vectors, C channels, K
components."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.balls import evenly
from .interface import NORMALISED, Proxy, ProxyInput, Value, metric

COMPONENTS = 8
VECTORS = 20_000
_STEPS = 30
_LEAST = 40  # vectors per component and channel, below which it describes its own sample
_LARGEST = 64  # channels


class Mixture:
    """K Gaussians with full covariances, fitted by expectation and maximisation in float64.

    It starts from vectors drawn far from each other (k-means++, Arthur and Vassilvitskii 2007).
    """

    def __init__(self, x: Tensor, components: int, *, seed: int = 0) -> None:
        x = x.double()
        generator = torch.Generator().manual_seed(seed)
        channels = x.shape[1]
        self.floor = 1e-6 * torch.eye(channels, dtype=torch.float64) * x.var(0, correction=0).mean().clamp_min(1e-12)
        self.mean, nearest = _spread(x, components, generator)
        sphere = float(nearest.mean()) / channels * torch.eye(channels, dtype=torch.float64) + self.floor
        self.covariance = sphere.expand(components, -1, -1).clone()
        self.log_weight = torch.full((components,), -math.log(components), dtype=torch.float64)
        for _ in range(_STEPS):
            share = (self._joint(x) - self.log_prob(x)[:, None]).exp()
            counts = share.sum(0) + 1e-9
            self.log_weight = (counts / counts.sum()).log()
            self.mean = share.t() @ x / counts[:, None]
            for k in range(components):
                centred = x - self.mean[k]
                self.covariance[k] = (share[:, k, None] * centred).t() @ centred / counts[k] + self.floor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log densities of `[n, C]` in nats: `[n]`."""
        return self._joint(x.double()).logsumexp(1)

    def _joint(self, x: Tensor) -> Tensor:
        """log(weight x density) by component, `[n, K]`."""
        columns = []
        for mean, covariance, log_weight in zip(self.mean, self.covariance, self.log_weight, strict=True):
            root = torch.linalg.cholesky(covariance)
            white = torch.linalg.solve_triangular(root, (x - mean).t(), upper=False)
            constant = root.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
            columns.append(log_weight - constant - 0.5 * white.square().sum(0))
        return torch.stack(columns, 1)


def _spread(x: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` rows of `[n, C]`, each drawn by its squared distance from those before; and the rows' to the nearest."""
    first = int(torch.randint(len(x), (1,), generator=generator))
    rows, nearest = [first], (x - x[first]).square().sum(1)
    for _ in range(count - 1):
        row = int(torch.multinomial(nearest + 1e-12, 1, generator=generator))
        rows.append(row)
        nearest = torch.minimum(nearest, (x - x[row]).square().sum(1))
    return x[rows].clone(), nearest


class MixtureLikelihood(Proxy):
    """See `MixtureLikelihoodConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        value: Value = None
        channels = z.shape[1]
        if len(z) >= 20 and 0 < channels <= _LARGEST:
            held_out = torch.arange(len(z)) % 5 == 4  # whole samples: positions of one are alike
            sides = []
            for part, most in ((z[~held_out], VECTORS), (z[held_out], VECTORS // 4)):
                vectors = part.flatten(2).transpose(1, 2).flatten(0, 1)
                sides.append(vectors[evenly(len(vectors), most)])
            fitted, other = sides
            if len(fitted) >= _LEAST * COMPONENTS * channels:
                losses = -Mixture(fitted, COMPONENTS).log_prob(other) / channels
                parts = [float(part.mean()) for part in losses.chunk(10)]  # neighbours in a chunk share a sample
                mean = float(losses.mean())
                se = float(torch.tensor(parts).std()) / math.sqrt(len(parts))
                value = (mean, se, 2.26 * se)
        protocol = (
            f"held-out nats per channel of a mixture of {COMPONENTS} Gaussians of the vectors at single positions "
            f"(up to {VECTORS}); a Gaussian of independent channels has 1.419; {NORMALISED}"
        )
        if value is None:
            protocol += f"; withheld: more than {_LARGEST} channels, or too few vectors"
        return (metric("mixture_nll", value, latents, direction="lower", unit="nat", protocol=protocol),)
