"""Elementwise losses against torch's and their definitions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from latentbench.tokenizers.losses.regression_config import HuberConfig, L1Config, L2Config
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(8, 8))


def test_each_is_a_mean_over_the_elements_of_a_sample() -> None:
    x, y = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(L1Config().build(IMAGE)(x, y), F.l1_loss(x, y, reduction="none").mean((1, 2, 3)))
    torch.testing.assert_close(L2Config().build(IMAGE)(x, y), F.mse_loss(x, y, reduction="none").mean((1, 2, 3)))


@pytest.mark.parametrize("delta", [0.1, 1.0, 100.0])
def test_huber_is_the_two_branches_of_its_definition(delta: float) -> None:
    x, y = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    d = (x - y).abs()
    expected = torch.where(d <= delta, d.square() / 2, delta * (d - delta / 2)).mean((1, 2, 3))
    torch.testing.assert_close(HuberConfig(delta=delta).build(IMAGE)(x, y), expected)
