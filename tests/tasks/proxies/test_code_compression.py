from __future__ import annotations

import math

import pytest
import torch

from latentbench.tasks.proxies.code_compression import back_off_bits, unique_length, zlib_bits
from latentbench.tasks.proxies.interface import ProxyInput, compute

FLIP = 0.1
RATE = -(FLIP * math.log2(FLIP) + (1 - FLIP) * math.log2(1 - FLIP))


def flips(n: int, length: int) -> torch.Tensor:
    """A symmetric chain of two codes that changes with probability 0.1."""
    first = torch.randint(2, (n, 1))
    return ((first + (torch.rand(n, length) < FLIP).cumsum(1)) % 2).view(n, 1, length)


def test_counting_finds_the_rate_of_a_chain() -> None:
    bits = back_off_bits(flips(1000, 50), (2,))
    assert bits.shape == (1000,)
    assert float(bits.mean()) == pytest.approx(RATE + (1 - RATE) / 50, abs=0.01)  # the first of 50 has no neighbour


def test_it_looks_along_every_axis() -> None:
    # A code is its upper or its left neighbour, at the border by chance: with equal neighbours it is certain.
    codes = torch.randint(4, (800, 1, 8, 8))
    for y in range(1, 8):
        for x in range(1, 8):
            pick = torch.rand(800) < 0.5
            codes[:, 0, y, x] = torch.where(pick, codes[:, 0, y - 1, x], codes[:, 0, y, x - 1])
    up_and_left = back_off_bits(codes, (4,)).mean()
    left_alone = back_off_bits(codes.flatten(2), (4,)).mean()
    assert up_and_left < 0.8 * left_alone
    assert up_and_left < (15 * 2 + 49 * 1) / 64 + 0.03  # 15 at the border, the others at most a choice of two


def test_random_codes_cost_their_nominal_bits() -> None:
    codes = torch.randint(256, (400, 2, 8, 8))
    latents = ProxyInput.of(torch.randn(400, 2, 8, 8), codes=codes, codebook_sizes=(256, 256))
    packed, counted, _ = compute("code_compression", latents)
    assert packed.value == pytest.approx(16, rel=0.01)
    assert 15.99 < counted.value < 16.2  # counting what is random costs little
    assert counted.se > 0
    assert zlib_bits(torch.zeros(400, 2, 8, 8, dtype=torch.int64)) < 0.1
    assert zlib_bits(torch.randint(2**16, (100, 1, 64))) == pytest.approx(16, rel=0.01)


def test_random_runs_become_unique_at_the_length_that_counting_says() -> None:
    n, length = 100, 200
    got = unique_length(torch.randint(4, (n, length)))

    def share(k: int) -> float:  # of runs of k that no other is equal to
        return math.exp(-n * (length - k + 1) * 4.0**-k)

    k = next(k for k in range(1, 30) if share(k) >= 0.5)
    expected = k - 1 + (0.5 - share(k - 1)) / (share(k) - share(k - 1))
    assert got == pytest.approx(expected, abs=0.05)
    assert math.isnan(unique_length(torch.zeros(10, 20, dtype=torch.int64)))


def test_continuous_latents_have_none() -> None:
    assert compute("code_compression", ProxyInput.of(torch.randn(20, 2, 4))) == ()
