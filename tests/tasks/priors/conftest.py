"""What the tests of several priors share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.interface import Prior
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.optimisers import AdamW

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


def rows(item: Any, at: slice) -> Any:
    """These samples of a batch."""
    if isinstance(item, LatentBatch | Latents):
        return replace(item, **{field.name: rows(getattr(item, field.name), at) for field in fields(item)})
    if isinstance(item, tuple):
        return tuple(rows(part, at) for part in item)
    return item[at] if isinstance(item, Tensor) else item


@pytest.fixture
def learn() -> Learn:
    """Train a prior for some steps on one batch from `draw(n)` a step, all drawn at once: warm-up, linear decay,
    clipping, AdamW. With `decay` it is left with the exponential average of its parameters."""

    def run(
        prior: Prior,
        draw: Callable[[int], LatentBatch],
        *,
        steps: int,
        lr: float,
        batch: int = 64,
        decay: float = 0.0,
    ) -> None:
        parameters = list(prior.train().parameters())
        optimizer = AdamW(parameters, lr=lr, betas=(0.9, 0.95), fused=True)
        average = [parameter.detach().clone() for parameter in parameters]
        data = draw(steps * batch)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr * min(1, (step + 1) / 15) * (1 - step / steps)
            optimizer.zero_grad()
            item = rows(data, slice(step * batch, (step + 1) * batch))
            prior.losses(item, group="model", step=step, steps=steps)["loss"].backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(average, parameters, 1 - decay)
        with torch.no_grad():
            torch._foreach_copy_(parameters, average)
        prior.eval()

    return run
