from __future__ import annotations

import math

import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tasks.proxies.nonlinear_predictability import pairs


def test_neighbours_beyond_the_border_are_marked() -> None:
    x, y = pairs(torch.arange(4.0).view(1, 1, 4) + 1)
    assert y[0, :, 0].tolist() == [1, 2, 3, 4]
    assert x[0].tolist() == [[0, 0], [1, 1], [2, 1], [3, 1]]


@pytest.mark.slow
def test_a_square_is_seen_where_the_linear_fit_sees_nothing() -> None:
    a = 0.9
    z = torch.randn(20_000, 1, 2)
    z[..., 1] = a * (z[..., 0].square() - 1) / math.sqrt(2) + math.sqrt(1 - a**2) * z[..., 1]
    latents = ProxyInput.of(z)
    (linear,), (metric,) = compute("predictability", latents), compute("nonlinear_predictability", latents)
    assert linear.value == pytest.approx(0, abs=0.01)
    # The first of the two has no neighbour, and an error of 1.
    assert metric.value == pytest.approx(-0.5 * math.log2(1 - a**2 / 2), abs=0.02)
    assert metric.interval[0] < metric.value < metric.interval[1]


@pytest.mark.slow
def test_an_autoregression_has_no_more_than_its_information() -> None:
    rho, steps = 0.8, 20
    z = torch.randn(3000, 2, steps)
    for t in range(1, steps):
        z[..., t] = rho * z[..., t - 1] + math.sqrt(1 - rho**2) * z[..., t]
    (metric,) = compute("nonlinear_predictability", ProxyInput.of(z))
    error = ((steps - 1) * (1 - rho**2) + 1) / steps
    assert metric.value == pytest.approx(-0.5 * math.log2(error), abs=0.02)


@pytest.mark.slow
def test_it_repeats_itself_and_draws_from_no_generator_of_others() -> None:
    latents = ProxyInput.of(torch.randn(60, 2, 4, 4))
    before = torch.random.get_rng_state()
    first, second = (compute("nonlinear_predictability", latents)[0].value for _ in range(2))
    assert first == second == pytest.approx(0, abs=0.02)
    assert torch.equal(before, torch.random.get_rng_state())


def test_too_many_neighbours_are_withheld() -> None:
    (metric,) = compute("nonlinear_predictability", ProxyInput.of(torch.randn(40, 600, 2, 2)))
    assert metric.value is None
