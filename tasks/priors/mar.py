"""MAR: a transformer summarises what is known about each token, and a small flow draws it (Li et al. 2024).

The head learns the rectified flow from noise to one token given the transformer's summary of the tokens that are known:
those before it ("raster"), or a random part of the others ("random", generalised masked prediction). The head's path
is that of `flow.py`; the original has a DDPM head of the same shape.

Shape legend: B batch, N tokens, P values per token, D width, W head width, M any number of tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tokenizers.backbones.attention import MLP, modulate
from ...tokenizers.backbones.time import stratified_times, time_features
from ...tokenizers.interface import Latents
from ...tokenizers.recompute import RecomputedBlock
from ...tokenizers.spec import LatentSpec
from ..latents import LatentBatch
from .fields import field_of
from .flow import integrate, interpolate
from .flow_config import TIME_FEATURES
from .heldout import indices_of
from .interface import evaluating
from .mar_config import MARConfig
from .noise import normal, uniform
from .tokens import TokenPrior

_HELD_OUT_TIMES = 8
_HELD_OUT_SEED = 0x3A12


class MARPrior(TokenPrior):
    """Masked or causal prediction over one grid of values `[B, C, *grid]`, rank 1 to 3."""

    config: MARConfig

    def __init__(self, config: MARConfig, spec: LatentSpec) -> None:
        super().__init__(config, spec, causal=config.order == "raster")
        self.head = FlowHead(self.elements, config.width, config.head_width or config.width, config.head_layers)

    def losses(self, batch: LatentBatch, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Mean squared error of the head's velocity over the tokens to predict, each at `repeats` random times."""
        tokens = self.tokens(batch)
        masked = None
        if self.config.order == "random":
            share = stratified_times(len(tokens), tokens.device)
            masked = mask(torch.rand(tokens.shape[:2], device=tokens.device), torch.cos(share * (math.pi / 2)))
        hidden = self._hidden(batch, tokens, masked)
        total = tokens.new_zeros(())
        for _ in range(self.config.repeats):
            t = torch.sigmoid(torch.randn(tokens.shape[:2], device=tokens.device))
            total = total + self._mean(self._errors(hidden, tokens, torch.randn_like(tokens), t), masked).mean()
        return {"loss": total / self.config.repeats}

    @torch.no_grad()
    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        """ "flow_loss" `[B]`: the head's squared velocity error per value to predict, averaged over uniform times.

        Masks, times and noise are fixed by the sample's index. Not a likelihood, and not comparable across latents,
        orders or other priors' losses.
        """
        tokens = self.tokens(batch)
        numbers = indices_of(tokens, batch.indices)
        total = tokens.new_zeros(len(tokens))
        with evaluating(self):
            for k in range(_HELD_OUT_TIMES):
                masked = None
                if self.config.order == "random":
                    places = uniform(_HELD_OUT_SEED, numbers, (self.count,), stream=3 * k).to(tokens)
                    share = math.cos(math.pi / 2 * (k + 0.5) / _HELD_OUT_TIMES)
                    masked = mask(places, tokens.new_full((len(tokens),), share))
                t = uniform(_HELD_OUT_SEED, numbers, (self.count,), stream=3 * k + 1).to(tokens)
                noise = normal(_HELD_OUT_SEED, numbers, (self.count, self.elements), stream=3 * k + 2).to(tokens)
                hidden = self._hidden(batch, tokens, masked)
                total += self._mean(self._errors(hidden, tokens, noise, t), masked)
        return {"flow_loss": total / _HELD_OUT_TIMES}

    @torch.no_grad()
    def sample_at(self, indices: range, *, seed: int) -> Latents:
        """Values `[B, C, *grid]` of the samples `indices`."""
        noise = normal(seed, indices, (self.count, self.elements)).to(self.device)
        vector = self.drawn_vectors(indices, seed=seed)
        if self.config.order == "raster":
            return Latents(values=self.values(self._in_order(noise, vector)))
        order = uniform(seed, indices, (self.count,), stream=1).argsort(dim=1).to(self.device)
        return Latents(values=self.values(self._in_rounds(noise, order, vector)))

    def _in_order(self, noise: Tensor, vector: Tensor | None) -> Tensor:
        step = self.trunk.stepper(len(noise) * self.config.evaluations, self.count, vector)
        tokens = torch.empty_like(noise)
        last: Tensor | None = None
        for position in range(self.count):
            drawn = self._draw(step(last, position), noise[:, position]) * self.inside[position]
            tokens[:, position] = drawn
            last = torch.cat((drawn, drawn)) if self.guides else drawn
        return tokens

    def _in_rounds(self, noise: Tensor, order: Tensor, vector: Tensor | None) -> Tensor:
        """Tokens in the random `order` `[B, N]`, more of them the more are known (cosine schedule)."""
        batch, doubled = len(noise), self.guides
        tokens = torch.zeros_like(noise)
        known = torch.zeros(order.shape, dtype=torch.bool, device=order.device)
        for start, end in rounds(self.count, self.config.iterations):
            seen, where = (torch.cat((x, x)) if doubled else x for x in (tokens, known))
            places = order[:, start:end]
            index = places[..., None]
            hidden = self.trunk.around(seen, where, vector)
            rows = (torch.cat((index, index)) if doubled else index).expand(-1, -1, hidden.shape[-1])
            columns = index.expand(-1, -1, self.elements)
            flat = self._draw(hidden.gather(1, rows).flatten(0, 1), noise.gather(1, columns).flatten(0, 1))
            tokens.scatter_(1, columns, flat.unflatten(0, (batch, -1)) * self.inside[places])
            known.scatter_(1, places, True)
        return tokens

    def _draw(self, hidden: Tensor, noise: Tensor) -> Tensor:
        """Tokens `[M, P]` from noise `[M, P]` and summaries `[M, D]`, `[2M, D]` when guided."""

        def velocity(x: Tensor, t: Tensor, summary: Tensor) -> Tensor:
            return self.head(x, t, summary).float()

        field = field_of(velocity, self.head.summary(hidden), guidance=self.config.guidance)
        return integrate(field, noise, steps=self.config.head_steps, method="euler")

    def _hidden(self, batch: LatentBatch, tokens: Tensor, masked: Tensor | None) -> Tensor:
        vector = self.vectors(batch)
        return self.trunk.before(tokens, vector) if masked is None else self.trunk.around(tokens, ~masked, vector)

    def _errors(self, hidden: Tensor, tokens: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Squared velocity error of every token, summed over its values: `[B, N]`; times `[B, N]`."""
        x, target = interpolate(tokens.flatten(0, 1), noise.flatten(0, 1), t.flatten())
        output = self.head(x, t.flatten(), self.head.summary(hidden.flatten(0, 1))).float()
        return ((output - target).square().view(tokens.shape) * self.inside).sum(-1)

    def _mean(self, errors: Tensor, masked: Tensor | None) -> Tensor:
        """Errors `[B, N]` per value to predict, mean per sample `[B]`."""
        values = self.inside.sum(-1)
        if masked is None:
            return errors.sum(1) / values.sum()
        return (errors * masked).sum(1) / (values * masked).sum(1)


class FlowHead(nn.Module):
    """Velocity of one noisy token given a summary: an MLP with adaLN-zero blocks (Li et al. 2024, section 4.2)."""

    def __init__(self, elements: int, width: int, inner: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(elements, inner)
        self.summary = nn.Linear(width, inner)
        self.time = nn.Sequential(nn.Linear(TIME_FEATURES, inner), nn.SiLU(), nn.Linear(inner, inner))
        self.blocks = nn.ModuleList(HeadBlock(inner) for _ in range(layers))
        self.norm = nn.LayerNorm(inner, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(inner, 2 * inner)
        self.out = nn.Linear(inner, elements)
        for layer in (self.modulation, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor, summary: Tensor) -> Tensor:
        """Noisy tokens `[M, P]`, times `[M]` and summaries through `summary`, `[M, W]`, to velocities `[M, P]`."""
        condition = F.silu(self.time(time_features(t, TIME_FEATURES)) + summary)
        h = self.embed(x)
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = self.modulation(condition).chunk(2, dim=-1)
        return self.out(modulate(self.norm(h), shift, scale))


class HeadBlock(RecomputedBlock):
    """x + gate MLP(modulated norm(x)); the identity at the start of training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 3 * width)
        self.mlp = MLP(width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """`[M, W]` and `[M, W]` to `[M, W]`."""
        shift, scale, gate = self.modulation(condition).chunk(3, dim=-1)
        return torch.addcmul(x, gate, self.mlp(modulate(self.norm(x), shift, scale)))


def mask(places: Tensor, share: Tensor) -> Tensor:
    """Which positions are masked, bool `[B, N]`: the `share` `[B]` (at least one) with the least random `places`."""
    count = places.shape[1]
    rank = places.argsort(dim=1).argsort(dim=1)
    return rank < (share * count).ceil().clamp(1, count)[:, None]


def rounds(count: int, iterations: int) -> list[tuple[int, int]]:
    """Which of `count` ordered tokens each round draws, as (start, end).

    Few first, by MaskGIT's cosine (Chang et al. 2022). Every round draws at least one; with fewer tokens than
    iterations there are as many rounds as tokens.
    """
    iterations = min(iterations, count)
    spans, start = [], 0
    for k in range(iterations):
        left = iterations - 1 - k
        planned = count - math.floor(count * math.cos(math.pi / 2 * (k + 1) / iterations)) if left else count
        end = min(max(planned, start + 1), count - left)
        spans.append((start, end))
        start = end
    return spans
