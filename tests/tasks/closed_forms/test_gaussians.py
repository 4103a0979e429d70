from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.tasks.closed_forms import closed_forms
from latentbench.tasks.closed_forms.gaussians import inverse_dct
from latentbench.tasks.proxies.spectrum import dct
from latentbench.tokenizers.spec import LatentSpec

Spec = Callable[..., LatentSpec]


def drawn(kind: str, data: Tensor, spec: LatentSpec, n: int = 6000) -> Tensor:
    prior: Any = closed_forms.get(kind)().build(spec)
    prior.fit(data)
    return prior.sample(n, seed=0, batch_size=n).values


def covariance(x: Tensor) -> Tensor:
    return torch.cov(x.double().flatten(1).t())


@pytest.mark.slow
def test_a_product_of_covariances_is_drawn_as_it_is(spec: Spec) -> None:
    channels = torch.tensor([[1.0, 0.5], [0.0, 0.6]])
    positions = torch.linalg.qr(torch.randn(6, 6))[0] * torch.tensor([3.0, 2, 1, 1, 0.5, 0.1])
    noise = torch.randn(20_000, 2, 6)
    data = (channels @ noise @ positions.t()).view(-1, 2, 2, 3) + 4
    for kind in ("kronecker", "gaussian"):
        got = drawn(kind, data, spec((2, 3), 2))
        torch.testing.assert_close(got.mean(0), data.mean(0), atol=0.12, rtol=0)
        expected = torch.kron(channels @ channels.t(), positions @ positions.t()).double()
        torch.testing.assert_close(covariance(got), expected, atol=0.4, rtol=0.1)


@pytest.mark.slow
def test_the_full_covariance_is_no_product(spec: Spec) -> None:
    # One channel smooth, the other white: only the full covariance holds both.
    smooth, white = torch.randn(5000, 1, 1).expand(-1, 1, 4), torch.randn(5000, 1, 4)
    data = torch.cat([smooth, white], 1)
    full, product = (covariance(drawn(kind, data, spec((4,), 2))) for kind in ("gaussian", "kronecker"))
    assert float(full[0, 1]) == pytest.approx(1, abs=0.06)
    assert float(full[4, 5]) == pytest.approx(0, abs=0.06)
    assert float(product[0, 1]) == pytest.approx(float(product[4, 5]), abs=0.1)


def test_few_samples_are_shrunk_to_white(spec: Spec) -> None:
    prior: Any = closed_forms.get("gaussian")().build(spec((16, 16), 1))
    prior.fit(torch.randn(40, 1, 16, 16))
    assert prior.shrinkage > 0.9  # white data: all of the sample covariance is chance
    prior.fit(torch.randn(4000, 1, 1, 1).expand(-1, 1, 16, 16) + 0.1 * torch.randn(4000, 1, 16, 16))
    assert prior.shrinkage < 0.01


@pytest.mark.parametrize("shape", [(32,), (5, 4)])
def test_a_stationary_process_keeps_its_spectrum_and_its_channels(spec: Spec, shape: tuple[int, ...]) -> None:
    gain = torch.linspace(2, 0.1, math.prod(shape)).view(shape)
    coefficients = gain * torch.randn(8000, 2, *shape)
    coefficients[:, 1] = 0.6 * coefficients[:, 0] + 0.8 * coefficients[:, 1]
    data = inverse_dct(coefficients, len(shape))
    got = dct(drawn("stationary", data, spec(shape, 2)), len(shape))
    torch.testing.assert_close(got.std(0), coefficients.std(0), rtol=0.06, atol=0)
    ratio = (got[:, 0] * got[:, 1]).mean(0) / (got[:, 0].std(0) * got[:, 1].std(0))
    assert (ratio - 0.6).abs().max() < 0.06


def test_the_inverse_transform_is_one() -> None:
    x = torch.randn(3, 2, 4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(inverse_dct(dct(x, 3), 3), x)
