from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from latentbench.tasks.proxies.code_bpe import held_out
from latentbench.tasks.proxies.code_range import coded, streams, tables
from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tokenizers.sequence_coding import rans


def measured(codes: torch.Tensor, *sizes: int) -> float:
    latents = ProxyInput.of(torch.randn(len(codes), 1, 2), codes=codes, codebook_sizes=sizes)
    (metric,) = compute("code_range", latents)
    assert metric.value is not None
    return float(metric.value)


def test_a_source_costs_its_entropy_within_a_hundredth() -> None:
    shares = torch.distributions.Dirichlet(torch.full((64,), 0.5)).sample()
    entropy = float(-(shares * shares.log2()).nansum())
    codes = torch.multinomial(shares, 2000 * 64, replacement=True).view(2000, 1, 8, 8)
    assert measured(codes, 64) == pytest.approx(entropy, rel=0.01)


def test_heads_have_frequencies_of_their_own() -> None:
    codes = torch.cat([torch.randint(256, (1000, 1, 8, 8)), torch.randint(4, (1000, 1, 8, 8))], 1)
    assert measured(codes, 256, 256) == pytest.approx(10, rel=0.01)
    assert measured(torch.full((1000, 1, 8, 8), 3), 16) < 0.01


def test_it_does_not_know_neighbours() -> None:
    """A chain of two codes that changes with probability .1 costs a bit each all the same."""
    codes = ((torch.randint(2, (1000, 1)) + (torch.rand(1000, 128) < 0.1).cumsum(1)) % 2).view(1000, 1, 128)
    assert measured(codes, 2) == pytest.approx(1, rel=0.01)


def test_what_is_written_decodes_to_the_held_out_codes() -> None:
    codes = torch.randint(50, (103, 2, 5, 5)) % torch.tensor([50, 7]).view(1, 2, 1, 1)
    other = held_out(len(codes))
    frequencies = tables(codes[~other], (50, 7))
    written, rows = 0, []
    for part in streams(codes[other]):
        out, lengths = rans.encode(part, frequencies)
        back, determined = rans.decode(out, lengths, frequencies, part.shape[1])
        assert (determined == part.shape[1]).all()
        written += 8 * int(lengths.sum())
        rows.append(back.reshape(-1, 50))
    expected = codes[other].flatten(2).transpose(1, 2).flatten(1).numpy()
    assert np.array_equal(np.concatenate(rows), expected)
    bits, content = coded(codes, (50, 7))
    assert bits == written
    assert bits == pytest.approx(float(content.sum()), abs=32)  # a stream wastes four bytes at most


def test_streams_hold_every_sample_once() -> None:
    codes = torch.arange(130 * 64).view(130, 1, 8, 8)
    full, rest = streams(codes)
    assert full.shape == (2, 64 * 64)
    assert rest.shape == (1, 2 * 64)
    assert np.array_equal(np.concatenate([full.ravel(), rest.ravel()]), np.arange(130 * 64))


def test_few_samples_too_many_codes_and_values_have_none() -> None:
    few = ProxyInput.of(torch.randn(5, 1, 2), codes=torch.zeros(5, 1, 4, dtype=torch.int64), codebook_sizes=(4,))
    many = ProxyInput.of(torch.randn(20, 1, 2), codes=torch.zeros(20, 1, 4, dtype=torch.int64), codebook_sizes=(2**19,))
    for latents in (few, many):
        assert [metric.value for metric in compute("code_range", latents)] == [None]
    assert compute("code_range", ProxyInput.of(torch.randn(20, 2, 4))) == ()
    assert math.isfinite(measured(torch.zeros(20, 1, 4, dtype=torch.int64), 2**18))
