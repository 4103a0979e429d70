"""What exact priors of one grid of codes share: the loss and the held-out score, both from `nll`."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from ..latents import LatentBatch
from .codes import codes_of
from .heldout import NLL_BITS
from .interface import Prior, evaluating


class CodePrior(Prior):
    """A prior with an exact likelihood of every code given all before it. A subclass adds `nll` and `sample_at`."""

    held_out_scores = (NLL_BITS,)

    @abstractmethod
    def nll(self, codes: Tensor) -> Tensor:
        """-log p in nats of every code given all before it: `[B, H, *grid]` to `[B, N, H]`."""

    def losses(self, batch: LatentBatch, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Mean nats per code as "loss"."""
        loss = self.nll(codes_of(batch)).mean()
        return {"loss": loss, "bits_per_code": loss.detach() / math.log(2)}

    @torch.no_grad()
    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        """Exact "nll_bits" `[B]`: -log2 p of each sample."""
        with evaluating(self):
            nats = self.nll(codes_of(batch))
        return {"nll_bits": nats.flatten(1).double().sum(1) / math.log(2)}
