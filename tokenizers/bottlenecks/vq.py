"""Vector quantisation (VQ-VAE, A5; multi-head VQ, A6): van den Oord et al. 2017 (arXiv 1711.00937)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import ranks
from ..interface import Latents
from ..spec import LatentSpec
from .base import Bottleneck, BottleneckOutput
from .quantise import k_means, look_up, nearest, random_rows, straight_through, sums_per_code
from .vq_config import VQConfig

# Lloyd's algorithm sees this many features per code: enough for a start, bounded for large codebooks.
_ROWS_PER_CODE = 32
# Codes replaced near the end would have no time to settle.
_RESET_UNTIL = 0.8


class VQ(Bottleneck):
    """H codebooks `[H, K, D]` on channels split into H parts of D = C / H.

    Training minimises |sg[x] - e|^2 + commitment |x - sg[e]|^2, means over all entries (equation 3), the first term
    alone with rule "loss"; with rule "ema" the codes are moving averages (appendix A.1):
    N <- g N + (1 - g) n, m <- g m + (1 - g) sum x, e = m / N. The gradient passes from e to x unchanged.
    `normalise` divides features and codes by their norms first (Yu et al. 2022, arXiv 2110.04627).
    """

    whiten: ClassVar[bool] = False
    codebook: nn.Parameter
    counts: Tensor
    sums: Tensor
    idle: Tensor

    def __init__(self, config: VQConfig, spec: LatentSpec, *, features: int) -> None:
        super().__init__(config, spec, features=features)
        self.config = config
        heads, size = config.codebooks, config.codebook_size
        self.codebook = nn.Parameter(
            torch.randn(heads, size, spec.grid.channels // heads), requires_grad=config.rule == "loss"
        )
        self.register_buffer("idle", torch.zeros(heads, size))
        if config.rule == "ema":
            self.register_buffer("counts", torch.ones(heads, size))
            self.register_buffer("sums", self.codebook.detach().clone())
        self._chosen: tuple[Tensor, Tensor] | None = None

    def forward(self, features: Tensor) -> BottleneckOutput:
        rows = self._rows(features)
        codes = self._nearest(rows)
        values = look_up(codes, self._codes())
        losses = {"commitment": self.config.commitment * F.mse_loss(rows, values.detach())}
        if self.config.rule == "loss":
            losses["codebook"] = F.mse_loss(values, rows.detach())
        if self.training and torch.is_grad_enabled():
            self._chosen = rows.detach(), codes
        return BottleneckOutput(values=self._features(straight_through(rows, values.detach()), features), losses=losses)

    def encode(self, features: Tensor) -> Latents:
        codes = self._nearest(self._rows(features))
        heads, grid = len(codes), features.shape[2:]
        shaped = codes.view(heads, len(features), *grid).movedim(0, 1)
        return Latents(values=self._features(look_up(codes, self._codes()), features), codes=shaped)

    def lookup(self, codes: Tensor) -> Tensor:
        """`[B, H, *grid]` codes to values `[B, C, *grid]`."""
        values = look_up(codes.movedim(1, 0).flatten(1), self._codes())
        batch, _, *grid = codes.shape
        return values.movedim(0, 1).reshape(batch, *grid, -1).movedim(-1, 1)

    @torch.no_grad()
    def on_train_start(self, features: Iterable[Tensor]) -> None:
        heads, size, _ = self.codebook.shape
        parts, missing = [], _ROWS_PER_CODE * size
        for batch in features:
            parts.append(self._rows(batch))
            missing -= parts[-1].shape[1]
            if missing <= 0:
                break
        if parts:
            codes = k_means(torch.cat(parts, dim=1), size, self.config.kmeans, spherical=self.config.normalise)
            self._set_codes(codes, torch.ones(heads, size, dtype=torch.bool, device=codes.device))

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        if self._chosen is None:
            return
        (rows, codes), self._chosen = self._chosen, None
        rows, codes = ranks.gathered(rows, 1), ranks.gathered(codes, 1)
        size = self.codebook.shape[1]
        counts, sums = sums_per_code(rows, codes, size)
        if self.config.rule == "ema":
            self.counts.lerp_(counts, 1 - self.config.decay)
            self.sums.lerp_(sums, 1 - self.config.decay)
            means = self.sums / self.counts.unsqueeze(-1)
            means = F.normalize(means, dim=-1) if self.config.normalise else means
            # A code long unused has moments too small to divide; it stays where it was.
            self.codebook.copy_(torch.where((self.counts > 1e-6).unsqueeze(-1), means, self.codebook))
        if self.config.reset_after and step < _RESET_UNTIL * steps:
            self.idle.add_(rows.shape[1]).masked_fill_(counts > 0, 0.0)
            dead = self.idle > self.config.reset_after * size
            self._set_codes(random_rows(rows, size), dead)

    def _rows(self, features: Tensor) -> Tensor:
        """`[B, C, *grid]` to `[H, B x positions, D]`, on the unit sphere with `normalise`."""
        heads = self.codebook.shape[0]
        rows = features.float().movedim(1, -1).flatten(0, -2).unflatten(-1, (heads, -1)).movedim(1, 0)
        return F.normalize(rows, dim=-1) if self.config.normalise else rows

    def _nearest(self, rows: Tensor) -> Tensor:
        """`[H, N, D]` rows to the codes that they choose, `[H, N]`."""
        return nearest(rows, self._codes())

    def _features(self, rows: Tensor, like: Tensor) -> Tensor:
        """`[H, B x positions, D]` to `[B, C, *grid]`, the grid of `like`."""
        batch, _, *grid = like.shape
        return rows.movedim(0, 1).reshape(batch, *grid, -1).movedim(-1, 1)

    def _codes(self) -> Tensor:
        return F.normalize(self.codebook, dim=-1) if self.config.normalise else self.codebook

    def _set_codes(self, codes: Tensor, where: Tensor) -> None:
        """Replaces the codes at `where` `[H, K]`, without asking the device how many there are."""
        self.codebook.copy_(torch.where(where.unsqueeze(-1), codes, self.codebook))
        self.idle.masked_fill_(where, 0.0)
        if self.config.rule == "ema":
            self.counts.masked_fill_(where, 1.0)
            self.sums.copy_(torch.where(where.unsqueeze(-1), codes, self.sums))
