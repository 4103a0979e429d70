from __future__ import annotations

import math

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.rate import choose_step, quantised_entropy_bits


def test_fine_quantisation_of_a_gaussian_has_the_closed_form() -> None:
    sigmas = torch.tensor([0.5, 1.0, 3.0])
    values = torch.randn(2000, 3, 8, 8) * sigmas.view(3, 1, 1)
    step = 0.1
    expected = 64 * sum(0.5 * math.log2(2 * math.pi * math.e * float(s) ** 2) - math.log2(step) for s in sigmas)
    bits, se, half = quantised_entropy_bits(values, step)
    assert bits == pytest.approx(expected, rel=2e-3)
    assert se is not None
    assert half is not None
    assert abs(bits - expected) < 2 * half


def test_too_fine_a_step_has_no_bits() -> None:
    # 64 values per channel in as many bins: an entropy of theirs would tell of the number of values alone.
    assert quantised_entropy_bits(torch.randn(16, 3, 2, 2), 1e-4) == (None, None, None)


def test_uniform_values_have_exactly_their_bits() -> None:
    values = torch.arange(16).repeat(1000).view(16000, 1, 1).float()
    assert quantised_entropy_bits(values, 1.0)[0] == pytest.approx(4, abs=1e-3)
    two = quantised_entropy_bits(values.expand(16000, 2, 1), torch.tensor([1.0, 100.0]))
    assert two[0] == pytest.approx(4, abs=1e-3)
    assert quantised_entropy_bits(values, 100.0)[0] == 0


def test_the_step_raises_the_error_by_what_is_asked() -> None:
    # Uniform quantisation noise: mse = baseline + step²/12.
    def mse(step: float) -> float:
        return 0.01 + step**2 / 12

    step = choose_step(mse, baseline=0.01, increase=0.05, tolerance=1e-4)
    assert step == pytest.approx(math.sqrt(12 * 0.0005), rel=1e-3)
    assert mse(step) <= 0.0105


def test_the_bounds_hold() -> None:
    assert choose_step(lambda step: 1.0, baseline=1.0, bounds=(0.1, 2.0)) == 2.0
    with pytest.raises(UserError, match="lower the bound"):
        choose_step(lambda step: 2.0, baseline=1.0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="positive step"):
        quantised_entropy_bits(torch.randn(2, 3, 4), 0.0)
    with pytest.raises(UserError, match="finite"):
        quantised_entropy_bits(torch.full((2, 3, 4), math.nan), 1.0)
