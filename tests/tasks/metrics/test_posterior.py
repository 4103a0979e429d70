"""Active units and KL per channel against torch and numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from latentbench.tasks.metrics.posterior import UnitVariance, kl_bits_by_channel


def test_the_divergence_of_each_channel_is_torchs() -> None:
    mean, scale = torch.randn(4, 3, 2, 5), 0.1 + torch.rand(4, 3, 2, 5)
    expected = kl_divergence(Normal(mean, scale), Normal(0.0, 1.0)).sum((2, 3)) / math.log(2)
    torch.testing.assert_close(kl_bits_by_channel(mean, scale).float(), expected, rtol=1e-5, atol=1e-5)
    collapsed = kl_bits_by_channel(torch.zeros(2, 3, 4), torch.ones(2, 3, 4))
    assert collapsed.abs().max() == 0


@pytest.mark.parametrize("size", [1, 7, 50])
def test_a_stream_of_batches_gives_numpys_variance(size: int) -> None:
    means = torch.randn(50, 3, 4) * torch.tensor([1e-3, 1.0, 10.0]).view(1, 3, 1) + 1e4
    units = UnitVariance()
    for batch in means.split(size):
        units.update(batch)
    np.testing.assert_allclose(units.variance().numpy(), np.var(means.double().numpy(), axis=0, ddof=1), rtol=1e-7)
    assert units.samples == 50


def test_units_that_vary_are_counted() -> None:
    means = torch.randn(2000, 5, 2) * torch.tensor([0.0, 0.01, 0.09, 0.11, 1.0]).view(1, 5, 1)
    units = UnitVariance()
    units.update(means)
    assert units.active() == [0, 0, 0, 2, 2]  # a deviation above 0.1, at two positions
    assert units.active(threshold=0.5) == [0, 0, 0, 0, 2]


def test_one_sample_has_no_variance() -> None:
    units = UnitVariance()
    with pytest.raises(ValueError, match="two samples"):
        units.variance()
    units.update(torch.randn(1, 2, 3))
    with pytest.raises(ValueError, match="two samples"):
        units.active()
