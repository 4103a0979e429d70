"""Masked modelling (A22): MAETok, Chen et al. 2025 (arXiv 2502.03444), section 3.

Shape legend: B batch, N latent positions, P places of the signal's grid, E features, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..auxiliary.base import LossTerms, TrainingStep
from ..auxiliary.config import TokenizerParts
from ..backbones.attention import MLP, AxialEmbedding
from ..corruptions.mask import Mask
from ..geometry import grid_shape
from .features import FeaturePredictor
from .masked_modelling_config import MaskedModellingConfig

_HEAD_WIDTH = 16


class MaskedModelling(FeaturePredictor):
    """weight x mean over hidden places of 1 - cos(d(z), f): f the normalised features, d the shallow decoder."""

    def __init__(self, config: MaskedModellingConfig, tokenizer: TokenizerParts) -> None:
        self.patch = tuple(tokenizer.downsample)
        super().__init__(config.target, tokenizer.spec, grid_shape(tokenizer.signal, self.patch))
        self.config, grid = config, tokenizer.spec.grid
        shape = None if grid.topology == "set" else grid.shape
        self.decode = ShallowDecoder(grid.channels, self.target.channels, shape, self.places, width=config.width)
        self._visible: Tensor | None = None

    def read(self, signal: Tensor, *, step: int, steps: int) -> Tensor:
        if not self.training or step >= self.config.until * steps:
            self._visible = None
            return signal
        least, most = self.config.least, self.config.most
        ratio = least + (most - least) * float(torch.rand(()))
        self._visible = Mask(self.patch, ratio=ratio).draw(signal)
        return signal * self._visible

    def losses(self, training_step: TrainingStep) -> LossTerms:
        if self._visible is None:
            return LossTerms()
        hidden = 1 - self._visible[:, 0]
        for axis, size in enumerate(self.patch, start=1):
            hidden = hidden.index_select(axis, torch.arange(0, hidden.shape[axis], size, device=hidden.device))
        predicted = self.decode(training_step.bottleneck_output.latents.flatten(2).mT)
        target = self.normalised(training_step.signal).flatten(1, -2)
        cosine = F.cosine_similarity(predicted, target, dim=-1)
        weights = hidden.flatten(1)
        loss = ((1 - cosine) * weights).sum() / weights.sum().clamp_min(1)
        return LossTerms(losses={"masked": self.config.weight * loss}, logs={"masked_cosine": 1 - loss.detach()})


class ShallowDecoder(nn.Module):
    """One query per place attends to the latents, then an MLP: `[B, N, C]` to `[B, P, E]`.

    `shape` is the latents' grid, whose positions are known to it, or None for a set.
    """

    def __init__(
        self, inputs: int, outputs: int, shape: tuple[int, ...] | None, places: tuple[int, ...], *, width: int
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.positions = None if shape is None else AxialEmbedding(shape, width, std=0.1)
        self.queries = AxialEmbedding(places, width, std=0.1)
        self.heads = width // _HEAD_WIDTH
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, N, C]` to `[B, P, E]`."""
        x = self.embed(tokens)
        x = self.norm1(x if self.positions is None else x + self.positions())
        places = self.queries().expand(len(x), -1, -1)
        query, key, value = (
            layer(rows).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, rows in ((self.query, places), (self.key, x), (self.value, x))
        )
        read = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        out = places + read
        return self.head(out + self.mlp(self.norm2(out)))
