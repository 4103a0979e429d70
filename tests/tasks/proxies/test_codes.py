from __future__ import annotations

import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute


def test_discrete_latents_report_use_perplexity_and_bits() -> None:
    codes = torch.randint(0, 16, (400, 2, 4, 4))
    codes[:, 1] //= 4
    latents = ProxyInput.of(torch.randn(400, 3, 4, 4), codes=codes, codebook_sizes=(16, 16))
    use, perplexity, position, sample = compute("codes", latents)
    assert use.value == pytest.approx((1 + 4 / 16) / 2)
    assert perplexity.value == pytest.approx(10, rel=0.01)
    assert position.value == pytest.approx(6, rel=0.01)
    assert sample.value == pytest.approx(16 * position.value)
    assert position.se is not None
    assert sample.unit == "bit"


def test_continuous_latents_have_none() -> None:
    assert compute("codes", ProxyInput.of(torch.randn(4, 3, 4))) == ()
