"""What the tests of several discrete priors share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.interface import Prior

Learn = Callable[..., None]


@pytest.fixture
def assert_frequencies() -> Callable[[Tensor, Tensor, Tensor], None]:
    """Check that `drawn` `[N, *codes]` has each of all `outcomes` `[K, *codes]` as often as `probabilities` `[K]` say,
    within 4.5 standard errors."""

    def check(drawn: Tensor, outcomes: Tensor, probabilities: Tensor) -> None:
        shares = (drawn[:, None] == outcomes).flatten(2).all(-1).double().mean(0)
        standard_errors = (probabilities * (1 - probabilities) / len(drawn)).sqrt()
        assert ((shares - probabilities).abs() < 4.5 * standard_errors + 1e-4).all()

    return check


@pytest.fixture
def learn() -> Learn:
    """Train a prior for some steps on batches from `draw(n)`: warm-up, linear decay, clipping, AdamW."""

    def run(prior: Prior, draw: Callable[[int], LatentBatch], *, steps: int, lr: float, batch: int = 64) -> None:
        optimizer = torch.optim.AdamW(prior.parameters(), lr=lr, betas=(0.9, 0.95))
        prior.train()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1, (step + 1) / 15) * (1 - step / steps)
            optimizer.zero_grad()
            prior.losses(draw(batch), group="model", step=step, steps=steps)["loss"].backward()
            torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
            optimizer.step()
        prior.eval()

    return run
