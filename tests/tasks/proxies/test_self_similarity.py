from __future__ import annotations

import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tasks.proxies.self_similarity import similarity_sums


def test_it_is_the_mean_over_pairs() -> None:
    z = torch.randn(5, 3, 3, 4)
    vectors = {(y, x): z[:, :, y, x] for y in range(3) for x in range(4)}
    near, far = [], []
    for (y, x), a in vectors.items():
        for (v, u), b in vectors.items():
            cosine = torch.cosine_similarity(a, b)
            apart = abs(y - v) + abs(x - u)
            near += [cosine] if apart == 1 else []
            far += [cosine] if apart >= 3 else []  # the largest distance is 5
    expected = torch.stack([torch.stack(near).mean(0), torch.stack(far).mean(0)], 1)
    torch.testing.assert_close(similarity_sums(z).float(), expected)


def test_white_latents_have_none_and_patches_have_theirs() -> None:
    white = torch.randn(1000, 16, 8, 8)
    (metric,) = compute("self_similarity", ProxyInput.of(white))
    assert metric.value == pytest.approx(0, abs=4 * metric.se)
    # Pairs of equal columns: of the 112 pairs of neighbours, 32 are equal and the others independent.
    pairs = torch.randn(1000, 16, 8, 4).repeat_interleave(2, dim=3)
    (metric,) = compute("self_similarity", ProxyInput.of(pairs))
    assert metric.value == pytest.approx(32 / 112, abs=0.01)


def test_two_positions_have_no_far_ones() -> None:
    (metric,) = compute("self_similarity", ProxyInput.of(torch.randn(20, 3, 2, 1)))
    assert metric.value is None
