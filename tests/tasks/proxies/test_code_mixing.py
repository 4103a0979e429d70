from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch

from latentbench.tasks.proxies import code_compression, code_mixing
from latentbench.tasks.proxies.code_mixing import contexts, mixing_rate, mixture_bits
from latentbench.tasks.proxies.interface import ProxyInput, compute

FLIP = 0.1
RATE = -(FLIP * math.log2(FLIP) + (1 - FLIP) * math.log2(1 - FLIP))


def flips(n: int, length: int) -> torch.Tensor:
    """A symmetric chain of two codes that changes with probability 0.1."""
    first = torch.randint(2, (n, 1))
    return ((first + (torch.rand(n, length) < FLIP).cumsum(1)) % 2).view(n, 1, length)


def by_hand(rows: list[tuple[int, tuple[int, ...]]], size: int, depth: int, at: int = 0) -> float:
    """The probability of codes with contexts: estimators code after code, and the recursion over contexts."""
    alone = 0.0
    for weight in (0.5, 1 / size):
        seen: Counter[int] = Counter()
        p = 1.0
        for i, (code, _) in enumerate(rows):
            p *= (seen[code] + weight) / (i + size * weight)
            seen[code] += 1
        alone += p / 2
    if at == depth:
        return alone
    longer = 1.0
    for code in {before[at] for _, before in rows}:
        longer *= by_hand([row for row in rows if row[1][at] == code], size, depth, at + 1)
    return (alone + longer) / 2


def test_it_is_the_recursion_of_its_definition() -> None:
    codes = torch.randint(3, (4, 2, 5))
    before = contexts(codes, 1, 3)
    rows: list[Any] = list(zip(codes[:, 1].flatten().tolist(), map(tuple, before.flatten(0, -2).tolist()), strict=True))
    bits = mixture_bits(codes[:, 1].flatten(), before.flatten(0, -2), 3)
    assert bits == pytest.approx(-math.log2(by_hand(rows, 3, 3)))


def test_contexts_are_what_came_before() -> None:
    codes = torch.arange(12).view(1, 1, 3, 4)
    assert contexts(codes, 0, 12)[0, 1, 2].tolist() == [5, 2, 4]  # left, above, two to the left
    assert contexts(codes, 0, 12)[0, 0, 0].tolist() == [12, 12, 12]
    assert contexts(codes.view(1, 1, 12), 0, 12)[0, 5].tolist() == [4, 3, 2]
    two = torch.stack([codes[:, 0], codes[:, 0] + 20], dim=1)
    assert contexts(two, 1, 99)[0, 1, 2].tolist() == [6, 25, 22]  # the head before, then its own


def test_the_rate_of_a_chain_is_reached_as_codes_grow() -> None:
    expected = RATE + (1 - RATE) / 50  # the first of 50 has no neighbour
    few, many = (mixing_rate(flips(n, 50), (2,)) for n in (20, 2000))
    assert many == pytest.approx(expected, abs=0.008)
    assert abs(many - expected) < abs(few - expected)


def test_a_source_of_two_steps_needs_depth_two() -> None:
    codes = torch.randint(2, (1000, 1, 100))
    for t in range(2, 100):
        codes[:, 0, t] = codes[:, 0, t - 1] ^ codes[:, 0, t - 2] ^ (torch.rand(1000) < FLIP)
    assert mixing_rate(codes, (2,)) == pytest.approx(RATE + 2 * (1 - RATE) / 100, abs=0.008)
    assert mixing_rate(codes, (2,), depth=1) == pytest.approx(1, abs=0.01)


def test_random_codes_cost_little_more_than_their_nominal_bits() -> None:
    codes = torch.randint(256, (400, 2, 8, 8))
    latents = ProxyInput.of(torch.randn(400, 2, 8, 8), codes=codes, codebook_sizes=(256, 256))
    (metric,) = compute("code_mixing", latents)
    assert 16 < metric.value < 16.2
    assert mixing_rate(torch.zeros(400, 1, 8, 8, dtype=torch.int64), (1024,)) < 0.01
    assert mixing_rate(torch.randint(4, (400, 1, 64)), (1024,)) == pytest.approx(2, abs=0.05)  # few of many occur


def test_continuous_latents_have_none() -> None:
    assert compute("code_mixing", ProxyInput.of(torch.randn(20, 2, 4))) == ()


def test_a_set_in_order_is_read_all_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not all codes are read, those of every class are: here the first half of the set has one code alone."""
    for module in (code_mixing, code_compression):
        monkeypatch.setattr(module, "TOKENS", 500)
    codes = torch.cat([torch.zeros(200, 1, 10, dtype=torch.int64), torch.randint(16, (200, 1, 10))])
    latents = ProxyInput.of(torch.randn(400, 2, 10), codes=codes, codebook_sizes=(16,))
    values = {
        metric.name: metric.value for kind in ("code_mixing", "code_compression") for metric in compute(kind, latents)
    }
    assert values["code_mixing_bits"] > 1.5
    assert values["code_zlib_bits"] > 1.5
