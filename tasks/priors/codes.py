"""What the discrete priors share: embedding codes, predicting the codes of a position, drawing from logits.

Shape legend: B batch, N positions, H heads, D trunk width, W inner width, K codebook size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...tokenizers.backbones.attention import MLP
from ..latents import LatentBatch
from .conditioning import guided
from .options import SamplingOptions

_LOGITS_AT_ONCE = 1 << 25  # elements; beyond this the loss goes in chunks whose logits are recomputed backward

_IMPOSSIBLE = -1e9  # a logit whose probability is exactly zero

Pick = Callable[[Tensor, Tensor], Tensor]  # logits [B, K] and uniform noise [B] to codes [B]


class CodeEmbedding(nn.Module):
    """The sum of the heads' embeddings; one table for all heads, each with its own rows."""

    offsets: Tensor

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(sum(sizes), width) * 0.02)
        offsets = torch.tensor([sum(sizes[:j]) for j in range(len(sizes))])
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, codes: Tensor, present: Tensor | None = None) -> Tensor:
        """`[B, N, H]` to `[B, N, D]`; codes where `present` (bool, same shape) is False add nothing."""
        if present is not None:
            rows = (codes + self.offsets).flatten(0, 1)
            weights = present.to(self.weight.dtype).expand(codes.shape).flatten(0, 1)
            return F.embedding_bag(rows, self.weight, mode="sum", per_sample_weights=weights).unflatten(
                0, codes.shape[:2]
            )
        if codes.shape[-1] == 1:
            return F.embedding(codes[..., 0], self.weight)
        rows = (codes + self.offsets).flatten(0, 1)
        return F.embedding_bag(rows, self.weight, mode="sum").unflatten(0, codes.shape[:2])

    def one(self, codes: Tensor, head: int) -> Tensor:
        """Embeddings of one head's codes: `[...]` to `[..., D]`."""
        return F.embedding(codes + self.offsets[head], self.weight)


class DepthHead(nn.Module):
    """The codes of one position, head after head, given its summary: no two are assumed independent.

    With one head a linear layer. With several: summary + embeddings of the heads drawn so far + which head it is,
    through residual MLPs, to that head's logits.
    """

    def __init__(self, sizes: tuple[int, ...], width: int, inner: int, layers: int) -> None:
        super().__init__()
        self.sizes = sizes
        several = len(sizes) > 1
        inner = inner if several else width
        self.project = nn.Linear(width, inner) if several else None
        self.embedding = CodeEmbedding(sizes[:-1], inner) if several else None
        self.place = nn.Parameter(torch.randn(len(sizes), inner) * 0.02) if several else None
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(inner, bias=False, eps=1e-6), MLP(inner))
            for _ in range(layers if several else 0)
        )
        self.norm = nn.LayerNorm(inner, bias=False, eps=1e-6) if several else nn.Identity()
        self.logits = _logit_layers(sizes, inner)

    def nll(self, hidden: Tensor, codes: Tensor, *, before: Tensor | None = None) -> Tensor:
        """Nats per code `[B, N, H]` from summaries `[B, N, D]` and the codes `[B, N, H]`.

        With `before` `[B, N, H]` only codes that don't precede it, in lexicographic order over the heads, are possible.
        """
        columns = []
        state = self._begin(hidden)
        least = None if before is None else _Least(before)
        for head, layer in enumerate(self.logits):
            if head > 0:
                assert self.embedding is not None
                state = state + self.embedding.one(codes[..., head - 1], head - 1)
            features, targets = self._refine(state, head).flatten(0, 1), codes[..., head]
            floors = None if least is None else least.of(head).flatten()
            nats = _cross_entropy(features, cast(nn.Linear, layer), targets.flatten(), floors)
            columns.append(nats.view(codes.shape[:2]))
            if least is not None:
                least.take(targets, head)
        return torch.stack(columns, dim=-1)

    def draw(self, hidden: Tensor, noise: Tensor, out: Tensor, pick: Pick, *, before: Tensor | None = None) -> None:
        """Fill `out` `[B, H]` with codes drawn by `pick(logits, noise)` from summaries `[B, D]`, noise `[B, H]`.

        With `before` `[B, H]` as in `nll`.
        """
        state = self._begin(hidden)
        least = None if before is None else _Least(before)
        for head, layer in enumerate(self.logits):
            if head > 0:
                assert self.embedding is not None
                state = state + self.embedding.one(out[:, head - 1], head - 1)
            logits = layer(self._refine(state, head))
            if least is not None:
                logits = _floored(logits, least.of(head))
            out[:, head] = pick(logits, noise[:, head])
            if least is not None:
                least.take(out[:, head], head)

    def _begin(self, hidden: Tensor) -> Tensor:
        return hidden if self.project is None else self.project(hidden)

    def _refine(self, state: Tensor, head: int) -> Tensor:
        if self.place is None:
            return state
        x = state + self.place[head]
        for block in self.blocks:
            x = x + block(x)
        return self.norm(x)


class _Least:
    """The smallest code that each head may have so that a position does not come before `before` `[..., H]`.

    Positions are compared head after head: a head is bounded only while all heads before it are equal to `before`'s.
    """

    def __init__(self, before: Tensor) -> None:
        self.before = before
        self.tied = torch.ones(before.shape[:-1], dtype=torch.bool, device=before.device)

    def of(self, head: int) -> Tensor:
        """The bounds `[...]` of a head: its code in `before` where all heads so far are equal, else 0."""
        return self.before[..., head] * self.tied

    def take(self, codes: Tensor, head: int) -> None:
        """Note the codes `[...]` of `head`; after this the next head's bounds are known."""
        self.tied = self.tied & (codes == self.before[..., head])


class ParallelHead(nn.Module):
    """The codes of one step, each by a linear layer of its own: independent of each other given the summary."""

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.logits = _logit_layers(sizes, width)

    def nll(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """Nats per code `[B, N, H]` from summaries `[B, N, D]` and the codes `[B, N, H]`."""
        features = hidden.flatten(0, 1)
        columns = [
            _cross_entropy(features, cast(nn.Linear, layer), codes[..., head].flatten()).view(codes.shape[:2])
            for head, layer in enumerate(self.logits)
        ]
        return torch.stack(columns, dim=-1)

    def draw(self, hidden: Tensor, noise: Tensor, out: Tensor, pick: Pick) -> None:
        """Fill `out` `[B, H]` with codes drawn by `pick(logits, noise)` from summaries `[B, D]`, noise `[B, H]`."""
        for head, layer in enumerate(self.logits):
            out[:, head] = pick(layer(hidden), noise[:, head])


def _logit_layers(sizes: tuple[int, ...], width: int) -> nn.ModuleList:
    layers = [nn.Linear(width, size) for size in sizes]
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    return nn.ModuleList(layers)


def _cross_entropy(features: Tensor, layer: nn.Linear, targets: Tensor, floors: Tensor | None = None) -> Tensor:
    """-log softmax(layer(features))[targets] `[M]`, with bounded memory however large M x K is.

    Codes below `floors` `[M]` are impossible.
    """

    def piece(rows: Tensor, target: Tensor, floor: Tensor | None = None) -> Tensor:
        logits = layer(rows).float()
        return F.cross_entropy(logits if floor is None else _floored(logits, floor), target, reduction="none")

    size = max(1, _LOGITS_AT_ONCE // layer.out_features)
    parts = [features, targets, *([] if floors is None else [floors])]
    if len(features) <= size:
        return piece(*parts)
    pieces = zip(*(part.split(size) for part in parts), strict=True)
    return torch.cat([checkpoint(piece, *some, use_reentrant=False, preserve_rng_state=False) for some in pieces])


def _floored(logits: Tensor, floors: Tensor) -> Tensor:
    """Logits `[M, K]` with codes below `floors` `[M]` made impossible; finite, so that guidance can subtract them."""
    places = torch.arange(logits.shape[-1], device=logits.device)
    return logits.masked_fill(places < floors.unsqueeze(-1), _IMPOSSIBLE)


def codes_of(batch: LatentBatch, level: int = 0) -> Tensor:
    """The codes `[B, H, *grid]` of one grid of a batch."""
    codes = batch.latents.levels[level].codes
    if codes is None:
        raise ValueError("a discrete prior needs codes")
    return codes


def picker(config: SamplingOptions) -> Pick:
    """Draw by inverse CDF from logits divided by the temperature and cut by `top_k` and `top_p`."""

    def pick(logits: Tensor, noise: Tensor) -> Tensor:
        return inverse_cdf(filter_logits(logits.float() / config.temperature, config), noise)

    return pick


def guided_pick(pick: Pick, scale: float) -> Pick:
    """`pick` for batches whose second half repeats the first without labels: draws once, from guided logits."""

    def both(logits: Tensor, noise: Tensor) -> Tensor:
        conditional, unconditional = logits.float().chunk(2)
        codes = pick(guided(conditional, unconditional, scale), noise.chunk(2)[0])
        return torch.cat((codes, codes))

    return both


def filter_logits(logits: Tensor, config: SamplingOptions) -> Tensor:
    """Logits `[B, K]` with those outside `top_k` and then `top_p` (Holtzman et al. 2020) at minus infinity.

    The likeliest code always stays.
    """
    if 0 < config.top_k < logits.shape[-1]:
        least = logits.topk(config.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if config.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probability = ordered.softmax(dim=-1)
        before = probability.cumsum(dim=-1) - probability
        cut = torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, order, before >= config.top_p)
        logits = logits.masked_fill(cut, -math.inf)
    return logits


def inverse_cdf(logits: Tensor, noise: Tensor) -> Tensor:
    """Codes `[B]` drawn from softmax(logits `[B, K]`) with one uniform number in [0, 1) each, noise `[B]`."""
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1)
    level = noise[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, level, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)


def drawing_noise(uniform: Tensor) -> Tensor:
    """Uniform noise brought just under 1, so that no product of it rounds up to the whole."""
    return uniform.mul_(1 - 2**-22)
