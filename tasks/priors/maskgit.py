"""Masked prediction over codes (MaskGIT; Chang et al. 2022): a bidirectional transformer fills in what is masked.

A position is masked or seen with all its heads; the codes of a masked position follow each other through the same
depth network as in `ar`, those of different masked positions are assumed independent. Training masks a share
cos(pi r / 2) of the positions, r uniform. Sampling starts with all masked and reveals, in a few rounds, the positions
whose drawn codes are the most confident.

That sampler has no likelihood. The same network revealing one position at a time in random order has one, bounded by
-log p(x) <= sum over m = 1 to N of E [-log p(one of the m masked | the rest)] (Uria et al. 2014; Hoogeboom et al. 2022,
equation 3): "nll_bound_bits", estimated without bias by masks that are fixed per sample.

Shape legend: B batch, N positions, M masked positions, H heads, D width, K codebook size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ...tokenizers.backbones.attention import positions_of
from ...tokenizers.backbones.time import stratified_times
from ...tokenizers.interface import Latents
from ...tokenizers.ranks import averaged
from ...tokenizers.spec import LatentSpec
from ..latents import LatentBatch
from .codes import CodeEmbedding, DepthHead, Pick, codes_of, drawing_noise, guided_pick, picker
from .conditioning import LabelledPrior, as_context
from .heldout import HeldOutScore
from .interface import evaluating
from .maskgit_config import MaskGITConfig
from .noise import generator, uniform
from .transformer import Transformer

_HELD_OUT_MASKS = 16
_HELD_OUT_SEED = 0x3A5C
_CODES, _CHOICE = 0, 1  # streams of the sampling noise
_LOGITS_AT_ONCE = 1 << 25
_NLL_BOUND_BITS = HeldOutScore(
    name="nll_bound_bits",
    unit="bit",
    protocol="upper bound, per sample, of revealing one position at a time in random order",
)


class MaskGITPrior(LabelledPrior):
    """Prediction of masked codes over one grid `[B, H, *grid]`, rank 1 to 3."""

    held_out_scores = (_NLL_BOUND_BITS,)
    config: MaskGITConfig

    def __init__(self, config: MaskGITConfig, spec: LatentSpec) -> None:
        super().__init__(config, spec)
        self.shape, self.sizes = spec.grid.shape, spec.grid.codebook_sizes
        self.embedding = CodeEmbedding(self.sizes, config.width)
        self.mask = nn.Parameter(torch.randn(config.width) * 0.02)
        self.position = positions_of(config.positions, self.shape, config.width, config.attention_heads)
        self.trunk = Transformer(
            config.width,
            config.layers,
            config.attention_heads,
            causal=False,
            dropout=config.dropout,
            frame=config.positions_per_frame(self.shape),
        )
        self.head = DepthHead(self.sizes, config.width, config.depth_width or config.width, config.depth_layers)
        self.add_labels(config.width)

    def hidden(self, codes: Tensor, masked: Tensor, context: Tensor | None = None) -> Tensor:
        """Summaries `[B, N, D]` from the codes `[B, N, H]` that are not `masked` (bool `[B, N]`).

        `context` `[B, 1, D]` is added to every position.
        """
        x = torch.where(masked[..., None], self.mask, self.embedding(codes))
        positions = self.position()
        if positions is not None:
            x = x + positions
        if context is not None:
            x = x + context
        return self.trunk(x, rotary=self.position.angles())

    def nll(self, codes: Tensor, masked: Tensor, context: Tensor | None = None) -> Tensor:
        """-log p in nats of each masked position's codes given all that are seen: `[B, N, H]` and `[B, N]` to `[B, N]`.

        Zero where a position is not masked.
        """
        nats = self.head.nll(self.hidden(codes, masked, context), codes).sum(-1)
        return nats.masked_fill(~masked, 0)

    def losses(self, batch: LatentBatch, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Mean nats per masked code as "loss"; one mask per sample, shares stratified over the batch."""
        codes = _flat(codes_of(batch))
        size, positions, heads = codes.shape
        device = codes.device
        count = (torch.cos(math.pi / 2 * stratified_times(size, device)) * positions).ceil().clamp(1, positions)
        masked = torch.rand(size, positions, device=device).argsort(1).argsort(1) < count[:, None]
        loss = self.nll(codes, masked, as_context(self.vectors(batch))).sum() / (averaged(count.sum()) * heads)
        return {"loss": loss, "bits_per_code": loss.detach() / math.log(2)}

    @torch.no_grad()
    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        """ "nll_bound_bits" `[B]`: bits per sample whose mean is an upper bound of the any-order model's -log2 p.

        Up to 16 masks per sample, fixed by its index: numbers of masked positions from equal strata of 1 to N, every
        one where N is at most 16.
        """
        codes = _flat(codes_of(batch))
        size, positions, _ = codes.shape
        indices = range(size) if batch.indices is None else batch.indices.tolist()
        rounds = min(_HELD_OUT_MASKS, positions)
        counts, masks = _held_out_masks(indices, rounds, positions)
        counts, masks = counts.to(codes.device), masks.to(codes.device)
        nats = torch.zeros(size, dtype=torch.float64, device=codes.device)
        with evaluating(self):
            context = as_context(self.vectors(batch))
            for k in range(rounds):
                nats += self.nll(codes, masks[:, k], context).double().sum(1) * positions / counts[:, k]
        return {"nll_bound_bits": nats / rounds / math.log(2)}

    @torch.no_grad()
    def sample_at(self, indices: range, *, seed: int) -> Latents:
        """Codes `[B, H, *grid]` of the samples `indices`, revealed in `steps` rounds (at most one per position)."""
        n, positions, heads = len(indices), math.prod(self.shape), len(self.sizes)
        rounds = schedule(positions, self.config.steps)
        noise = drawing_noise(uniform(seed, indices, (len(rounds), positions, heads), stream=_CODES)).to(self.device)
        choice = uniform(seed, indices, (len(rounds), positions), stream=_CHOICE).clamp_(1e-7, 1 - 1e-7)
        gumbel = (-(-choice.log()).log()).to(self.device)
        context = as_context(self.drawn_vectors(indices, seed=seed))
        codes = torch.zeros(n, positions, heads, dtype=torch.long, device=self.device)
        masked = torch.ones(n, positions, dtype=torch.bool, device=self.device)
        places = torch.arange(positions, device=self.device).expand(n, -1)  # the masked ones, [B, M]
        for number, left in enumerate(rounds):
            twice = (torch.cat((codes, codes)), torch.cat((masked, masked))) if self.guides else (codes, masked)
            drawn, confidence = self._draw(self.hidden(*twice, context), places, noise[:, number])
            cooled = self.config.choice_temperature * (1 - (number + 1) / len(rounds))
            confidence = confidence + cooled * gumbel[:, number].gather(1, places)
            order = confidence.argsort(dim=1, descending=True, stable=True)
            shown = order[:, : places.shape[1] - left]
            where = places.gather(1, shown)
            codes.scatter_(1, _wide(where, heads), drawn.gather(1, _wide(shown, heads)))
            masked.scatter_(1, where, False)
            places = places.gather(1, order[:, places.shape[1] - left :])
        return Latents(codes=codes.transpose(1, 2).reshape(n, heads, *self.shape))

    def _draw(self, hidden: Tensor, places: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Codes `[B, M, H]` for the positions `places` `[B, M]`, and the log-probability `[B, M]` of each position's.

        With guidance `hidden` has two rows per sample, with labels and without.
        """
        times = self.config.evaluations
        rows, heads = len(places), len(self.sizes)
        codes, confidence = [], []
        size = max(1, _LOGITS_AT_ONCE // (times * rows * max(self.sizes)))
        for some in places.split(size, dim=1):
            here = hidden.gather(1, _wide(some.repeat(times, 1), hidden.shape[-1])).flatten(0, 1)
            uniforms = noise.gather(1, _wide(some, heads)).repeat(times, 1, 1).flatten(0, 1)
            out = torch.zeros(len(here), heads, dtype=torch.long, device=here.device)
            tally = _Tally(picker(self.config))
            self.head.draw(here, uniforms, out, guided_pick(tally, self.config.guidance) if self.guides else tally)
            codes.append(out[: some.numel()].view(*some.shape, heads))
            confidence.append(tally.total.view(some.shape))
        return torch.cat(codes, 1), torch.cat(confidence, 1)


class _Tally:
    """A `Pick` that adds up the log-probabilities of what it draws, head after head."""

    def __init__(self, pick: Pick) -> None:
        self.pick = pick
        self.total: Tensor = torch.zeros(())

    def __call__(self, logits: Tensor, noise: Tensor) -> Tensor:
        codes = self.pick(logits, noise)
        self.total = self.total + logits.float().log_softmax(-1).gather(1, codes[:, None])[:, 0]
        return codes


def schedule(positions: int, steps: int) -> list[int]:
    """How many positions are still masked after each round: floor(N cos(pi t / 2 T)), at least one fewer each time."""
    total = min(steps, positions)
    planned = [math.floor(positions * math.cos(math.pi / 2 * t / total)) for t in range(1, total + 1)]
    left: list[int] = []
    for t, count in enumerate(planned, start=1):
        # enough must stay for one in every round to come
        left.append(min(max(count, total - t), (left[-1] if left else positions) - 1))
    return [*left[:-1], 0]


def _held_out_masks(indices: Iterable[int], rounds: int, positions: int) -> tuple[Tensor, Tensor]:
    """Numbers of masked positions `[B, rounds]` and masks `[B, rounds, N]`, fixed by the samples' indices."""
    counts, masks = [], []
    for index in indices:
        random = generator(_HELD_OUT_SEED, index)
        count = ((np.arange(rounds) + random.random(rounds)) / rounds * positions).astype(np.int64) + 1
        rank = random.random((rounds, positions)).argsort(1).argsort(1)
        counts.append(count.clip(1, positions))
        masks.append(rank < counts[-1][:, None])
    return torch.from_numpy(np.stack(counts)), torch.from_numpy(np.stack(masks))


def _flat(codes: Tensor) -> Tensor:
    return codes.flatten(2).transpose(1, 2)


def _wide(places: Tensor, width: int) -> Tensor:
    """Indices `[B, M]` for `gather` along the positions of `[B, N, width]`."""
    return places[..., None].expand(-1, -1, width)
