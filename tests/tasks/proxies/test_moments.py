from __future__ import annotations

import pytest
import torch
from scipy import stats

from latentbench.tasks.proxies.interface import ProxyInput, compute


def shape(z: torch.Tensor) -> tuple[float, float]:
    """Skewness and kurtosis as they are reported."""
    _, _, skew, kurtosis, _ = compute("moments", ProxyInput.of(z))
    return skew.value, kurtosis.value


def test_equal_scipy_in_the_mean_over_channels() -> None:
    z = torch.randn(40, 3, 4, 5).exp()
    flat = z.transpose(0, 1).flatten(1).double().numpy()
    skew, kurtosis = shape(z)
    assert skew == pytest.approx(abs(stats.skew(flat, axis=1)).mean(), rel=0.2)  # less its scatter
    assert kurtosis == pytest.approx(stats.kurtosis(flat, axis=1).mean(), rel=1e-4)


def test_closed_forms() -> None:
    # Uniform: kurtosis -6/5. Laplace: 3. Exponential: skewness 2.
    uniform = torch.rand(200_000, 1, 1)
    assert shape(uniform)[1] == pytest.approx(-1.2, abs=0.02)
    exponential = -torch.rand(200_000, 1, 1).log()
    assert shape(exponential)[0] == pytest.approx(2, abs=0.1)


def test_of_scaled_gaussian_latents() -> None:
    scales = torch.tensor([1.0, 3.0, 0.01]).view(3, 1, 1)
    z = torch.randn(2000, 3, 8, 4) * scales + 100 * scales
    std, outlier, skew, kurtosis, constant = compute("moments", ProxyInput.of(z))
    assert std.value == pytest.approx((10.0001 / 3) ** 0.5, rel=0.01)
    assert std.interval is not None
    assert std.interval[0] < (10.0001 / 3) ** 0.5 < std.interval[1]
    assert 3.5 < outlier.value < 6.5
    assert skew.value == pytest.approx(0, abs=0.03)
    assert kurtosis.value == pytest.approx(0, abs=0.06)
    assert constant.value == 0


def test_constant_channels_are_counted_and_left_out() -> None:
    z = torch.randn(100, 3, 4)
    z[:, 1] = 5.3
    _, _, _, kurtosis, constant = compute("moments", ProxyInput.of(z))
    assert constant.value == 1
    whole = compute("moments", ProxyInput.of(z[:, ::2]))[3]
    assert kurtosis.value == pytest.approx(whole.value, rel=1e-5)


def test_one_outlier_shows() -> None:
    z = torch.randn(100, 2, 4)
    z[7, 1, 2] = 60
    assert compute("moments", ProxyInput.of(z))[1].value > 15


@pytest.mark.slow
@pytest.mark.parametrize("amount", [0.0, 0.5])
def test_scatter_is_no_skewness(amount: float) -> None:
    # A Gaussian and a part of a centred χ²: skewness 2√2 a³ / (1 + a²)^1.5.
    generator = torch.Generator().manual_seed(3)
    truth = 2 * 2**0.5 * amount**3 / (1 + amount**2) ** 1.5
    values, plain, held = [], [], 0
    for _ in range(100):
        x, y = torch.randn(2, 256, 4, 4, 4, generator=generator)
        z = x + amount * (y**2 - 1) / 2**0.5
        skew = compute("moments", ProxyInput.of(z))[2]
        assert skew.value is not None
        assert skew.interval is not None
        values.append(skew.value)
        held += skew.interval[0] <= truth <= skew.interval[1]
        flat = z.transpose(0, 1).flatten(1).double().numpy()
        plain.append(abs(stats.skew(flat, axis=1)).mean())
    assert held >= 88
    assert abs(sum(values) / 100 - truth) < max(0.6 * abs(sum(plain) / 100 - truth), 0.02)
