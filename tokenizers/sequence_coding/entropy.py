"""Entropy coding of codes (entropy-coded byte streams, A19): as few bytes as the codes' frequencies allow.

Shape legend: B batch, H heads, *grid positions, P their number, S = P x H symbols, L the longest sequence in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..spec import LatentSpec
from . import rans
from .base import SequenceCoding
from .entropy_config import EntropyConfig


class Entropy(SequenceCoding):
    """Sequences `[B, 1, L]` of bytes: codes in raster order, the heads of a position in turn, through `rans`.

    `frequencies` `[sum K]` are the heads' code frequencies in the training split, head after head. A sample that would
    become at least as long as its plain bits is stored as those, and recognised by its length L.
    """

    frequencies: Tensor

    def __init__(self, config: EntropyConfig, inner: LatentSpec) -> None:
        super().__init__()
        self.grid = inner.grid
        (self.longest,) = config.grid(inner).shape
        even = [torch.from_numpy(rans.scaled(np.zeros(size))) for size in inner.grid.codebook_sizes]
        self.register_buffer("frequencies", torch.cat(even))

    @torch.no_grad()
    def fit_codes(self, codes: Iterable[Tensor]) -> None:
        sizes = self.grid.codebook_sizes
        counts = [torch.zeros(size, dtype=torch.long) for size in sizes]
        for batch in codes:
            for head, count in enumerate(counts):
                count += torch.bincount(batch[:, head].flatten(), minlength=sizes[head]).cpu()
        self.frequencies.copy_(torch.cat([torch.from_numpy(rans.scaled(count.numpy())) for count in counts]))

    def encode_codes(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        symbols = codes.flatten(2).transpose(1, 2).flatten(1).cpu().numpy()
        streams, lengths = rans.encode(symbols, self._tables())
        sequences = np.zeros((len(symbols), self.longest), dtype=np.int64)
        width = min(self.longest, streams.shape[1])
        sequences[:, :width] = streams[:, :width]
        long = lengths >= self.longest
        sequences[long] = self._packed(symbols[long])
        lengths[long] = self.longest
        shaped = torch.from_numpy(sequences).unsqueeze(1)
        return shaped.to(codes.device), torch.from_numpy(lengths).to(codes.device)

    def decode_codes(self, sequences: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
        rows, ends = sequences[:, 0].cpu().numpy(), lengths.cpu().numpy()
        heads, count = self.grid.heads, self.grid.positions * self.grid.heads
        symbols, determined = rans.decode(rows, ends, self._tables(), count)
        for row in np.flatnonzero((determined >= 0) & (determined < count)):
            # What is missing repeats the last position that all heads have.
            place = determined[row] // heads * heads
            last = symbols[row, place - heads : place] if place else np.zeros(heads, dtype=np.int64)
            symbols[row, place:] = np.tile(last, (count - place) // heads)
        broken = determined != count
        plain = ends == self.longest
        symbols[plain], broken[plain] = self._unpacked(rows[plain])
        shaped = torch.from_numpy(symbols).view(-1, self.grid.positions, heads).transpose(1, 2)
        codes = shaped.reshape(len(symbols), heads, *self.grid.shape)
        return codes.to(sequences.device), int(broken.sum())

    def _tables(self) -> list[rans.Frequencies]:
        parts = self.frequencies.cpu().split(list(self.grid.codebook_sizes))
        return [rans.Frequencies.of(part.numpy()) for part in parts]

    def _widths(self) -> list[int]:
        """Bits of one position's plain codes, by head."""
        return [(size - 1).bit_length() for size in self.grid.codebook_sizes]

    def _packed(self, symbols: np.ndarray) -> np.ndarray:
        """`[n, S]` to their plain bits, the highest first, as bytes `[n, L]`."""
        by_head = symbols.reshape(len(symbols), self.grid.positions, self.grid.heads)
        bits = [
            by_head[:, :, head, None] >> np.arange(width - 1, -1, -1) & 1 for head, width in enumerate(self._widths())
        ]
        return np.packbits(
            np.concatenate(bits, axis=2)
            .astype(np.uint8)
            .reshape(len(symbols), self.grid.positions * sum(self._widths())),
            axis=1,
        )

    def _unpacked(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse, and which rows `[n, L]` `_packed` can't have made (codes above the largest become it)."""
        widths = self._widths()
        bits = np.unpackbits(rows.astype(np.uint8), axis=1)
        used = self.grid.positions * sum(widths)
        broken = bits[:, used:].any(axis=1)
        by_position = bits[:, :used].reshape(len(rows), self.grid.positions, sum(widths)).astype(np.int64)
        parts = np.split(by_position, np.cumsum(widths)[:-1], axis=2)
        symbols = np.stack([part @ (1 << np.arange(part.shape[2] - 1, -1, -1)) for part in parts], axis=2)
        legal = np.minimum(symbols, np.array(self.grid.codebook_sizes) - 1)
        broken |= (legal != symbols).any(axis=(1, 2))
        return legal.reshape(len(rows), self.grid.positions * self.grid.heads), broken
