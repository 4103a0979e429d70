"""The loss balancer: EnCodec (Défossez et al. 2022, arXiv 2210.13438, section 3.4, eq. 5)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .. import ranks
from .adversary import with_gradient
from .balancer_config import BalancerConfig
from .base import AuxiliaryObjective
from .config import TokenizerParts

# Keeps the division finite where a loss has no gradient yet.
_DELTA = 1e-12


class Balancer(AuxiliaryObjective):
    """See `BalancerConfig`. A step's gradient of term i at the reconstruction x' is weight λ_i / Σλ g_i / <|g_i|>.

    |g_i| is the norm of a sample's gradient, averaged over the batch, and <.> its moving average over steps, corrected
    for its start as Adam's moments are. Σλ runs over the terms that the step has.
    """

    norms: Tensor
    seen: Tensor

    def __init__(self, config: BalancerConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("norms", torch.zeros(len(config.terms)))
        self.register_buffer("seen", torch.zeros(len(config.terms)))

    def balanced(self, terms: Mapping[str, Tensor], reconstruction: Tensor) -> dict[str, Tensor]:
        config, changed = self.config, dict(terms)
        present = [i for i, name in enumerate(config.terms) if name in terms and terms[name].requires_grad]
        if not self.training or not torch.is_grad_enabled():
            return changed
        total = sum(config.shares[i] for i in present)
        for i in present:
            name = config.terms[i]
            (gradient,) = torch.autograd.grad(terms[name], reconstruction, retain_graph=True)
            with torch.no_grad():
                norm = ranks.averaged(gradient.flatten(1).norm(dim=1).mean()) / ranks.count()
                self.norms[i] = self.norms[i] * config.decay + norm
                self.seen[i] = self.seen[i] * config.decay + 1
                share = config.weight * config.shares[i] / total
                scaled = gradient * (share / (self.norms[i] / self.seen[i] + _DELTA))
            changed[name] = with_gradient(terms[name], scaled, at=reconstruction)
        return changed
