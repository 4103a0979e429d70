"""A prior of hierarchies of codes (VQ-VAE-2; Razavi et al. 2019): coarse grid first, each finer one given the coarser.

p(codes) = product over grids k of p(grid k | grids before k), each factor an `ar`. A bidirectional transformer reads
grid k together with what is known from coarser grids; its features, upsampled to the next grid (nearest), are added to
that grid's inputs position by position. The joint likelihood is exact.

Shape legend: B batch, N positions of a grid, H its heads, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tokenizers.backbones.attention import AxialEmbedding
from ...tokenizers.interface import Latents
from ...tokenizers.spec import LatentGrid, LatentSpec
from ..latents import LatentBatch
from .ar import ARPrior
from .codes import CodeEmbedding, codes_of, drawing_noise, guided_pick, picker
from .conditioning import LabelledPrior, as_context
from .heldout import NLL_BITS
from .hierarchical_config import HierarchicalConfig
from .interface import evaluating
from .noise import uniform
from .transformer import Transformer


class HierarchicalPrior(LabelledPrior):
    """Next-code prediction over several grids of codes, coarse to fine."""

    held_out_scores = (NLL_BITS,)
    config: HierarchicalConfig

    def __init__(self, config: HierarchicalConfig, spec: LatentSpec) -> None:
        super().__init__(config, spec)
        self.grids = nn.ModuleList(ARPrior(config.grid_config, replace(spec, grids=(grid,))) for grid in spec.grids)
        self.readers = nn.ModuleList(
            Reader(coarse, fine.shape, config) for coarse, fine in zip(spec.grids, spec.grids[1:], strict=False)
        )
        self.add_labels(config.width)

    def nll(self, codes: list[Tensor], context: Tensor | None = None) -> list[Tensor]:
        """-log p in nats of every code given all before it, per grid: `[B, H, *grid]` to `[B, N, H]`.

        `context` `[B, 1, D]` (a label) is added to every input of every grid.
        """
        nats = []
        known = context
        for number, (ar, here) in enumerate(zip(self._ars, codes, strict=True)):
            nats.append(ar.nll(here, context=known))
            if number < len(self.readers):
                known = self._next(number, here, known, context)
        return nats

    def losses(self, batch: LatentBatch, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Mean nats per code over all grids as "loss", and bits per code of each grid."""
        nats = self._nats(batch)
        loss = torch.stack([part.sum() for part in nats]).sum() / sum(part.numel() for part in nats)
        parts = {f"bits_per_code_{k}": part.detach().mean() / math.log(2) for k, part in enumerate(nats)}
        return {"loss": loss, **parts}

    @torch.no_grad()
    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        """Exact "nll_bits" `[B]`: -log2 p of all grids together; given its label where conditioned."""
        with evaluating(self):
            nats = self._nats(batch)
        total = torch.stack([part.flatten(1).double().sum(1) for part in nats]).sum(0)
        return {"nll_bits": total / math.log(2)}

    @torch.no_grad()
    def sample_at(self, indices: range, *, seed: int, cached: bool = True) -> Latents:
        """Codes of the samples `indices`, grid after grid; without `cached`, each step recomputes its grid's prefix."""
        n, pick = len(indices), picker(self.config)
        if self.guides:
            pick = guided_pick(pick, self.config.guidance)
        context = as_context(self.drawn_vectors(indices, seed=seed))
        known, levels = context, []
        for number, ar in enumerate(self._ars):
            noise = drawing_noise(uniform(seed, indices, (ar.steps, len(ar.sizes)), stream=number)).to(self.device)
            codes, _ = ar.draw(noise.repeat(self.config.evaluations, 1, 1), pick, context=known, cached=cached)
            levels.append(Latents(codes=codes[:n]))
            if number < len(self.readers):
                known = self._next(number, codes, known, context)
        return replace(levels[0], rest=tuple(levels[1:]))

    @property
    def _ars(self) -> list[ARPrior]:
        return [cast(ARPrior, ar) for ar in self.grids]

    def _next(self, number: int, codes: Tensor, known: Tensor | None, context: Tensor | None) -> Tensor:
        features: Tensor = self.readers[number](codes, known)
        return features if context is None else features + context

    def _nats(self, batch: LatentBatch) -> list[Tensor]:
        codes = [codes_of(batch, level) for level in range(len(self.grids))]
        return self.nll(codes, as_context(self.vectors(batch)))


class Reader(nn.Module):
    """A grid of codes, and what is known from coarser ones, as features on the next finer grid."""

    def __init__(self, grid: LatentGrid, finer: tuple[int, ...], config: HierarchicalConfig) -> None:
        super().__init__()
        self.shape, self.finer = grid.shape, finer
        self.embedding = CodeEmbedding(grid.codebook_sizes, config.width)
        self.position = AxialEmbedding(grid.shape, config.width)
        self.trunk = Transformer(
            config.width, config.context_layers, config.attention_heads, causal=False, dropout=config.dropout
        )
        self.out = nn.Linear(config.width, config.width)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def forward(self, codes: Tensor, known: Tensor | None) -> Tensor:
        """Codes `[B, H, *grid]` and what is known there, `[B, 1 or N, D]`, to `[B, N of the finer grid, D]`."""
        x = self.embedding(codes.flatten(2).transpose(1, 2)) + self.position()
        if known is not None:
            x = x + known
        features = self.out(self.trunk(x)).transpose(1, 2).unflatten(2, self.shape)
        return F.interpolate(features, size=self.finer, mode="nearest").flatten(2).transpose(1, 2)
