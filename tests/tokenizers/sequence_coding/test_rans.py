"""The range coder: exact, as short as the information content, against a coder with whole numbers of any size."""

from __future__ import annotations

import numpy as np
import pytest

from latentbench.tokenizers.sequence_coding.rans import Frequencies, decode, encode, scaled


def drawn(rows: int, count: int, shares: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(len(shares), size=(rows, count), p=shares)


def skewed(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(size, 0.3))


def one_number(symbols: list[int], tables: list[Frequencies]) -> int:
    """The coder's definition, the state a whole number without bound: no byte ever leaves it."""
    state = 1
    for place in range(len(symbols) - 1, -1, -1):
        table, symbol = tables[place % len(tables)], symbols[place]
        quotient, remainder = divmod(state, int(table.counts[symbol]))
        state = (quotient << table.bits) + remainder + int(table.starts[symbol])
    return state


@pytest.mark.parametrize("sizes", [(2,), (256,), (3, 1000), (1 << 17,)])
@pytest.mark.parametrize("count", [1, 12, 300])
def test_symbols_come_back(sizes: tuple[int, ...], count: int) -> None:
    rng = np.random.default_rng(count)
    tables = [Frequencies.of(scaled(rng.integers(0, 50, size))) for size in sizes]
    symbols = np.stack([rng.integers(0, sizes[i % len(sizes)], 20) for i in range(count)], axis=1)
    symbols[0] = 0
    streams, lengths = encode(symbols, tables)
    assert streams.dtype == np.uint8
    assert streams.shape == (20, lengths.max())
    assert not any(stream[length:].any() for stream, length in zip(streams, lengths, strict=True))
    restored, said = decode(streams, lengths, tables, count)
    assert np.array_equal(restored, symbols)
    assert (said == count).all()


def test_a_short_row_is_the_number_that_the_definition_gives() -> None:
    """Up to 32 bits nothing leaves the state, so its bytes are those of the unbounded number."""
    table = Frequencies.of(scaled(skewed(7) * 1000))
    symbols = drawn(50, 6, skewed(7))
    streams, lengths = encode(symbols, [table])
    for row, stream, length in zip(symbols.tolist(), streams, lengths.tolist(), strict=True):
        state = one_number(row, [table])
        if state < 1 << 31:
            assert stream[:length].tobytes() == state.to_bytes(length, "big")
            assert stream[0] != 0
    assert (lengths < 4).any()


@pytest.mark.parametrize(("size", "count"), [(2, 400), (64, 64), (256, 256), (1024, 1024)])
def test_a_row_is_as_long_as_its_information_content(size: int, count: int) -> None:
    shares = skewed(size, seed=count)
    table = Frequencies.of(scaled(shares * 1e6))
    symbols = drawn(100, count, shares)
    _, lengths = encode(symbols, [table])
    content = -np.log2(table.counts / (1 << table.bits))[symbols].sum(1) / 8
    assert (lengths < content * 1.002 + table.bits / 8 + 1).all()
    assert lengths.mean() < content.mean() * 1.002 + 2
    assert (lengths >= np.floor(content * 0.999)).all()
    # and the frequencies are those of the source: the mean is its entropy
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum() * count / 8
    assert entropy * 0.97 < lengths.mean() < entropy * 1.02 + 2


def test_frequencies_sum_to_a_power_of_two_and_leave_nothing_out() -> None:
    for size in (2, 3, 256, 5000, 1 << 18):
        counts = np.zeros(size)
        counts[: size // 2] = 10
        counts[1] = 1e6
        frequencies = scaled(counts)
        assert frequencies.min() == 1
        assert int(frequencies.sum()) == 1 << {2: 12, 3: 12, 256: 16, 5000: 20, 1 << 18: 20}[size]
        assert frequencies.argmax() == 1
    assert scaled(np.zeros(4)).tolist() == [1 << 10] * 4
    with pytest.raises(ValueError, match="sum to a power of two"):
        Frequencies.of(np.array([1, 2]))
    with pytest.raises(ValueError, match="at least 1"):
        Frequencies.of(np.array([0, 4]))


def test_what_no_encoder_made_is_told() -> None:
    table = Frequencies.of(scaled(skewed(50) * 1000))
    symbols = drawn(40, 30, skewed(50))
    streams, lengths = encode(symbols, [table])
    # cut short: what was said before the cut is right
    restored, said = decode(streams, lengths - 3, [table], 30)
    assert (said < 30).all()
    for row, expected, known in zip(restored, symbols, said, strict=True):
        sure = max(0, known - 12)  # the last bytes it has are the state of several symbols to come
        assert np.array_equal(row[:sure], expected[:sure])
    # a byte more
    longer = np.concatenate([streams, np.ones((40, 1), np.uint8)], axis=1)
    longer[np.arange(40), lengths] = 1
    assert (decode(longer, lengths + 1, [table], 30)[1] == -1).all()
    # noise
    noise = np.random.default_rng(0).integers(0, 256, (200, 40))
    restored, said = decode(noise, np.random.default_rng(1).integers(0, 41, 200), [table], 30)
    assert restored.min() >= 0
    assert restored.max() < 50
    assert (said != 30).mean() > 0.95
