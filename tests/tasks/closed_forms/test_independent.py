from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from latentbench.tasks.closed_forms import closed_forms
from latentbench.tokenizers.spec import LatentSpec


def test_marginals_stay_and_dependence_goes(spec: Callable[..., LatentSpec]) -> None:
    data = torch.randn(3000, 1, 1).expand(-1, 2, 3) ** 3 + torch.arange(3)
    prior: Any = closed_forms.get("independent")().build(spec((3,), 2))
    prior.fit(data)
    got = prior.sample(3000, seed=1, batch_size=64).values
    assert set(got[:, 1, 2].tolist()) <= set(data[:, 1, 2].tolist())
    torch.testing.assert_close(got.quantile(0.25, 0), data.quantile(0.25, 0), atol=0.1, rtol=0)
    ranks = got.flatten(1).argsort(0).argsort(0).double()
    assert torch.corrcoef(ranks.t()).fill_diagonal_(0).abs().max() < 0.08
    assert torch.equal(
        prior.sample(5, seed=1, batch_size=5, start=10).values, prior.sample(5, seed=1, batch_size=5, start=10).values
    )
    assert not torch.equal(prior.sample(5, seed=1, batch_size=5, start=10).values, got[:5])
