"""Gaussian noise on the encoder's input."""

from __future__ import annotations

import pytest
import torch

from latentbench.tokenizers.corruptions.noise_config import NoiseConfig
from latentbench.tokenizers.spec import SignalSpec


def test_the_noise_is_of_the_given_deviation_and_drawn_anew(image: SignalSpec) -> None:
    noise, x = NoiseConfig(sigma=0.3).build(image, (4, 4)), torch.rand(4, 3, 50, 50)
    first, second = noise(x) - x, noise(x) - x
    assert first.std().item() == pytest.approx(0.3, rel=0.03)
    assert first.mean().item() == pytest.approx(0, abs=0.01)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    again = noise(x)
    torch.manual_seed(5)
    assert torch.equal(noise(x), again)
