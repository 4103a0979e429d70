"""Use of codebooks: share used, perplexity, order-0 entropy; from histograms over the whole set.

Shape legend: N samples, H heads (codes per position), K a head's codebook size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...results.errors import UserError
from ...results.metric import Direction, Metric, Shown
from .jackknife import delete_a_group, interval_of

# A larger codebook (products, binary quantisers) is counted by the codes that occur, never by its implicit size.
_DENSE = 1 << 20


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

    def used(self) -> list[float]:
        """Per head, the share of its codes that occur at least once."""
        return [len(self.counts(head)) / size for head, size in enumerate(self.codebook_sizes)]

    def entropies(self) -> list[float]:
        """Per head, the entropy of its codes in bits (plug-in estimate, biased low while codes outnumber tokens)."""
        return [entropy_bits(self.counts(head)) for head in range(len(self.codebook_sizes))]

    def perplexities(self) -> list[float]:
        """Per head, 2^entropy: how many equally likely codes would be as unpredictable."""
        return [2**bits for bits in self.entropies()]


def entropy_bits(counts: Tensor) -> float:
    """-Σ p log2 p of positive counts `[K]`; 0 for none."""
    if len(counts) == 0:
        return 0.0
    shares = counts.double() / counts.sum()
    return max(0.0, -float((shares * shares.log2()).sum()))


def code_metrics(histograms: Sequence[CodeHistogram], *, prefix: str = "") -> tuple[Metric, ...]:
    """`codebook_use`, `codebook_perplexity`, `code_bits_per_position` and `code_bits_per_sample` over the whole set.

    `histograms` are of disjoint groups of samples; with two or more the intervals come from leaving one out at a time.
    Use and perplexity are means over heads, bits are sums over heads (order-0: heads and positions as if independent).
    Perplexity is never divided by a codebook size: `codebook_use` is the share of codes that occur. Values are None for
    an empty set.
    """
    if not histograms:
        raise UserError("code_metrics needs at least one histogram")
    total = _merged(histograms)
    samples = total.samples
    line = "plug-in estimate over the whole set"  # codebook sizes are what is compared, no protocol
    rows: tuple[tuple[str, Direction, str, Shown, str], ...] = (
        ("codebook_use", "higher", "", "default", "mean over heads of the share of codes that occur"),
        ("codebook_perplexity", "higher", "codes", "default", "mean over heads of 2^entropy"),
        ("code_bits_per_position", "none", "bit", "asked", "order-0 entropy, sum over heads"),
        ("code_bits_per_sample", "none", "bit", "asked", "order-0 entropy, sum over heads and positions"),
    )
    values: Sequence[float | None] = _statistics(total) if samples else [None] * len(rows)
    left_out: list[list[float]] = []
    if len(histograms) > 1 and all(h.samples for h in histograms):
        left_out = [_statistics(_merged([h for h in histograms if h is not part])) for part in histograms]
    metrics = []
    for column, ((name, direction, unit, shown, what), value) in enumerate(zip(rows, values, strict=True)):
        se, half = delete_a_group([row[column] for row in left_out])
        metrics.append(
            Metric(
                name=prefix + name,
                value=value,
                se=se,
                interval=interval_of(value, half),
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
