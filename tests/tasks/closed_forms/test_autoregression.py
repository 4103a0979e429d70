from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from latentbench.tasks.closed_forms import closed_forms
from latentbench.tokenizers.spec import LatentSpec

Spec = Callable[..., LatentSpec]


def test_an_autoregressive_sequence_is_continued(spec: Spec) -> None:
    rho, steps = 0.9, 40
    data = torch.randn(3000, 2, steps)
    data[:, 1] = 0.6 * data[:, 0] + 0.8 * data[:, 1]
    for t in range(1, steps):
        data[..., t] = rho * data[..., t - 1] + math.sqrt(1 - rho**2) * data[..., t]
    prior: Any = closed_forms.get("autoregression")().build(spec((steps,), 2))
    prior.fit(data)
    got = prior.sample(3000, seed=0, batch_size=64).values[..., 20:]  # the start is drawn from the innovations alone
    for lag in (1, 5):
        together = (got[..., lag:] * got[..., :-lag]).mean() / got.square().mean()
        assert float(together) == pytest.approx(rho**lag, abs=0.03)
    assert float((got[:, 0] * got[:, 1]).mean() / got.square().mean()) == pytest.approx(0.6, abs=0.04)


def test_both_axes_of_a_grid_are_followed(spec: Spec) -> None:
    data = torch.zeros(2000, 1, 7, 7)
    for y in range(6):
        for x in range(6):
            data[..., y + 1, x + 1] = 0.45 * (data[..., y, x + 1] + data[..., y + 1, x]) + torch.randn(2000, 1)
    data = data[..., 1:, 1:]
    prior: Any = closed_forms.get("autoregression")().build(spec((6, 6), 1))
    prior.fit(data)
    got = prior.sample(4000, seed=0, batch_size=64).values
    torch.testing.assert_close(got.std(0), data.std(0), rtol=0.1, atol=0)
    expected = torch.corrcoef(data.flatten(1).t())
    torch.testing.assert_close(torch.corrcoef(got.flatten(1).t()), expected, atol=0.12, rtol=0)
