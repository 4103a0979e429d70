"""Autoregressive transformer over codes: exact likelihood, KV-cached sampling by inverse CDF.

In raster order, p(codes) = product over positions n and heads j of p(c[n, j] | all positions before n, c[n, < j]). The
trunk sees the positions; a small depth network sees a position's summary and the heads drawn so far there (as in the
RQ-transformer of Lee et al. 2022, with the running sum of code embeddings in place of attention).

In delay order (MusicGen; Copet et al. 2023, section 2.2) head j lags j positions behind the first: step s holds
c[s - j, j] of every head, each predicted by a linear layer from all steps before. The codes of one step are taken for
independent given the past: c[n, j] does not see c[n + i, j - i]. Each position's own heads still follow each other.

Sequences of varying length end with one symbol more in the first head's codebook, at the position after the last;
one of full length needs none. What follows is neither predicted nor seen.

Shape legend: B batch, N positions, H heads, S steps (N, with delay N + H - 1), D trunk width, K codebook size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ...tokenizers.backbones.attention import positions_of
from ...tokenizers.interface import Latents
from ...tokenizers.spec import LatentSpec
from ..latents import LatentBatch
from .ar_config import ARConfig
from .codes import CodeEmbedding, DepthHead, ParallelHead, Pick, codes_of, drawing_noise, guided_pick, picker
from .conditioning import as_context
from .first_frames import FramePrior
from .heldout import NLL_BITS
from .interface import evaluating
from .noise import uniform
from .transformer import Transformer

_LOOK_EVERY = 16  # steps between looks whether all samples have ended: each look waits for the device


class ARPrior(FramePrior):
    """Next-code prediction over one grid of codes `[B, H, *grid]`, rank 1 to 3, or a sequence of varying length."""

    held_out_scores = (NLL_BITS,)
    config: ARConfig

    def __init__(self, config: ARConfig, spec: LatentSpec) -> None:
        super().__init__(config, spec)
        self.shape, self.sizes = spec.grid.shape, spec.grid.codebook_sizes
        self.variable, self.positions = spec.grid.variable, spec.grid.positions
        self.lag = len(self.sizes) - 1 if config.order == "delay" else 0
        self.steps = self.positions + self.lag
        self.skipped = config.condition_frames * math.prod(self.shape[1:])  # positions whose codes are given
        predicted = (self.sizes[0] + 1, *self.sizes[1:]) if self.variable else self.sizes
        places = (self.steps,) if self.lag else self.shape
        self.start = nn.Parameter(torch.randn(config.width) * 0.02)
        self.embedding = CodeEmbedding(self.sizes, config.width)
        self.position = positions_of(config.positions, places, config.width, config.attention_heads)
        self.trunk = Transformer(
            config.width,
            config.layers,
            config.attention_heads,
            causal=True,
            dropout=config.dropout,
            frame=config.positions_per_frame(self.shape),
        )
        self.head: DepthHead | ParallelHead
        if self.lag:
            self.head = ParallelHead(predicted, config.width)
        else:
            self.head = DepthHead(predicted, config.width, config.depth_width or config.width, config.depth_layers)
        self.add_labels(config.width)

    def hidden(self, codes: Tensor, *, present: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Summaries `[B, n + 1, D]` of what precedes steps 0 to n, from the codes of steps 0 to n - 1, `[B, n, H]`.

        Codes where `present` (bool `[B, n, H]`) is False are not seen; `context` `[B, 1 or S, D]` is added to the
        input of every step, or of each step its own.
        """
        start = self.start.expand(codes.shape[0], 1, -1)
        x = torch.cat((start, self.embedding(codes, present)), dim=1) if codes.shape[1] else start
        length = x.shape[1]
        positions = self.position()
        if positions is not None:
            x = x + positions[:length]
        if context is not None:
            x = x + context[:, :length]
        return self.trunk(x, rotary=self.position.angles(0, length))

    def nll(self, codes: Tensor, *, lengths: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """-log p in nats of every code given all before it: `[B, H, *grid]` to `[B, S, H]`, without the steps of first
        frames that are given.

        Zero where a step has no code: behind the end of a sequence (`lengths` `[B]`), before and after the delay.
        """
        inputs, targets = codes.flatten(2).transpose(1, 2), None
        inside = scored = None
        if self.variable:
            if lengths is None:
                lengths = torch.full((len(codes),), self.positions, device=codes.device)
            place = torch.arange(self.positions, device=codes.device)
            inside = (place < lengths[:, None])[..., None].expand(inputs.shape)
            ends = (place == lengths[:, None])[..., None] & (torch.arange(len(self.sizes), device=codes.device) == 0)
            inputs, scored = inputs.masked_fill(~inside, 0), inside | ends
            targets = inputs.masked_fill(ends, self.sizes[0])
        targets = inputs if targets is None else targets
        if self.lag:
            every = torch.ones_like(inputs, dtype=torch.bool)
            inside, scored = (delayed(every if mask is None else mask) for mask in (inside, scored))
            inputs, targets = delayed(inputs), delayed(targets)
        present = inside[:, :-1] if self.lag and inside is not None else None
        hidden = self.hidden(inputs[:, :-1], present=present, context=context)
        nats = self.head.nll(hidden[:, self.skipped :], targets[:, self.skipped :])
        return nats if scored is None else nats.masked_fill(~scored, 0)

    def losses(self, batch: LatentBatch, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Mean nats per code (end symbols count as codes) as "loss"."""
        nats = self._nats(batch)
        loss = nats.mean() if not (self.variable or self.lag) else nats.sum() / self._predicted(batch)
        return {"loss": loss, "bits_per_code": loss.detach() / math.log(2)}

    @torch.no_grad()
    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        """Exact "nll_bits" `[B]`: -log2 p of each sample, end symbol included; given its label, or its first frames,
        where conditioned."""
        with evaluating(self):
            nats = self._nats(batch)
        return {"nll_bits": nats.flatten(1).double().sum(1) / math.log(2)}

    def _nats(self, batch: LatentBatch) -> Tensor:
        return self.nll(codes_of(batch), lengths=batch.latents.lengths, context=as_context(self.vectors(batch)))

    def _predicted(self, batch: LatentBatch) -> Tensor | int:
        """How many codes and end symbols a batch holds."""
        lengths = batch.latents.lengths
        if not self.variable or lengths is None:
            return len(batch) * self.positions * len(self.sizes)
        return lengths.sum() * len(self.sizes) + (lengths < self.positions).sum()

    @torch.no_grad()
    def sample_at(self, indices: range, *, seed: int, first: Tensor | None = None, cached: bool = True) -> Latents:
        """Codes `[B, H, *grid]` of the samples `indices`; `first` `[B, H, k, h, w]` where first frames are given.

        Without `cached`, each step recomputes the prefix. Sequences of varying length come with `lengths` `[B]`, and
        zeros behind their ends.
        """
        self.shape_after(first, self.shape)
        noise = drawing_noise(uniform(seed, indices, (self.steps, len(self.sizes)))).to(self.device)
        pick, n = picker(self.config), len(indices)
        if self.guides:
            noise, pick = torch.cat((noise, noise)), guided_pick(pick, self.config.guidance)
        context = as_context(self.drawn_vectors(indices, seed=seed))
        codes, lengths = self.draw(noise, pick, first=first, context=context, cached=cached)
        return Latents(codes=codes[:n], lengths=None if lengths is None else lengths[:n])

    def draw(
        self,
        noise: Tensor,
        pick: Pick,
        *,
        first: Tensor | None = None,
        context: Tensor | None = None,
        cached: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Codes `[B, H, *grid]` and, where they vary, lengths `[B]`, drawn by `pick` from noise `[B, S, H]`; those of
        `first` frames `[B, H, k, h, w]` are given."""
        batch, heads, end = len(noise), len(self.sizes), self.sizes[0]
        codes = torch.zeros(noise.shape, dtype=torch.long, device=noise.device)
        if first is not None:
            codes[:, : self.skipped] = first.flatten(2).transpose(1, 2)
        present = None
        if self.lag:
            present = delayed(torch.ones(1, self.positions, heads, dtype=torch.bool, device=noise.device))
            present = present.repeat(batch, 1, 1)
        lengths = torch.full((batch,), self.positions, device=noise.device) if self.variable else None
        lags = torch.arange(heads, device=noise.device)
        advance = self._cached_step(batch, context) if cached else self._prefix_step(context)
        for step in range(self.skipped, self.steps):
            self.head.draw(advance(codes, present, step), noise[:, step], codes[:, step], pick)
            if lengths is None:
                continue
            ended = codes[:, step, 0] == end
            if step < self.positions:
                lengths = torch.where(ended & (step < lengths), step, lengths)
            codes[:, step, 0] = codes[:, step, 0].masked_fill(ended, 0)
            if present is not None:
                present[:, step] &= step - lags < lengths[:, None]
            if step % _LOOK_EVERY == _LOOK_EVERY - 1 and int(lengths.max()) + self.lag <= step + 1:
                break
        if self.lag:
            codes = undelayed(codes)
        if lengths is not None:
            behind = torch.arange(self.positions, device=noise.device) >= lengths[:, None]
            codes = codes.masked_fill(behind[..., None], 0)
        return codes.transpose(1, 2).reshape(batch, heads, *self.shape), lengths

    def _cached_step(self, batch: int, context: Tensor | None) -> Callable[[Tensor, Tensor | None, int], Tensor]:
        cache = self.trunk.cache(batch, self.steps)
        positions = self.position()

        def advance(codes: Tensor, present: Tensor | None, step: int) -> Tensor:
            begin = cache.length  # this step's, or where codes are given all up to it
            last = slice(max(begin - 1, 0), step)
            x = self.embedding(codes[:, last], None if present is None else present[:, last]) if step else None
            if begin == 0:
                start = self.start.expand(batch, 1, -1)
                x = start if x is None else torch.cat((start, x), dim=1)
            assert x is not None
            if positions is not None:
                x = x + positions[begin : step + 1]
            if context is not None:
                x = x + (context[:, begin : step + 1] if context.shape[1] > 1 else context)
            return self.trunk(x, rotary=self.position.angles(begin, step + 1), cache=cache)[:, -1]

        return advance

    def _prefix_step(self, context: Tensor | None) -> Callable[[Tensor, Tensor | None, int], Tensor]:
        def advance(codes: Tensor, present: Tensor | None, step: int) -> Tensor:
            seen = None if present is None else present[:, :step]
            return self.hidden(codes[:, :step], present=seen, context=context)[:, -1]

        return advance


def delayed(x: Tensor) -> Tensor:
    """Codes or a mask `[B, N, H]` by step, `[B, N + H - 1, H]`: head j lags j behind; zeros where there is none."""
    batch, positions, heads = x.shape
    out = x.new_zeros(batch, positions + heads - 1, heads)
    for head in range(heads):
        out[:, head : head + positions, head] = x[:, :, head]
    return out


def undelayed(x: Tensor) -> Tensor:
    """The inverse of `delayed`: `[B, S, H]` to `[B, S - H + 1, H]`."""
    heads = x.shape[-1]
    positions = x.shape[1] - heads + 1
    return torch.stack([x[:, head : head + positions, head] for head in range(heads)], dim=-1)
