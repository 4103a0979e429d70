"""What the project's own range coder makes of codes: rANS with frequencies counted on other samples.

Shape legend: N samples, H heads, *grid the axes of a latent, P positions, B streams, S symbols of one.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ...results.metric import Metric
from ...tokenizers.sequence_coding import rans
from ...tokenizers.sequence_coding.entropy_config import LARGEST_CODEBOOK
from ..metrics.balls import evenly
from .code_bpe import TOKENS, held_out
from .interface import Proxy, ProxyInput, Value, metric

_LEAST = 10
_STREAM = 1 << 12  # symbols that share the byte and a half that a stream wastes


def tables(codes: Tensor, sizes: tuple[int, ...]) -> list[rans.Frequencies]:
    """The coder's frequencies of each head's codes, of `[N, H, *grid]`."""
    counts = (torch.bincount(codes[:, head].flatten(), minlength=size) for head, size in enumerate(sizes))
    return [rans.Frequencies.of(rans.scaled(count.numpy())) for count in counts]


def streams(codes: Tensor) -> list[np.ndarray]:
    """The codes `[N, H, *grid]` as symbols of streams of equal lengths, `[B, S]`, and a shorter one for the rest:
    samples one after the other, in raster order, the heads of a position in turn."""
    symbols = codes.flatten(2).transpose(1, 2).flatten(1).numpy()
    together = max(1, _STREAM // symbols.shape[1])
    full = len(symbols) // together * together
    parts = symbols[:full].reshape(-1, together * symbols.shape[1]), symbols[full:].reshape(1, -1)
    return [part for part in parts if part.size]


def coded(codes: Tensor, sizes: tuple[int, ...]) -> tuple[float, Tensor]:
    """The bits that the coder writes for the held-out samples of codes `[N, H, *grid]`, and each one's information
    content by the same frequencies, `[n]` float64."""
    other = held_out(len(codes))
    frequencies = tables(codes[~other], sizes)
    written = sum(int(rans.encode(part, frequencies)[1].sum()) for part in streams(codes[other]))
    content = torch.zeros(int(other.sum()), dtype=torch.float64)
    for head, table in enumerate(frequencies):
        bits = table.bits - torch.from_numpy(np.log2(table.counts.astype(np.float64)))
        content += bits[codes[other, head]].flatten(1).sum(1)
    return 8.0 * written, content


class CodeRange(Proxy):
    """See `CodeRangeConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        if latents.codes is None:
            return ()
        codes, sizes = latents.codes, latents.codebook_sizes
        value: Value = None
        if len(codes) >= _LEAST and codes.numel() and max(sizes) <= LARGEST_CODEBOOK:
            part = codes[evenly(len(codes), max(_LEAST, TOKENS // codes[0].numel()))]
            bits, content = coded(part, sizes)
            positions = codes[0, 0].numel()
            se = float(content.std()) / math.sqrt(len(content)) / positions
            value = (bits / len(content) / positions, se, 1.96 * se)
        protocol = (
            f"bits per position, summed over heads, that rANS writes for a fifth of up to {TOKENS} codes, with each "
            "head's frequencies in the other four fifths"
        )
        return (metric("code_range_bits", value, latents, direction="none", unit="bit", protocol=protocol),)
