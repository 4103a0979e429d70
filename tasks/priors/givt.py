"""GIVT: autoregression over continuous tokens with a Gaussian-mixture output (Tschannen et al. 2023).

p(tokens) = product over positions n in raster order of sum_k pi_k N(x_n; mu_k, diag(s_k^2)), all given the positions
before n: an exact density.

Shape legend: B batch, N tokens, P values per token, K mixture components, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tokenizers.interface import Latents
from ...tokenizers.spec import LatentSpec
from ..latents import LatentBatch
from .codes import drawing_noise, inverse_cdf
from .givt_config import GIVTConfig
from .heldout import NLL_DENSITY_BITS
from .interface import evaluating
from .noise import normal, uniform
from .tokens import TokenPrior

_ONE = math.log(math.e - 1)  # softplus of it is 1


class GIVTPrior(TokenPrior):
    """Exact density over one grid of values `[B, C, *grid]`, rank 1 to 3."""

    held_out_scores = (NLL_DENSITY_BITS,)
    config: GIVTConfig

    def __init__(self, config: GIVTConfig, spec: LatentSpec) -> None:
        super().__init__(config, spec, causal=True)
        self.head = MixtureHead(config.width, self.elements, config.mixtures, config.min_scale)

    def nll(self, batch: LatentBatch) -> Tensor:
        """-log density in nats of every token given all before it, `[B, N]`."""
        tokens = self.tokens(batch)
        return self.head.nll(self.trunk.before(tokens, self.vectors(batch)), tokens, self.inside)

    def losses(self, batch: LatentBatch, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Mean nats per latent element as "loss"."""
        loss = self.nll(batch).sum(1).mean() / self.spec.grid.elements
        return {"loss": loss, "density_bits_per_latent": loss.detach() / math.log(2)}

    @torch.no_grad()
    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        """ "nll_density_bits" `[B]`: -log2 of the exact density of each sample's normalised latents.

        A density, not a probability: negative where latents are concentrated, and moved by rescaling the latents.
        """
        with evaluating(self):
            nats = self.nll(batch)
        return {"nll_density_bits": nats.double().sum(1) / math.log(2)}

    @torch.no_grad()
    def sample_at(self, indices: range, *, seed: int) -> Latents:
        """Values `[B, C, *grid]` of the samples `indices`, one token after another with a KV cache."""
        noise = normal(seed, indices, (self.count, self.elements)).to(self.device)
        which = drawing_noise(uniform(seed, indices, (self.count,), stream=1)).to(self.device)
        vector = self.drawn_vectors(indices, seed=seed)
        step = self.trunk.stepper(len(indices), self.count, vector)
        tokens = torch.empty_like(noise)
        last: Tensor | None = None
        for position in range(self.count):
            logits, means, scales = self.head(step(last, position))
            chosen = inverse_cdf(logits, which[:, position])[:, None, None].expand(-1, 1, self.elements)
            mean, scale = (part.gather(1, chosen)[:, 0] for part in (means, scales))
            last = (mean + self.config.temperature * scale * noise[:, position]) * self.inside[position]
            tokens[:, position] = last
        return Latents(values=self.values(tokens))


class MixtureHead(nn.Module):
    """A mixture of K diagonal Gaussians over P values; all deviations 1 and the means apart at the start."""

    def __init__(self, width: int, elements: int, mixtures: int, min_scale: float) -> None:
        super().__init__()
        self.elements, self.mixtures, self.min_scale = elements, mixtures, min_scale
        self.out = nn.Linear(width, mixtures * (1 + 2 * elements))
        nn.init.normal_(self.out.weight, std=0.02)
        with torch.no_grad():
            _, means, scales = self._split(self.out.bias)
            self.out.bias.zero_()
            if mixtures > 1:
                means.normal_(std=0.5)
            scales.fill_(_ONE)

    def _split(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        k, p = self.mixtures, self.elements
        logits, means, scales = raw.split((k, k * p, k * p), dim=-1)
        return logits, means.unflatten(-1, (k, p)), scales.unflatten(-1, (k, p))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Summaries `[..., D]` to logits `[..., K]`, means and deviations `[..., K, P]`."""
        logits, means, scales = self._split(self.out(hidden).float())
        return logits, means, F.softplus(scales) + self.min_scale

    def nll(self, hidden: Tensor, tokens: Tensor, inside: Tensor) -> Tensor:
        """-log density in nats `[B, N]` of tokens `[B, N, P]`, of those values alone where `inside` `[N, P]` is 1."""
        logits, means, scales = self(hidden)
        z = (tokens[..., None, :] - means) / scales
        each = (-0.5 * z.square() - scales.log() - 0.5 * math.log(2 * math.pi)) * inside[:, None]
        return -torch.logsumexp(logits.log_softmax(dim=-1) + each.sum(dim=-1), dim=-1)
