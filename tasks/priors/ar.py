"""Autoregressive transformer over codes: exact likelihood, KV-cached sampling by inverse CDF.

p(codes) = product over positions n in raster order and heads j of p(c[n, j] | all positions before n, c[n, < j]). The
trunk sees the positions; a small depth network sees a position's summary and the heads drawn so far there (as in the
RQ-transformer of Lee et al. 2022, with the running sum of code embeddings in place of attention).

Shape legend: B batch, N positions, H heads, D trunk width, W depth width, K codebook size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...tokenizers.interface import Latents
from ...tokenizers.spec import LatentSpec
from ..latents import LatentBatch
from .config import ARConfig
from .interface import Prior, evaluating
from .noise import uniform
from .transformer import MLP, AxialEmbedding, Transformer, rotary_angles

_LOGITS_AT_ONCE = 1 << 25  # elements; beyond this the loss goes in chunks whose logits are recomputed backward


class ARPrior(Prior):
    """Next-code prediction over one grid of codes `[B, H, *grid]`, rank 1 to 3."""

    kind = "discrete"
    cos: Tensor
    sin: Tensor

    def __init__(self, config: ARConfig, spec: LatentSpec) -> None:
        super().__init__(spec)
        self.config = config
        self.shape, self.sizes = spec.grid.shape, spec.grid.codebook_sizes
        self.start = nn.Parameter(torch.randn(config.width) * 0.02)
        self.embedding = CodeEmbedding(self.sizes, config.width)
        rotary = config.positions == "rotary"
        self.position = None if rotary else AxialEmbedding(self.shape, config.width)
        angles = rotary_angles(self.shape, config.width // config.attention_heads) if rotary else (None, None)
        self.register_buffer("cos", angles[0], persistent=False)
        self.register_buffer("sin", angles[1], persistent=False)
        self.trunk = Transformer(
            config.width, config.layers, config.attention_heads, causal=True, dropout=config.dropout
        )
        self.head = DepthHead(self.sizes, config.width, config.depth_width or config.width, config.depth_layers)

    def hidden(self, codes: Tensor) -> Tensor:
        """Summaries `[B, n + 1, D]` of what precedes positions 0 to n, from codes `[B, n, H]`."""
        start = self.start.expand(codes.shape[0], 1, -1)
        x = torch.cat((start, self.embedding(codes)), dim=1) if codes.shape[1] else start
        length = x.shape[1]
        if self.position is not None:
            x = x + self.position()[:length]
        return self.trunk(x, rotary=self._rotary(0, length))

    def nll(self, codes: Tensor) -> Tensor:
        """-log p in nats of every code given all before it: `[B, H, *grid]` to `[B, N, H]`."""
        flat = codes.flatten(2).transpose(1, 2)
        return self.head.nll(self.hidden(flat[:, :-1]), flat)

    def losses(self, batch: LatentBatch, *, player: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Mean nats per code as "loss"."""
        loss = self.nll(_codes(batch)).mean()
        return {"loss": loss, "bits_per_code": loss.detach() / math.log(2)}

    @torch.no_grad()
    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        """Exact "nll_bits" `[B]`: -log2 p of each sample."""
        with evaluating(self):
            nats = self.nll(_codes(batch))
        return {"nll_bits": nats.flatten(1).double().sum(1) / math.log(2)}

    @torch.no_grad()
    def sample_at(self, indices: range, *, seed: int, cached: bool = True) -> Latents:
        """Codes `[B, H, *grid]` of the samples `indices`; without `cached`, each step recomputes the prefix."""
        noise = uniform(seed, indices, (math.prod(self.shape), len(self.sizes)))
        # just under 1, so that no product of it rounds up to the whole
        noise = noise.mul_(1 - 2**-22).to(self.device)
        codes = torch.zeros(noise.shape, dtype=torch.long, device=self.device)
        step = self._cached_step(len(indices)) if cached else self._prefix
        for position in range(noise.shape[1]):
            self.head.draw(step(codes, position), noise[:, position], codes[:, position], self._pick)
        grid = codes.transpose(1, 2).reshape(len(indices), len(self.sizes), *self.shape)
        return Latents(codes=grid)

    def _cached_step(self, batch: int) -> Callable[[Tensor, int], Tensor]:
        cache = self.trunk.cache(batch, math.prod(self.shape))
        positions = None if self.position is None else self.position()

        def step(codes: Tensor, position: int) -> Tensor:
            x = self.start.expand(batch, 1, -1) if position == 0 else self.embedding(codes[:, position - 1 : position])
            if positions is not None:
                x = x + positions[position]
            return self.trunk(x, rotary=self._rotary(position, position + 1), cache=cache)[:, 0]

        return step

    def _prefix(self, codes: Tensor, position: int) -> Tensor:
        return self.hidden(codes[:, :position])[:, -1]

    def _pick(self, logits: Tensor, noise: Tensor) -> Tensor:
        return inverse_cdf(filter_logits(logits.float() / self.config.temperature, self.config), noise)

    def _rotary(self, start: int, end: int) -> tuple[Tensor, Tensor] | None:
        return None if self.position is not None else (self.cos[start:end], self.sin[start:end])


class CodeEmbedding(nn.Module):
    """The sum of the heads' embeddings; one table for all heads, each with its own rows."""

    offsets: Tensor

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(sum(sizes), width) * 0.02)
        offsets = torch.tensor([sum(sizes[:j]) for j in range(len(sizes))])
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """`[B, N, H]` to `[B, N, D]`."""
        if codes.shape[-1] == 1:
            return F.embedding(codes[..., 0], self.weight)
        rows = (codes + self.offsets).flatten(0, 1)
        return F.embedding_bag(rows, self.weight, mode="sum").unflatten(0, codes.shape[:2])

    def one(self, codes: Tensor, head: int) -> Tensor:
        """Embeddings of one head's codes: `[...]` to `[..., D]`."""
        return F.embedding(codes + self.offsets[head], self.weight)


class DepthHead(nn.Module):
    """The codes of one position, head after head, given its summary.

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
        outputs = [nn.Linear(inner, size) for size in sizes]
        self.logits = nn.ModuleList(outputs)
        for layer in outputs:
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def nll(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """Nats per code `[B, N, H]` from summaries `[B, N, D]` and the codes `[B, N, H]`."""
        columns = []
        state = self._begin(hidden)
        for head, layer in enumerate(self.logits):
            if head > 0:
                assert self.embedding is not None
                state = state + self.embedding.one(codes[..., head - 1], head - 1)
            features = self._refine(state, head).flatten(0, 1)
            columns.append(
                _cross_entropy(features, cast(nn.Linear, layer), codes[..., head].flatten()).view(codes.shape[:2])
            )
        return torch.stack(columns, dim=-1)

    def draw(self, hidden: Tensor, noise: Tensor, out: Tensor, pick: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Fill `out` `[B, H]` with codes drawn by `pick(logits, noise)` from summaries `[B, D]`, noise `[B, H]`."""
        state = self._begin(hidden)
        for head, layer in enumerate(self.logits):
            if head > 0:
                assert self.embedding is not None
                state = state + self.embedding.one(out[:, head - 1], head - 1)
            out[:, head] = pick(layer(self._refine(state, head)), noise[:, head])

    def _begin(self, hidden: Tensor) -> Tensor:
        return hidden if self.project is None else self.project(hidden)

    def _refine(self, state: Tensor, head: int) -> Tensor:
        if self.place is None:
            return state
        x = state + self.place[head]
        for block in self.blocks:
            x = x + block(x)
        return self.norm(x)


def _cross_entropy(features: Tensor, layer: nn.Linear, targets: Tensor) -> Tensor:
    """-log softmax(layer(features))[targets] `[M]`, with bounded memory however large M x K is."""

    def piece(rows: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(layer(rows).float(), wanted, reduction="none")

    size = max(1, _LOGITS_AT_ONCE // layer.out_features)
    if len(features) <= size:
        return piece(features, targets)
    pairs = zip(features.split(size), targets.split(size), strict=True)
    return torch.cat(
        [checkpoint(piece, rows, wanted, use_reentrant=False, preserve_rng_state=False) for rows, wanted in pairs]
    )


def _codes(batch: LatentBatch) -> Tensor:
    codes = batch.latents.codes
    if codes is None:
        raise ValueError("the autoregressive prior needs codes")
    return codes


def filter_logits(logits: Tensor, config: ARConfig) -> Tensor:
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
    wanted = noise[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, wanted, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)
