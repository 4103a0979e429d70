"""Soft vector quantisation (A23): SoftVQ-VAE, Chen et al. 2024 (arXiv 2412.10958), equations 3 to 6.

Shape legend: R rows (batch x positions), K codes, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .. import ranks
from ..interface import Latents
from ..spec import LatentSpec
from .base import Bottleneck, BottleneckOutput
from .quantise import k_means
from .soft_vq_config import SoftVQConfig

# As many rows per code start the codebook.
_ROWS_PER_CODE = 32
_TINY = 1e-12


class SoftVQ(Bottleneck):
    """z = sum_k q_k e_k, which is differentiable everywhere: no straight-through gradient, no commitment.

    The loss is entropy x (E[H(q)] - H(E[q])), in nats. The latents are what the decoder reads: the means.
    """

    def __init__(self, config: SoftVQConfig, spec: LatentSpec, *, features: int) -> None:
        super().__init__(config, spec, features=features)
        self.config = config
        self.codebook = nn.Parameter(torch.randn(config.codebook_size, spec.grid.channels))

    def forward(self, features: Tensor) -> BottleneckOutput:
        log_q = self._log_weights(features)
        sure = -(log_q.exp() * log_q).sum(-1).mean()
        mean = ranks.averaged(log_q.exp().flatten(0, -2).mean(0))
        spread = -(mean * (mean + _TINY).log()).sum()
        values = (log_q.exp() @ self.codebook).movedim(-1, 1)
        logs = {"assignment_nats": sure.detach(), "used_nats": spread.detach()}
        return BottleneckOutput(values=values, losses={"entropy": self.config.entropy * (sure - spread)}, logs=logs)

    def encode(self, features: Tensor) -> Latents:
        return Latents(values=(self._log_weights(features).exp() @ self.codebook).movedim(-1, 1))

    @torch.no_grad()
    def on_train_start(self, features: Iterable[Tensor]) -> None:
        """The codebook starts at the means of clusters of features of some samples."""
        parts, missing = [], _ROWS_PER_CODE * self.config.codebook_size
        for batch in features:
            parts.append(batch.float().movedim(1, -1).flatten(0, -2))
            missing -= len(parts[-1])
            if missing <= 0:
                break
        if parts:
            self.codebook.copy_(k_means(torch.cat(parts)[None], self.config.codebook_size, self.config.kmeans)[0])

    def _log_weights(self, features: Tensor) -> Tensor:
        """log q, `[B, *grid, K]`, of features `[B, C, *grid]`."""
        rows = features.float().movedim(1, -1)
        codes = self.codebook
        spread = (codes - codes.mean(0)).square().sum(-1).mean().detach().clamp_min(_TINY)
        # |x - e|^2 less |x|^2, which all codes share
        distance = codes.square().sum(-1) - 2 * rows @ codes.T
        return (-distance / (self.config.temperature * spread)).log_softmax(-1)
