from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tasks.proxies.viv import viv, within_class


def test_the_closed_form_is_the_integral_over_the_path() -> None:
    for variance in (0.05, 1.0, 7.0):
        value, _ = integrate.quad(lambda t, v=variance: v / ((1 - t) ** 2 * v + t**2), 0, 1)
        assert value == pytest.approx(math.pi / 2 * math.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize("grid", [(1,), (12,), (4, 3), (2, 3, 2)])
def test_of_isotropic_gaussians(grid: tuple[int, ...]) -> None:
    z = 3 * torch.randn(6000, 4, *grid) + 5
    assert viv(z) == pytest.approx(math.pi / 2 * 3, rel=0.01)


def test_of_a_kronecker_covariance_it_is_that_of_the_full_one() -> None:
    channel, position = torch.randn(3, 3) + torch.eye(3), torch.randn(6, 6) + torch.eye(6)
    z = channel @ torch.randn(40_000, 3, 6) @ position.t()
    full = np.kron((channel @ channel.t()).numpy(), (position @ position.t()).numpy())
    expected = math.pi / 2 * np.sqrt(np.clip(np.linalg.eigvalsh(full), 0, None)).mean()
    assert viv(z) == pytest.approx(expected, rel=0.01)


def test_fewer_directions_leave_less() -> None:
    # r of d directions of a white latent, scaled to unit variance: √(r/d).
    z = torch.randn(3000, 1, 16)
    z[..., 4:] = 0
    z = z @ torch.linalg.qr(torch.randn(16, 16))[0] * 2
    assert viv(z) == pytest.approx(math.pi / 2 * math.sqrt(4 / 16), rel=0.02)


def test_classes_take_their_means_away() -> None:
    labels = torch.arange(4000) % 4
    means = 10 * torch.randn(4, 2, 5)
    z = torch.randn(4000, 2, 5) + means[labels]
    assert viv(z, labels) == pytest.approx(math.pi / 2, rel=0.01)
    residual, freedom = within_class(z, labels)
    assert freedom == 3996
    for k in range(4):
        assert float(residual[labels == k].mean(0).abs().max()) < 1e-4


def test_few_samples_of_many_classes_are_not_biased_down() -> None:
    # Half the degrees of freedom go into the means.
    labels = torch.arange(4000) // 2
    assert viv(torch.randn(4000, 2, 2), labels) == pytest.approx(math.pi / 2, rel=0.02)


def test_large_grids_are_factored_by_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = torch.randn(6, 6) + torch.eye(6), torch.randn(5, 5) + torch.eye(5)
    z = rows @ torch.randn(20_000, 2, 6, 5) @ columns.t()
    whole = viv(z)
    monkeypatch.setattr("latentbench.tasks.proxies.viv._LARGEST", 10)
    assert viv(z) == pytest.approx(whole, rel=0.01)
    assert math.isnan(viv(torch.randn(5, 1, 11)))


def test_the_metric_states_the_covariance() -> None:
    z = torch.randn(500, 2, 4, 4)
    (raw,) = compute("viv", ProxyInput.of(z))
    assert raw.value == pytest.approx(math.pi / 2, rel=0.05)
    assert raw.se is not None
    assert "global" in raw.protocol
    labelled = compute("viv", ProxyInput.of(z, labels=torch.arange(500) % 5))[0]
    assert "within-class" in labelled.protocol


def test_no_freedom_left_is_missing() -> None:
    z = torch.randn(4, 2, 3)
    metric = compute("viv", ProxyInput.of(z, labels=torch.arange(4)))[0]
    assert (metric.value, metric.missing) == (None, 4)
