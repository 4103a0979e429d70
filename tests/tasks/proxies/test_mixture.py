from __future__ import annotations

import math

import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tasks.proxies.mixture import Mixture

NORMAL = 0.5 * math.log(2 * math.pi * math.e)


def test_a_gaussian_has_its_entropy() -> None:
    (metric,) = compute("mixture_likelihood", ProxyInput.of(torch.randn(600, 3, 4, 4)))
    assert metric.value == pytest.approx(NORMAL, abs=0.03)
    z = torch.randn(600, 2, 4, 4)
    z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
    (metric,) = compute("mixture_likelihood", ProxyInput.of(z))
    assert metric.value == pytest.approx(NORMAL + math.log(0.6) / 2, abs=0.03)


@pytest.mark.slow
def test_clusters_have_that_of_their_mixture() -> None:
    # Eight far apart: the entropy of a component and of the choice.
    generator = torch.Generator().manual_seed(0)
    place = torch.randint(0, 8, (4000,), generator=generator)
    x = torch.randn(4000, 2, generator=generator, dtype=torch.float64)
    x[:, 0] += 40 * place
    likelihoods = [-float(Mixture(x[:3000], 16, seed=seed).log_prob(x[3000:]).mean()) for seed in range(3)]
    assert min(likelihoods) == pytest.approx(2 * NORMAL + math.log(8), abs=0.1)


def test_the_density_integrates_to_1() -> None:
    mixture = Mixture(torch.randn(500, 1).abs(), 3)
    grid = torch.linspace(-10, 10, 20_001)
    assert float(mixture.log_prob(grid[:, None]).exp().sum() * 1e-3) == pytest.approx(1, abs=1e-3)


def test_too_few_vectors_are_withheld() -> None:
    (metric,) = compute("mixture_likelihood", ProxyInput.of(torch.randn(30, 8, 4, 4)))
    assert metric.value is None
    assert "withheld" in metric.protocol
