from __future__ import annotations

import math

import pytest
import torch
from scipy.special import digamma

from latentbench.tasks.metrics.entropy import codes_in_use, enough_tokens, entropy_bits


def as_published(counts: list[int]) -> float:
    """Chao, Wang and Jost 2013, eq. 7, term by term; in bits."""
    n, once, twice = sum(counts), counts.count(1), counts.count(2)
    seen = sum(c / n * (digamma(n) - digamma(c)) for c in counts)
    a = 2 * twice / ((n - 1) * once + 2 * twice) if twice else 2 / ((n - 1) * (once - 1) + 2)
    rest = -math.log(a) - sum((1 - a) ** r / r for r in range(1, n))
    return float(seen + once / n * (1 - a) ** (1 - n) * rest) / math.log(2)


@pytest.mark.parametrize(
    "counts", [[9, 5, 3, 2, 2, 1, 1, 1], [30, 12, 1, 1], [40, 3, 1, 1], [4, 4, 3], [60, 20, 9, 2, 2, 2, 1]]
)
def test_it_is_the_published_estimator(counts: list[int]) -> None:
    if 1 in counts:
        assert entropy_bits(torch.tensor(counts)) == pytest.approx(as_published(counts), rel=1e-6)
    else:
        seen = sum(c / 11 * (digamma(11) - digamma(c)) for c in counts)
        assert entropy_bits(torch.tensor(counts)) == pytest.approx(float(seen) / math.log(2), rel=1e-12)


def test_of_one_code_or_none_it_is_zero() -> None:
    assert entropy_bits(torch.tensor([5])) == 0.0
    assert entropy_bits(torch.tensor([], dtype=torch.int64)) == 0.0
    assert entropy_bits(torch.tensor([10**9, 1])) < 1e-7


def test_codes_not_yet_seen_are_estimated() -> None:
    assert codes_in_use(torch.tensor([5, 5, 5]), 8) == 3
    assert codes_in_use(torch.tensor([6, 2, 1, 1]), 100) == pytest.approx(4 + 9 / 10 * 2)
    assert codes_in_use(torch.tensor([6, 2, 1, 1]), 5) == 5
    counts = torch.bincount(torch.randint(0, 500, (2000,)))
    assert codes_in_use(counts[counts > 0], 4096) == pytest.approx(500, rel=0.02)


def test_enough_is_five_tokens_per_code_that_occurs() -> None:
    assert enough_tokens(torch.tensor([9, 1]))
    assert not enough_tokens(torch.tensor([8, 1]))
    assert not enough_tokens(torch.tensor([], dtype=torch.int64))
