"""Autoregressive prior of multisets of codes: exact likelihood, KV-cached sampling.

A multiset is its codes in ascending order (lexicographic over the heads of a position), and every ascending sequence is
one: a chain over such sequences in which a code that precedes the last has probability zero is a distribution of
multisets. No sum over orders is needed.

Shape legend: B batch, N positions, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...tokenizers.sets import arranged, order_of
from ...tokenizers.spec import LatentSpec
from .ar import ARPrior
from .codes import DepthHead, Pick
from .set_ar_config import SetARConfig


class SetARPrior(ARPrior):
    """Next-code prediction over one set of codes `[B, H, N]`, in whatever order they come."""

    head: DepthHead

    def __init__(self, config: SetARConfig, spec: LatentSpec) -> None:
        super().__init__(config.sequence_config, spec)

    def nll(self, codes: Tensor, *, lengths: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """-log p in nats of every code given all that don't come after it in ascending order: `[B, H, N]` to
        `[B, N, H]`; their sum is that of the multiset."""
        inputs = arranged(codes, order_of(codes)).transpose(1, 2)
        before = torch.cat((torch.zeros_like(inputs[:, :1]), inputs[:, :-1]), dim=1)
        return self.head.nll(self.hidden(inputs[:, :-1], context=context), inputs, before=before)

    def draw(
        self,
        noise: Tensor,
        pick: Pick,
        *,
        first: Tensor | None = None,
        context: Tensor | None = None,
        cached: bool = True,
    ) -> tuple[Tensor, None]:
        """Codes `[B, H, N]` in ascending order, drawn by `pick` from noise `[B, N, H]`; a set has no `first` frames."""
        codes = torch.zeros(noise.shape, dtype=torch.long, device=noise.device)
        before = torch.zeros_like(codes[:, 0])
        advance = self._cached_step(len(noise), context) if cached else self._prefix_step(context)
        for step in range(self.steps):
            self.head.draw(advance(codes, None, step), noise[:, step], codes[:, step], pick, before=before)
            before = codes[:, step]
        return codes.transpose(1, 2), None
