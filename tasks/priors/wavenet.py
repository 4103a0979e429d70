"""WaveNet-like autoregression over codes of one axis: exact likelihood, sampling with the layers' inputs kept.

p(codes) = product over positions n and heads j of p(c[n, j] | positions before n that the stack reaches, c[n, < j]).

Shape legend: B batch, N positions, H heads, W width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tokenizers.interface import Latents
from ...tokenizers.spec import LatentSpec
from .code_prior import CodePrior
from .codes import CodeEmbedding, DepthHead, drawing_noise, picker
from .dilated import DilatedStack
from .noise import uniform
from .wavenet_config import WaveNetConfig


class WaveNetPrior(CodePrior):
    """Next-code prediction over codes `[B, H, N]`."""

    config: WaveNetConfig

    def __init__(self, config: WaveNetConfig, spec: LatentSpec) -> None:
        super().__init__(config, spec)
        self.sizes, self.positions = spec.grid.codebook_sizes, spec.grid.positions
        self.start = nn.Parameter(torch.randn(config.width))
        self.embedding = CodeEmbedding(self.sizes, config.width)
        # convolutions without a norm need inputs of unit size
        nn.init.normal_(self.embedding.weight, std=len(self.sizes) ** -0.5)
        self.stack = DilatedStack(config.width, config.layers, config.cycle, causal=True, dropout=config.dropout)
        self.mix = nn.Linear(config.width, config.width)
        self.head = DepthHead(self.sizes, config.width, config.width, config.depth_layers)

    def hidden(self, codes: Tensor) -> Tensor:
        """Summaries `[B, n + 1, W]` of what precedes positions 0 to n, from codes `[B, n, H]`."""
        start = self.start.expand(len(codes), 1, -1)
        x = torch.cat((start, self.embedding(codes)), dim=1) if codes.shape[1] else start
        return self._finish(self.stack(x.transpose(1, 2)).transpose(1, 2))

    def nll(self, codes: Tensor) -> Tensor:
        """-log p in nats of every code given all before it: `[B, H, N]` to `[B, N, H]`."""
        flat = codes.transpose(1, 2)
        return self.head.nll(self.hidden(flat[:, :-1]), flat)

    @torch.no_grad()
    def sample_at(self, indices: range, *, seed: int, cached: bool = True) -> Latents:
        """Codes `[B, H, N]` of the samples `indices`; without `cached`, each step recomputes the prefix."""
        noise = drawing_noise(uniform(seed, indices, (self.positions, len(self.sizes)))).to(self.device)
        codes = torch.zeros(noise.shape, dtype=torch.long, device=self.device)
        step = self._cached_step(len(indices)) if cached else self._prefix
        pick = picker(self.config)
        for position in range(self.positions):
            self.head.draw(step(codes, position), noise[:, position], codes[:, position], pick)
        return Latents(codes=codes.transpose(1, 2).contiguous())

    def _cached_step(self, batch: int) -> Callable[[Tensor, int], Tensor]:
        cache = self.stack.cache(batch, self.positions)

        def step(codes: Tensor, position: int) -> Tensor:
            start = self.start.expand(batch, -1)
            x = start if position == 0 else self.embedding(codes[:, position - 1 : position])[:, 0]
            return self._finish(self.stack.step(x, position, cache))

        return step

    def _prefix(self, codes: Tensor, position: int) -> Tensor:
        return self.hidden(codes[:, :position])[:, -1]

    def _finish(self, x: Tensor) -> Tensor:
        return F.silu(self.mix(F.silu(x)))
