"""Values that know nothing of each other. Shape legend: N samples, C channels, *grid the axes of a latent."""

from __future__ import annotations

import torch
from torch import Tensor

from .interface import ClosedForm


class Independent(ClosedForm):
    """See `IndependentConfig`: the marginal distribution of every place and channel is the training split's own."""

    def fit(self, data: Tensor) -> None:
        self.data = data

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        flat = self.data.flatten(1)
        rows = torch.randint(len(flat), (n, flat.shape[1]), generator=generator)
        return flat.gather(0, rows).view(n, *self.data.shape[1:])
