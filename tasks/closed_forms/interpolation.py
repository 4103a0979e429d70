"""Between neighbours: what interpolated latents decode to. Shape legend: N samples, D elements of a latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .interface import ClosedForm

NEIGHBOURS = 10


class Interpolation(ClosedForm):
    """See `InterpolationConfig`: the samples of iFID (interpolated FID).

    A training latent, one of its ten nearest others by cosine, drawn by softmax(-mean squared difference), and the
    point half-way on the great circle between them.
    """

    def fit(self, data: Tensor) -> None:
        self.shape = tuple(data.shape[1:])
        self.data = data.flatten(1).double()
        self.unit = nn.functional.normalize(self.data, dim=1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(self.data), (n,), generator=generator)
        likeness = self.unit[rows] @ self.unit.t()
        likeness[torch.arange(n), rows] = -2  # no cosine is so low: it is no neighbour of itself
        near = likeness.topk(min(NEIGHBOURS, len(self.data) - 1), dim=1).indices
        start = self.data[rows]
        apart = torch.stack([(self.data[column] - start).square().mean(1) for column in near.unbind(1)], 1)
        chosen = torch.multinomial((-apart).softmax(1), 1, generator=generator)
        return halfway(start, self.data[near.gather(1, chosen)[:, 0]]).view(n, *self.shape)


def halfway(a: Tensor, b: Tensor) -> Tensor:
    """Spherical interpolation of rows `[n, D]` at one half: (a + b) sin(θ/2)/sin θ, θ the angle between them."""
    cosine = nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    # sin(θ/2) / sin θ = 1 / (2 cos(θ/2)), and 2 cos²(θ/2) = 1 + cos θ; opposite rows have no great circle.
    scale = 1 / (2 * (1 + cosine)).clamp_min(1e-6).sqrt()
    return scale[:, None] * (a + b)
