from __future__ import annotations

import math

import pytest
import torch

from latentbench.tasks.proxies.code_bpe import first_heads, held_out, merged
from latentbench.tasks.proxies.interface import ProxyInput, compute

FLIP = 0.1
RATE = -(FLIP * math.log2(FLIP) + (1 - FLIP) * math.log2(1 - FLIP))


def measured(codes: torch.Tensor, *sizes: int) -> tuple[float, float, float]:
    latents = ProxyInput.of(torch.randn(len(codes), 1, 2), codes=codes, codebook_sizes=sizes)
    bits, entropy, symbols = (metric.value for metric in compute("code_bpe", latents))
    assert bits is not None
    assert entropy is not None
    assert symbols is not None
    assert bits == pytest.approx(entropy * symbols)
    return bits, entropy, symbols


def test_words_are_found_and_cost_what_choosing_one_costs() -> None:
    """Sequences of 16 words of eight codes that are equally likely: 4 bits a word."""
    words = torch.randperm(512)[:128].view(16, 8)
    codes = words[torch.randint(16, (1000, 8))].view(1000, 1, 64)
    bits, lengths = merged(codes, (512,), merges=16 * 7)
    assert (lengths == 8).all()
    assert float(bits.mean()) == pytest.approx(8 * 4, rel=0.05)  # half a count for each of 512 codes takes a share
    rate, entropy, symbols = measured(codes, 512)  # with 1,024 merges rare runs of words become symbols too, at a cost
    assert symbols < 1 / 8
    assert entropy > 4
    assert 0.5 < rate < 0.6


def test_codes_without_structure_cost_their_nominal_bits() -> None:
    bits, _, symbols = measured(torch.randint(256, (1000, 2, 8, 8)), 256, 256)
    assert 16 < bits < 16.2  # a symbol that is merged for no reason costs little; telling heads apart nothing
    assert 1.9 < symbols <= 2


def test_equal_codes_cost_nothing() -> None:
    bits, _, symbols = measured(torch.full((1000, 1, 8, 8), 3), 16)
    assert bits < 0.001
    assert symbols == 1 / 64


def test_a_chain_costs_more_than_its_rate_and_less_than_codes_alone() -> None:
    """Two codes that change with probability .1: alone they cost a bit."""
    codes = ((torch.randint(2, (1000, 1)) + (torch.rand(1000, 128) < FLIP).cumsum(1)) % 2).view(1000, 1, 128)
    bits, _, _ = measured(codes, 2)
    assert RATE + (1 - RATE) / 128 < bits < 1.35 * RATE


def test_nothing_is_learned_from_what_is_held_out() -> None:
    """The held-out fifth has codes of its own: half a count each among the fitted ones."""
    codes = torch.zeros(100, 1, 16, dtype=torch.int64)
    codes[held_out(100)] = 1
    bits, lengths = merged(codes, (2,))
    assert (lengths == 16).all()
    # 80 samples of one merged symbol; two codes and the four merges that double a run have half a count more each
    assert bits.tolist() == pytest.approx([-16 * math.log2(0.5 / (80 + 6 / 2))] * 20)


def test_the_heads_that_symbols_begin_with() -> None:
    merges = torch.tensor([[0, 3], [3, 1], [6, 0], [-1, -1]])
    assert first_heads(merges, (2, 3)).tolist() == [0, 0, 1, 1, 1, 0, 1, 1]


def test_few_samples_too_many_codes_and_values_have_none() -> None:
    few = ProxyInput.of(torch.randn(5, 1, 2), codes=torch.zeros(5, 1, 4, dtype=torch.int64), codebook_sizes=(4,))
    many = ProxyInput.of(torch.randn(20, 1, 2), codes=torch.zeros(20, 1, 4, dtype=torch.int64), codebook_sizes=(2**18,))
    for latents in (few, many):
        assert [metric.value for metric in compute("code_bpe", latents)] == [None] * 3
    assert compute("code_bpe", ProxyInput.of(torch.randn(20, 2, 4))) == ()
