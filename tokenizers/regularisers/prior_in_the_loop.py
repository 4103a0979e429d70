"""A light causal prior whose likelihood of the latents trains the encoder too (prior in the loop, B5).

LARP (Wang et al. 2024, arXiv 2410.21264) for codes, CRT (Ramanujan et al. 2024, arXiv 2412.16326); on continuous
latents the rate term of an end-to-end model (LSGM, Vahdat et al. 2021), with an autoregressive prior.

Shape legend: B batch, N positions in raster order, C channels, H heads, K codes of a head, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import ranks
from ..auxiliary.base import LossTerms, TrainingStep
from ..auxiliary.config import TokenizerParts
from ..backbones.attention import MLP, Attention, AxialEmbedding
from ..bottlenecks.base import Bottleneck
from ..recompute import RecomputedBlock
from .base import Regulariser
from .prior_in_the_loop_config import PriorInTheLoopConfig

_TINY = 1e-8
_HEAD_WIDTH = 16


class PriorInTheLoop(Regulariser):
    """weight x rate / elements: the nats that the prior needs for a sample's latents, over the signal's elements.

    Continuous latents are normalised per channel by the batch's moments, and the gradient passes through the moments:
    the loss does not depend on the latents' scale, so shrinking them does not lower it. Prior and decoder then read
    them with noise of `resolution` deviations, which hides whatever is finer, so the signal can't be moved below the
    resolution either. The rate is the negative log-likelihood minus the entropy of the noise: at least 0 on average,
    and 0 only for latents that the preceding ones determine.

    Codes cost their cross-entropy. The context's gradient takes the quantiser's straight-through path, as in LARP. The
    target's gradient is that of its soft assignment, which weighs code k in proportion to exp(-|x - e_k|^2 / (2 s^2)),
    s^2 the codes' variance per channel, at the quantised value: a feature moves towards codes that the prior expects.
    """

    def __init__(self, config: PriorInTheLoopConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        grid = tokenizer.spec.grid
        self.config = config
        self.elements = tokenizer.signal.elements
        self.sizes = grid.codebook_sizes
        outputs = sum(self.sizes) if self.sizes else 2 * grid.channels
        self.prior = CausalPrior(grid.channels, outputs, grid.shape, width=config.width, layers=config.layers)

    def values(self, values: Tensor) -> Tensor:
        if self.sizes or not self.training:
            return values
        _, deviation = moments(values)
        return values + self.config.resolution * deviation * torch.randn_like(values)

    def losses(self, training_step: TrainingStep) -> LossTerms:
        values = training_step.bottleneck_output.values
        nats = self._code_nats(training_step) if self.sizes else self.rate(values)
        loss = self.config.weight / self.elements * nats
        return LossTerms(losses={"prior": loss}, logs={"prior_nats": nats.detach()})

    def rate(self, values: Tensor) -> Tensor:
        """Mean over the batch of the nats of continuous latents `[B, C, *grid]` at the resolution."""
        mean, deviation = moments(values)
        noise = self.config.resolution
        # Unit variance, noise included: a constant channel is nothing but noise, and costs nothing.
        scale = (1 + noise**2) ** -0.5
        z = scale * ((values - mean) / deviation + noise * torch.randn_like(values))
        z = z.flatten(2).mT
        expected, spread = self.prior(z).chunk(2, dim=-1)
        floor = (scale * noise) ** 2
        variance = floor + (1 - floor) * spread.clamp(-10.0, 4.0).exp()
        rate = 0.5 * ((z - expected).square() / variance + (variance / floor).log() - 1)
        return rate.flatten(1).sum(1).mean()

    def _code_nats(self, training_step: TrainingStep) -> Tensor:
        """Mean over the batch of the nats of all codes."""
        bottleneck, values = training_step.tokenizer.bottleneck, training_step.bottleneck_output.values
        with torch.no_grad():
            codes = bottleneck.encode(training_step.features).codes
            assert codes is not None
            tables = code_values(bottleneck, self.sizes, values.ndim)
        tokens, chosen = values.flatten(2).mT, codes.flatten(2)
        logits = self.prior(tokens).split(self.sizes, dim=-1)
        total = values.new_zeros(())
        for head, (table, scores) in enumerate(zip(tables, logits, strict=True)):
            log_q = F.log_softmax(scores, dim=-1)
            hard = -log_q.gather(-1, chosen[:, head].unsqueeze(-1))
            # The value of `own` is this head's part of the values, its gradient that of the whole.
            own = F.embedding(chosen[:, head], table) + tokens - tokens.detach()
            variance = table.var(0, correction=0)
            spread = variance.sum() / (variance > 0).sum().clamp_min(1) + _TINY
            soft = F.softmax((own @ table.T - 0.5 * table.square().sum(-1)) / spread, dim=-1)
            pull = -((soft - soft.detach()) * log_q.detach()).sum(-1)
            total = total + (hard.squeeze(-1) + pull).sum(1).mean()
        return total


class CausalPrior(nn.Module):
    """A causal transformer over a grid in raster order: position n is predicted from those before it.

    Its head starts at zero: normalised latents then cost the same whatever they are, and codes are equally likely.
    """

    def __init__(self, inputs: int, outputs: int, shape: tuple[int, ...], *, width: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.places = AxialEmbedding(shape, width, std=0.1)
        self.blocks = nn.ModuleList(CausalBlock(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, N, C]` to predictions of each position, `[B, N, outputs]`."""
        start = self.start.expand(len(tokens), 1, -1)
        x = torch.cat([start, self.embed(tokens[:, :-1])], dim=1) + self.places()
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class CausalBlock(RecomputedBlock):
    """x + causal attention(norm(x)), then x + mlp(norm(x)); its norms have biases, unlike those of `Block`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, width // _HEAD_WIDTH, causal=True)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, N, D]` to the same."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel over batch and positions, `[1, C, 1, ...]`, with their gradients."""
    axes = (0, *range(2, values.ndim))
    mean = ranks.averaged(values.mean(axes, keepdim=True))
    variance = ranks.averaged((values - mean).square().mean(axes, keepdim=True))
    # The tiny number keeps the root's gradient finite for a constant channel
    return mean, (variance + _TINY).sqrt()


def code_values(bottleneck: Bottleneck, sizes: tuple[int, ...], ndim: int) -> list[Tensor]:
    """What each code adds to the values, up to a constant, per head `[K, C]`: its values minus those of code 0.

    Values are sums over the heads, whether heads have channels of their own or share them (residual stages).
    """
    tables = []
    device = next((t.device for t in (*bottleneck.parameters(), *bottleneck.buffers())), torch.device("cpu"))
    for head, size in enumerate(sizes):
        codes = torch.zeros(size, len(sizes), *(1,) * (ndim - 2), dtype=torch.long, device=device)
        codes[:, head] = torch.arange(size, device=device).view(-1, *(1,) * (ndim - 2))
        values = bottleneck.lookup(codes).flatten(1)
        tables.append(values - values[:1])
    return tables
