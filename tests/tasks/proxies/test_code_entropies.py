from __future__ import annotations

import math

import pytest
import torch

from latentbench.tasks.proxies.code_entropies import entropy_rate, mutual_information, windows
from latentbench.tasks.proxies.interface import ProxyInput, compute

STEP = torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.5, 0.5], [0.9, 0.0, 0.1]])


def stationary() -> torch.Tensor:
    share = torch.full((3,), 1 / 3)
    for _ in range(200):
        share = share @ STEP
    return share


def entropy(p: torch.Tensor) -> float:
    return float(-(p * p.clamp_min(1e-12).log2()).sum())


def chain(n: int, length: int) -> torch.Tensor:
    codes = torch.multinomial(stationary(), n, replacement=True).view(n, 1, 1).repeat(1, 1, length)
    for t in range(1, length):
        codes[:, 0, t] = torch.multinomial(STEP[codes[:, 0, t - 1]], 1)[:, 0]
    return codes


def test_a_markov_chain_has_its_rate_at_every_order() -> None:
    codes = chain(2000, 20)
    rate = float(stationary() @ torch.tensor([entropy(row) for row in STEP]))
    latents = ProxyInput.of(torch.randn(2000, 2, 20), codes=codes, codebook_sizes=(3,))
    *rates, shared = compute("code_entropies", latents)
    for metric in rates:
        assert metric.value == pytest.approx(rate, abs=0.01)
        assert abs(metric.value - rate) < 5 * metric.se
    assert shared.value == pytest.approx(entropy(stationary()) - rate, abs=0.01)


def test_independent_codes_share_nothing_and_copies_everything() -> None:
    white = torch.randint(16, (500, 2, 6, 6))
    assert entropy_rate(white, 1) == pytest.approx(8, abs=0.02)
    assert mutual_information(white) == pytest.approx(0, abs=0.02)
    # Rows that repeat: all is shared along one axis, nothing along the other.
    rows = torch.randint(16, (3000, 1, 1, 6)).expand(-1, -1, 6, -1)
    assert mutual_information(rows) == pytest.approx(2, abs=0.03)


def test_runs_stay_within_their_row() -> None:
    codes = torch.arange(12).view(1, 3, 4)
    assert windows(codes, 3).tolist() == [[0, 1, 2], [1, 2, 3], [4, 5, 6], [5, 6, 7], [8, 9, 10], [9, 10, 11]]
    assert windows(codes, 3, 1).tolist() == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
    assert len(windows(codes, 5)) == 0


def test_too_few_tokens_are_withheld() -> None:
    codes = torch.randint(4096, (100, 1, 8, 8))
    for metric in compute(
        "code_entropies", ProxyInput.of(torch.randn(100, 2, 8, 8), codes=codes, codebook_sizes=(4096,))
    ):
        assert metric.value is None
        assert "withheld" in metric.protocol
    assert math.isnan(entropy_rate(codes, 1))


def test_huge_codes_are_counted_like_small_ones() -> None:
    small = torch.randint(3, (2000, 1, 6))
    assert entropy_rate(small * 2**40 + 7, 2) == pytest.approx(entropy_rate(small, 2))
