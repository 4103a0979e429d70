from __future__ import annotations

import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tasks.proxies.spectral_shape import flatness, frequencies, slope
from latentbench.tasks.proxies.spectrum import dct


@pytest.mark.parametrize("grid", [(64,), (16, 16), (4, 8, 8)])
@pytest.mark.parametrize("exponent", [0.0, -1.0, -2.0])
def test_latents_of_a_power_law_have_its_slope(grid: tuple[int, ...], exponent: float) -> None:
    frequency = frequencies(grid)
    amplitude = torch.where(frequency > 0, frequency.clamp_min(1e-9) ** (exponent / 2), torch.ones_like(frequency))
    coefficients = torch.randn(2000, 3, *grid) * amplitude
    z = coefficients.float()
    for axis in range(2, z.ndim):  # the inverse of an orthonormal transform is its transpose
        matrix = dct(torch.eye(z.shape[axis]), 1)  # row i: the coefficients of position i
        z = (z.transpose(axis, -1) @ matrix.t()).transpose(axis, -1)
    got, flat = compute("spectral_shape", ProxyInput.of(z))
    assert got.value == pytest.approx(exponent, abs=0.02)
    power = amplitude.square().flatten()[1:]
    assert flat.value == pytest.approx(float(power.log().mean().exp() / power.mean()), abs=0.01)
    assert 0 < got.se < 0.03


def test_two_levels_of_power_have_a_known_flatness() -> None:
    power = torch.ones(1, 9, dtype=torch.float64)
    power[0, 1:5] = 4
    assert flatness(power) == pytest.approx(2 / 2.5)
    assert slope(power[:, :3]) != slope(power[:, :3])  # two coefficients have no slope
