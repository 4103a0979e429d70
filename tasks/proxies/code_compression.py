"""How far codes can be compressed without training: by zlib, by counting contexts, and how soon they stop repeating.

Shape legend: N samples, H heads, *grid the axes of a latent.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor

from ...results.metric import Metric
from ..closed_forms.markov import ORDER, BackOff, contexts
from ..metrics.balls import evenly
from .interface import Proxy, ProxyInput, Value, metric

TOKENS = 1 << 17
_LONGEST = 64
_FOLDS = 5
_LEAST = 10
_BACK_OFF = (
    f"held-out bits per position after 0 to {ORDER} causal neighbours, whichever is best, backing off (Witten and "
    "Bell), summed over heads"
)
_UNIQUE = "length at which half of the runs of codes in raster order occur once"


def zlib_bits(codes: Tensor) -> float:
    """Bits per position of codes `[N, H, *grid]` in raster order, head by head, as bytes under zlib at its best level.

    A code takes the fewest bytes (1, 2 or 4) that hold the largest one.
    """
    largest = int(codes.max())
    kind = np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32
    stored = sum(len(zlib.compress(codes[:, head].numpy().astype(kind).tobytes(), 9)) for head in range(codes.shape[1]))
    return 8 * stored / codes[:, 0].numel()


def back_off_bits(codes: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Each sample's held-out bits per position: `[N, H, *grid]` to `[N]` float64, summed over heads.

    Codes after 0 to 3 causal neighbours, backing off to fewer (`tasks.closed_forms.markov`), counted on the other four
    fifths of the samples; of a head the number of neighbours with the fewest bits in all: contexts that are too rare
    cost bits.
    """
    bits = torch.zeros(len(codes), dtype=torch.float64)
    for head in range(codes.shape[1]):
        by_order = torch.zeros(ORDER + 1, len(codes), dtype=torch.float64)
        before = contexts(codes, head, sizes)
        for fold in range(_FOLDS):
            other = torch.arange(len(codes)) % _FOLDS == fold
            model = BackOff(codes[~other, head].flatten(), before[~other].flatten(0, -2), sizes[head])
            for order in range(ORDER + 1):
                p = model.log2(codes[other, head].flatten(), before[other].flatten(0, -2), order)
                by_order[order, other] = -p.view(int(other.sum()), -1).mean(1)
        bits += by_order[by_order.mean(1).argmin()]
    return bits


def unique_length(sequences: Tensor) -> float:
    """The length at which half of all runs in `[n, length]` occur once, between whole lengths by interpolation; NaN
    where sequences end before."""
    rows = sequences.numpy()
    run = np.unique(rows, return_inverse=True)[1].reshape(rows.shape).astype(np.int64)
    alone = run
    before = 0.0
    for length in range(1, min(_LONGEST, rows.shape[1]) + 1):
        if length > 1:
            run = run[:, :-1] * (int(alone.max()) + 1) + alone[:, length - 1 :]
            run = np.unique(run, return_inverse=True)[1].reshape(run.shape)
        share = float((np.bincount(run.ravel()) == 1).sum()) / run.size
        if share >= 0.5:
            return length - 1 + (0.5 - before) / (share - before)
        before = share
    return float("nan")


class CodeCompression(Proxy):
    """See `CodeCompressionConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        if latents.codes is None:
            return ()
        codes = latents.codes
        packed: Value = None
        counted: Value = None
        unique: Value = None
        if len(codes) >= _LEAST and codes.numel():
            part = codes[evenly(len(codes), max(_LEAST, TOKENS // codes[0].numel()))]
            packed = zlib_bits(part)
            bits = back_off_bits(codes, latents.codebook_sizes)
            se = float(bits.std()) / math.sqrt(len(bits))
            counted = (float(bits.mean()), se, 1.96 * se)
            unique = unique_length(part.flatten(0, 1).flatten(1))
        most = f"of up to {TOKENS} codes"
        rows = (
            ("code_zlib_bits", packed, "bit", f"zlib's bits per position {most} in raster order, summed over heads"),
            ("code_back_off_bits", counted, "bit", _BACK_OFF),
            ("code_unique_length", unique, "codes", f"{_UNIQUE}, {most}; compare at equal numbers of codes"),
        )
        return tuple(
            metric(name, value, latents, direction="none", unit=unit, protocol=protocol)
            for name, value, unit, protocol in rows
        )
