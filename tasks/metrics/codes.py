"""Use of codebooks: share used, perplexity, order-0 entropy; from histograms over the whole set.

Shape legend: N samples, H heads (codes per position), K a head's codebook size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...results.errors import UserError
from ...results.metric import Direction, Metric, Shown
from .entropy import TOKENS_PER_CODE, codes_in_use, enough_tokens, entropy_bits
from .jackknife import delete_a_group, interval_of

# A larger codebook (products, binary quantisers) is counted by the codes that occur, never by its implicit size.
_DENSE = 1 << 20
ESTIMATE = "of the population, by Chao's estimators"


class CodeHistogram:
    """How often each head used each of its codes, counted in a stream of `[N, H, *grid]` codes."""

    def __init__(self, codebook_sizes: Sequence[int]) -> None:
        self.codebook_sizes = tuple(codebook_sizes)
        self.samples = 0
        self.positions = 0
        self._counts: list[dict[int, int] | Tensor] = [
            torch.zeros(size, dtype=torch.int64) if size <= _DENSE else {} for size in self.codebook_sizes
        ]

    def update(self, codes: Tensor, lengths: Tensor | None = None) -> None:
        """Adds `[N, H, *grid]` int64, of sequences `[N, H, L]` with `lengths` `[N]` what lies before their ends.

        Raises UserError for another number of heads or a code outside its codebook.
        """
        if codes.ndim < 2 or codes.shape[1] != len(self.codebook_sizes):
            raise UserError(f"codes must be [N, {len(self.codebook_sizes)}, *grid], got {list(codes.shape)}")
        if len(codes) == 0:
            return
        self.samples += len(codes)
        if lengths is not None:
            inside = torch.arange(codes.shape[2], device=codes.device) < lengths.unsqueeze(1)
            codes = codes.transpose(1, 2)[inside].T.unsqueeze(0)  # all samples as one sequence [1, H, positions]
            if codes.shape[2] == 0:
                return
        self.positions += math.prod((len(codes), *codes.shape[2:]))
        for head, size in enumerate(self.codebook_sizes):
            flat = codes[:, head].flatten()
            low, high = int(flat.min()), int(flat.max())
            if low < 0 or high >= size:
                raise UserError(f"codes of head {head} must lie in 0..{size - 1}, got {low}..{high}")
            counts = self._counts[head]
            if isinstance(counts, Tensor):
                counts += torch.bincount(flat, minlength=size).cpu()
            else:
                for code, count in zip(*(t.tolist() for t in torch.unique(flat, return_counts=True)), strict=True):
                    counts[code] = counts.get(code, 0) + count

    def state(self) -> dict[str, Tensor]:
        """What has been counted, as tensors."""
        state = {"seen": torch.tensor([self.samples, self.positions])}
        for head, counts in enumerate(self._counts):
            if isinstance(counts, dict):
                counts = torch.tensor([*counts.keys(), *counts.values()], dtype=torch.int64)
            state[str(head)] = counts
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self.samples, self.positions = (int(number) for number in state["seen"])
        for head, counts in enumerate(self._counts):
            stored = state[str(head)]
            if isinstance(counts, dict):
                half = len(stored) // 2
                counts.update(zip(stored[:half].tolist(), stored[half:].tolist(), strict=True))
            else:
                counts.copy_(stored)

    def merge(self, other: CodeHistogram) -> None:
        """Adds another histogram of the same codebooks."""
        if other.codebook_sizes != self.codebook_sizes:
            raise UserError(f"histograms of different codebooks: {self.codebook_sizes} and {other.codebook_sizes}")
        self.samples += other.samples
        self.positions += other.positions
        for mine, theirs in zip(self._counts, other._counts, strict=True):
            if isinstance(mine, Tensor) and isinstance(theirs, Tensor):
                mine += theirs
            elif isinstance(mine, dict) and isinstance(theirs, dict):
                for code, count in theirs.items():
                    mine[code] = mine.get(code, 0) + count

    def counts(self, head: int) -> Tensor:
        """The counts of the codes that `head` used, zeros left out, float64, in no order."""
        counts = self._counts[head]
        values = counts if isinstance(counts, Tensor) else torch.tensor(list(counts.values()), dtype=torch.int64)
        return values[values > 0].double()

    def enough(self) -> bool:
        """Whether every head has tokens enough for the estimates below: 5 per code that occurs."""
        return all(enough_tokens(self.counts(head)) for head in range(len(self.codebook_sizes)))

    def used(self) -> list[float]:
        """Per head, the share of its codes that can occur, unseen ones estimated (see `codes_in_use`)."""
        return [codes_in_use(self.counts(head), size) / size for head, size in enumerate(self.codebook_sizes)]

    def entropies(self) -> list[float]:
        """Per head, the entropy of its codes in bits, corrected for the number of tokens (see `entropy_bits`)."""
        return [entropy_bits(self.counts(head)) for head in range(len(self.codebook_sizes))]

    def perplexities(self) -> list[float]:
        """Per head, 2^entropy: how many equally likely codes would be as unpredictable."""
        return [2**bits for bits in self.entropies()]


def code_metrics(histograms: Sequence[CodeHistogram], *, prefix: str = "") -> tuple[Metric, ...]:
    """`codebook_use`, `codebook_perplexity`, `code_bits_per_position` and `code_bits_per_sample` over the whole set.

    `histograms` are of disjoint groups of samples; with two or more the intervals, for what infinitely many samples
    would give, come from leaving one out at a time. Values are estimates without the plug-in's bias (see `entropy`).
    Use and perplexity are means over heads, bits are sums over heads (order-0: heads and positions as if independent).
    Perplexity is never divided by a codebook size: `codebook_use` is the share of codes that can occur. Values are
    None where a head has fewer than 5 tokens per code that occurs; the protocol says so.
    """
    if not histograms:
        raise UserError("code_metrics needs at least one histogram")
    total = _merged(histograms)
    samples = total.samples
    known = total.enough()
    line = ESTIMATE  # codebook sizes are what is compared, and not part of the protocol
    if not known:
        line += f"; withheld: fewer than {TOKENS_PER_CODE} tokens per code that occurs"
    rows: tuple[tuple[str, Direction, str, Shown, str], ...] = (
        ("codebook_use", "higher", "", "default", "mean over heads of the share of codes that can occur"),
        ("codebook_perplexity", "higher", "codes", "default", "mean over heads of 2^entropy"),
        ("code_bits_per_position", "none", "bit", "asked", "order-0 entropy, sum over heads"),
        ("code_bits_per_sample", "none", "bit", "asked", "order-0 entropy, sum over heads and positions"),
    )
    values: Sequence[float | None] = _statistics(total) if known else [None] * len(rows)
    sizes = total.codebook_sizes
    bits = sum(math.log2(size) for size in sizes)
    most = [1.0, sum(sizes) / len(sizes), bits, bits * total.positions / max(samples, 1)]
    left_out: list[list[float]] = []
    if known and len(histograms) > 1 and all(h.samples for h in histograms):
        left_out = [_statistics(_merged([h for h in histograms if h is not part])) for part in histograms]
    metrics = []
    for column, ((name, direction, unit, shown, what), value) in enumerate(zip(rows, values, strict=True)):
        se, half = delete_a_group([row[column] for row in left_out])
        interval = interval_of(value, half)
        if value is not None:  # an estimate without bias may lie above what the codebooks allow; the truth can't
            value = min(value, most[column])
        if interval is not None:
            interval = (min(interval[0], most[column]), min(interval[1], most[column]))
        metrics.append(
            Metric(
                name=prefix + name,
                value=value,
                se=se,
                interval=interval,
                n=samples,
                direction=direction,
                unit=unit,
                protocol=f"{what}; {line}",
                role="latents",
                shown=shown,
            )
        )
    return tuple(metrics)


def _merged(histograms: Sequence[CodeHistogram]) -> CodeHistogram:
    total = CodeHistogram(histograms[0].codebook_sizes)
    for histogram in histograms:
        total.merge(histogram)
    return total


def _statistics(histogram: CodeHistogram) -> list[float]:
    heads = len(histogram.codebook_sizes)
    bits = sum(histogram.entropies())
    per_sample = histogram.positions / histogram.samples
    return [sum(histogram.used()) / heads, sum(histogram.perplexities()) / heads, bits, bits * per_sample]
