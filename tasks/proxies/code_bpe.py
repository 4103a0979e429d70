"""How far codes can be compressed by byte pair encoding: merges and frequencies learned on some samples, for others.

Shape legend: N samples, H heads, *grid the axes of a latent, n those held out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...results.metric import Metric
from ...tokenizers.sequence_coding.bpe import BPE
from ...tokenizers.sequence_coding.bpe_config import PRIVATE, BPEConfig
from ...tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec
from ..metrics.balls import evenly
from .interface import Proxy, ProxyInput, Value, metric

TOKENS = 1 << 17
MERGES = 1024
FOLDS = 5
_LEAST = 10
_HOW = (
    f"up to {MERGES} merges of neighbours in raster order, the heads of a position in turn, learned on four fifths of "
    f"up to {TOKENS} codes, of the other fifth; compare at equal numbers of codes"
)


def held_out(n: int) -> Tensor:
    """Which of n samples, `[n]` bool, are kept from fitting: every fifth."""
    return torch.arange(n) % FOLDS == FOLDS - 1


def merged(codes: Tensor, sizes: tuple[int, ...], merges: int = MERGES) -> tuple[Tensor, Tensor]:
    """Of each held-out sample of codes `[N, H, *grid]` the bits, `[n]` float64, and the merged symbols, `[n]`.

    Merges are those of `tokenizers.sequence_coding.bpe`. A symbol costs −log2 of its frequency among those symbols of
    the fitted samples that begin with the same head, which a decoder knows; each is counted half a time more
    (Krichevsky and Trofimov 1981).
    """
    shape = tuple(codes.shape[2:])
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(math.prod(shape),), rate=1)  # nothing is read
    inner = LatentSpec(signal=signal, grids=(LatentGrid(shape=shape, channels=1, codebook_sizes=sizes),))
    vocabulary = sum(sizes) + merges
    coding = BPE(BPEConfig(vocabulary=vocabulary), inner)
    other = held_out(len(codes))
    coding.fit_codes([codes[~other]])
    head = first_heads(coding.merges, sizes)
    counts = torch.bincount(_valid(*coding.encode_codes(codes[~other])), minlength=vocabulary)[: len(head)] + 0.5
    bits = -(counts / torch.zeros(len(sizes)).double().index_add_(0, head, counts.double())[head]).log2()
    symbols, lengths = coding.encode_codes(codes[other])
    sample = torch.arange(len(lengths)).repeat_interleave(lengths)
    each = torch.zeros(len(lengths), dtype=torch.float64)
    return each.index_add_(0, sample, bits[_valid(symbols, lengths)]), lengths


def first_heads(merges: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The head of each symbol's first code: of all codes, then of the merges `[M, 2]` that were made."""
    heads = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).tolist()
    for first in merges[merges[:, 0] >= 0, 0].tolist():
        heads.append(heads[first])
    return torch.tensor(heads)


def _valid(symbols: Tensor, lengths: Tensor) -> Tensor:
    """Sequences `[n, 1, L]` without what is behind their ends, one after the other."""
    return symbols[:, 0][torch.arange(symbols.shape[2]) < lengths[:, None]]


class CodeBPE(Proxy):
    """See `CodeBPEConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        if latents.codes is None:
            return ()
        codes, sizes = latents.codes, latents.codebook_sizes
        rate: Value = None
        entropy: Value = None
        share: Value = None
        if len(codes) >= _LEAST and codes.numel() and sum(sizes) <= PRIVATE:
            part = codes[evenly(len(codes), max(_LEAST, TOKENS // codes[0].numel()))]
            bits, lengths = merged(part, sizes)
            positions = codes[0, 0].numel()
            se = float(bits.std()) / math.sqrt(len(bits)) / positions
            rate = (float(bits.mean()) / positions, se, 1.96 * se)
            entropy = float(bits.sum() / lengths.sum())
            share = float(lengths.double().mean()) / positions
        rows = (
            (
                "code_bpe_bits",
                rate,
                "bit",
                f"bits per position, summed over heads, of symbols by frequency; {_HOW}",
            ),
            ("code_bpe_entropy", entropy, "bit", f"bits of a merged symbol, by frequency; {_HOW}"),
            ("code_bpe_symbols", share, "", f"merged symbols per position; {_HOW}"),
        )
        return tuple(
            metric(name, value, latents, direction="none", unit=unit, protocol=protocol)
            for name, value, unit, protocol in rows
        )
