"""Gaussian noise on the encoder's input."""

from __future__ import annotations

import pytest
import torch

from latentbench.tokenizers.corruptions.noise import Noise


def test_the_noise_is_of_the_given_deviation_and_drawn_anew() -> None:
    x = torch.rand(4, 3, 50, 50)
    first, second = Noise(0.3)(x) - x, Noise(0.3)(x) - x
    assert first.std().item() == pytest.approx(0.3, rel=0.03)
    assert first.mean().item() == pytest.approx(0, abs=0.01)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    again = Noise(0.3)(x)
    torch.manual_seed(5)
    assert torch.equal(Noise(0.3)(x), again)
