"""An entropy coder with static frequencies: rANS (Duda 2013, arXiv 1311.2540), byte by byte, many rows at once.

A row's state x is one unsigned 32-bit integer below 2^31. To code a symbol of frequency f out of 2^bits, where the
frequencies of the symbols before it in the table sum to c: low bytes are written until the result stays below 2^31,
then x <- (x div f) 2^bits + x mod f + c. Decoding is the inverse, last symbol first; so symbols are coded from the last
to the first, and read in their order. The state starts at 1 and is written without leading zeros: a row takes its
information content, at most `bits` bits (which the first symbol coded may waste) and a byte more; on average about 1.5
bytes more than its information content.

The library `constriction` is no substitute: its streams are 32-bit words, so up to three bytes longer, and it decodes a
truncated stream to the end without saying which symbols the bytes still determine.

Shape legend: B rows, S symbols per row, W the longest row's bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A state that has grown to this stays at or above it, and reads bytes whenever it falls below.
_LOW = np.uint32(1 << 23)
_BYTE = np.uint32(8)


@dataclass(frozen=True, kw_only=True)
class Frequencies:
    """`counts` uint32 `[K]` sum to 2^bits, none of them 0; `starts` are the sums of those before."""

    counts: np.ndarray
    starts: np.ndarray
    bits: int

    @classmethod
    def of(cls, counts: np.ndarray) -> Frequencies:
        """Frequencies `[K]` whose sum is a power of two up to 2^20."""
        total = int(counts.sum())
        bits = total.bit_length() - 1
        if total != 1 << bits or bits > 20 or counts.min() < 1:
            raise ValueError("frequencies must be at least 1 and sum to a power of two, at most 2^20")
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        return cls(counts=counts.astype(np.uint32), starts=starts.astype(np.uint32), bits=bits)


def scaled(counts: np.ndarray) -> np.ndarray:
    """Observed counts `[K]` as frequencies, int64 `[K]`: at least 1 each, and a power of two together.

    Their sum is 2^8 per symbol (rounded up), at least 2^12 and at most 2^20.
    """
    size = len(counts)
    total = 1 << min(20, max(12, (size - 1).bit_length() + 8))
    seen = counts.astype(np.float64)
    shares = seen / seen.sum() if seen.sum() else np.full(size, 1 / size)
    result = 1 + np.floor(shares * (total - size)).astype(np.int64)
    result[np.argmax(result)] += total - result.sum()
    return result


def encode(symbols: np.ndarray, tables: Sequence[Frequencies]) -> tuple[np.ndarray, np.ndarray]:
    """`[B, S]` whole numbers to bytes `[B, W]` uint8, zeros behind their ends, and lengths `[B]`.

    Symbol i is coded with the table number i modulo their number.
    """
    rows, count = symbols.shape
    most = sum(tables[i % len(tables)].bits for i in range(count)) // 8 + 5
    out = np.zeros((rows, most), dtype=np.uint8)
    written = np.zeros(rows, dtype=np.int64)
    state = np.ones(rows, dtype=np.uint32)

    def write(which: np.ndarray) -> None:
        out[which, written[which]] = state[which] & np.uint32(255)
        state[which] >>= _BYTE
        written[which] += 1

    for place in range(count - 1, -1, -1):
        table = tables[place % len(tables)]
        frequency, start = table.counts[symbols[:, place]], table.starts[symbols[:, place]]
        limit = frequency << np.uint32(31 - table.bits)
        while len(full := np.flatnonzero(state >= limit)):
            write(full)
        quotient = state // frequency
        state = (quotient << np.uint32(table.bits)) + (state - quotient * frequency) + start
    while len(left := np.flatnonzero(state)):
        write(left)
    width = int(written.max(initial=0))
    places = np.arange(width)
    backwards = np.maximum(written[:, None] - 1 - places, 0)
    streams = np.take_along_axis(out, backwards, axis=1)
    streams[places >= written[:, None]] = 0
    return streams, written


def decode(
    streams: np.ndarray, lengths: np.ndarray, tables: Sequence[Frequencies], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The inverse: `count` symbols `[B, S]` int64, and how many of each row's symbols the bytes determine.

    That is `count` for a stream of `encode`, -1 for a row that describes all symbols but is no such stream (bytes are
    left over, or the state does not end where it began), and otherwise the symbols before the bytes ran out.
    """
    rows = len(streams)
    bytes_ = streams.astype(np.uint32)
    state, read = np.zeros(rows, dtype=np.uint32), np.zeros(rows, dtype=np.int64)
    symbols = np.zeros((rows, count), dtype=np.int64)
    determined = np.zeros(rows, dtype=np.int64)

    def refill() -> None:
        while len(low := np.flatnonzero((state < _LOW) & (read < lengths))):
            state[low] = (state[low] << _BYTE) | bytes_[low, read[low]]
            read[low] += 1

    refill()
    for place in range(count):
        table = tables[place % len(tables)]
        slot = state & np.uint32((1 << table.bits) - 1)
        symbol = np.searchsorted(table.starts, slot, side="right") - 1
        symbols[:, place] = symbol
        before = state
        state = table.counts[symbol] * (state >> np.uint32(table.bits)) + (slot - table.starts[symbol])
        determined[(state != before) | (read < lengths)] = place + 1
        refill()
    whole = (state == 1) & (read == lengths)
    determined[whole] = count
    determined[~whole & (determined == count)] = -1
    return symbols, determined
