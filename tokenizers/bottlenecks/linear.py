"""The linear autoencoder, trained or solved (PCA, A2): its least-squares optimum is PCA (Baldi and Hornik 1989)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..interface import Latents
from ..spec import LatentSpec
from .base import Bottleneck, BottleneckOutput
from .linear_config import LinearConfig


def principal_components(features: Iterable[Tensor], rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean `[D]`, leading components `[rank, D]` and their variances `[rank]`, float64, in one streamed pass.

    `features` are batches `[B, D, *grid]`, every position a sample. Sums are shifted by the first batch's mean, so that
    a large mean costs no precision. Signs are fixed: a component's largest entry is positive.
    """
    count, sums = 0, None
    for batch in features:
        rows = batch.movedim(1, -1).flatten(0, -2).double()
        if sums is None:
            shift = rows.mean(0)
            sums = torch.zeros_like(shift), shift.new_zeros(len(shift), len(shift))
        rows = rows - shift
        sums[0].add_(rows.sum(0))
        sums[1].addmm_(rows.T, rows)
        count += len(rows)
    if sums is None:
        raise ValueError("no features to take principal components of")
    total, products = sums
    offset = total / count
    variances, vectors = torch.linalg.eigh(products / count - torch.outer(offset, offset))
    components = vectors.flip(1)[:, :rank].T
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return shift + offset, components * largest.sign(), variances.flip(0)[:rank]


class Linear(Bottleneck):
    """z = W x + b, and x' = V z + c. Closed form: W = V^T are the principal components, c the mean, b = -W c."""

    def __init__(self, config: LinearConfig, spec: LatentSpec, *, features: int) -> None:
        super().__init__(config, spec, features=features)
        self.solved = config.solve == "closed-form"
        self.down = nn.Linear(features, spec.grid.channels)
        self.up = nn.Linear(spec.grid.channels, features)
        self.requires_grad_(not self.solved)

    def forward(self, features: Tensor) -> BottleneckOutput:
        latents = per_position(self.down, features)
        return BottleneckOutput(values=per_position(self.up, latents), unexpanded=latents)

    def encode(self, features: Tensor) -> Latents:
        return Latents(values=per_position(self.down, features))

    def expand(self, latents: Latents) -> Tensor:
        return per_position(self.up, super().expand(latents))

    @torch.no_grad()
    def on_train_start(self, features: Iterable[Tensor]) -> None:
        if not self.solved:
            return
        mean, components, _ = principal_components(features, self.down.out_features)
        self.down.weight.copy_(components)
        self.down.bias.copy_(-components @ mean)
        self.up.weight.copy_(components.T)
        self.up.bias.copy_(mean)


def per_position(layer: nn.Linear, x: Tensor) -> Tensor:
    """`layer` at every position: `[B, inputs, *grid]` to `[B, outputs, *grid]`."""
    return layer(x.movedim(1, -1)).movedim(-1, 1)
