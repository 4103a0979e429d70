from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.frechet import FrechetReference, Gaussian, frechet_distance, frechet_metric


def scipy_distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """The formula as everybody writes it, in float64."""
    a, b = x.double().numpy(), y.double().numpy()
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(c1 @ c2)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * np.trace(root).real)


def features(n: int, d: int, *, shift: float = 0.0) -> torch.Tensor:
    mix = torch.randn(d, d, dtype=torch.float64) / math.sqrt(d)
    return torch.randn(n, d, dtype=torch.float64) @ mix + shift


def test_a_reference_is_read_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features(50, 16, shift=0.3), features(301, 16)
    whole = frechet_distance(x, FrechetReference.of(y))
    monkeypatch.setattr("latentbench.tasks.metrics.frechet._ROWS", 7)
    assert frechet_distance(x, FrechetReference.of(y)) == pytest.approx(whole, rel=1e-12)
    y[150, 3] = math.nan
    with pytest.raises(UserError, match="finite"):
        FrechetReference.of(y)


@pytest.mark.parametrize(("n", "m"), [(200, 300), (40, 300), (200, 30), (30, 40), (65, 64), (64, 65)])
def test_equals_scipy(n: int, m: int) -> None:
    x, y = features(n, 64, shift=0.3), features(m, 64)
    value = frechet_distance(x, FrechetReference.of(y))
    # scipy's root of a singular product is itself good to 1e-6 only, so there the peer is the nuclear norm.
    if min(n, m) > 64:
        assert value == pytest.approx(scipy_distance(x, y), rel=1e-6)
    a, b = x - x.mean(0), y - y.mean(0)
    nuclear = np.linalg.norm((a @ b.t()).numpy(), "nuc") / math.sqrt((n - 1) * (m - 1))
    exact = (x.mean(0) - y.mean(0)).square().sum() + x.var(0).sum() + y.var(0).sum() - 2 * nuclear
    assert value == pytest.approx(float(exact), rel=1e-6)


def test_equals_torch_fidelity() -> None:
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    x, y = features(500, 48, shift=0.1), features(400, 48)
    expected = fid.fid_statistics_to_metric(
        fid.fid_features_to_statistics(x), fid.fid_features_to_statistics(y), verbose=False
    )["frechet_inception_distance"]
    assert frechet_distance(x, FrechetReference.of(y)) == pytest.approx(expected, rel=1e-6)


def test_of_axis_aligned_gaussians_it_has_a_closed_form() -> None:
    # Two points per axis give exact diagonal covariances.
    def cross(scales: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.diag(scales), -torch.diag(scales)])

    a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 5.0])
    expected = 2 / 5 * (a - b).square().sum() + 3 * 0.5**2
    assert frechet_distance(cross(a) + 0.5, FrechetReference.of(cross(b))) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("n", [40, 400])
def test_singular_covariances(n: int) -> None:
    # Ten directions out of 96, dead units among them, as in features behind a ReLU.
    mix = torch.randn(10, 96, dtype=torch.float64)
    mix[:, :20] = 0
    x = torch.randn(n, 10, dtype=torch.float64) @ mix
    y = torch.randn(n, 10, dtype=torch.float64) @ mix * 1.01
    a, b = x - x.mean(0), y - y.mean(0)
    nuclear = np.linalg.norm((a @ b.t()).numpy(), "nuc") / (n - 1)
    exact = (x.mean(0) - y.mean(0)).square().sum() + x.var(0).sum() + y.var(0).sum() - 2 * nuclear
    assert frechet_distance(x, FrechetReference.of(y)) == pytest.approx(float(exact), rel=1e-6)
    assert frechet_distance(Gaussian.of(x), Gaussian.of(y)) == pytest.approx(float(exact), rel=1e-4)


def test_of_a_set_and_itself_is_zero() -> None:
    for n in (30, 300):
        x = features(n, 64)
        assert frechet_distance(x, FrechetReference.of(x)) == pytest.approx(0, abs=1e-9 * float(x.var(0).sum()) * 64)


def test_invariant_to_rotation_and_a_large_common_mean() -> None:
    x, y = features(300, 32, shift=0.2), features(200, 32)
    value = frechet_distance(x, FrechetReference.of(y))
    rotation = torch.linalg.qr(torch.randn(32, 32, dtype=torch.float64))[0]
    assert frechet_distance(x @ rotation, FrechetReference.of(y @ rotation)) == pytest.approx(value, rel=1e-9)
    assert frechet_distance(x + 1e4, FrechetReference.of(y + 1e4)) == pytest.approx(value, rel=1e-6)


def test_a_stream_of_batches_equals_the_whole() -> None:
    x = features(500, 16, shift=1e3).float()
    gaussian = Gaussian(16)
    for part in x.split([1, 0, 99, 250, 150]):
        gaussian.update(part)
    assert gaussian.n == 500
    np.testing.assert_allclose(gaussian.mean, x.double().mean(0), rtol=1e-12)
    np.testing.assert_allclose(gaussian.covariance, np.cov(x.double().numpy(), rowvar=False), rtol=1e-9, atol=1e-12)
    y = features(300, 16)
    assert frechet_distance(gaussian, FrechetReference.of(y)) == pytest.approx(
        frechet_distance(x, FrechetReference.of(y)), rel=1e-9
    )


@pytest.mark.parametrize("n", [20, 200])
def test_a_reference_survives_storage(n: int) -> None:
    reference = FrechetReference.of(features(n, 32).float())
    np.testing.assert_allclose(reference.covariance, np.cov(reference.features.T, rowvar=True), atol=1e-6)
    again = FrechetReference.from_tensors(reference.to_tensors())
    x = features(100, 32)
    assert again.n == n
    assert torch.equal(again.features, reference.features)
    assert frechet_distance(x, again) == frechet_distance(x, reference)
    assert "features" not in FrechetReference.of(features(n, 32), keep_features=False).to_tensors()


@pytest.mark.parametrize(("n", "d"), [(60, 100), (300, 24)])
def test_leaving_out_a_group_equals_computing_without_it(n: int, d: int) -> None:
    x, reference = features(n, d), FrechetReference.of(features(2 * n, d))
    left_out = [frechet_distance(x[torch.arange(n) % 5 != group], reference) for group in range(5)]
    mean = sum(left_out) / 5
    se = math.sqrt(4 / 5 * sum((v - mean) ** 2 for v in left_out))
    metric = frechet_metric("rfd_net", x, reference, protocol="net", groups=5)
    assert metric.value == frechet_distance(x, reference)
    assert metric.se == pytest.approx(se, rel=1e-6)
    assert metric.interval is not None
    assert metric.interval[1] - metric.value == pytest.approx(stats.t.ppf(0.975, 4) * se, rel=1e-6)
    assert metric.interval[0] >= 0


def test_the_interval_covers_what_repeated_draws_do() -> None:
    mix = torch.randn(8, 8, dtype=torch.float64)
    reference = FrechetReference.of(torch.randn(4000, 8, dtype=torch.float64) @ mix)
    metrics = [
        frechet_metric("gfd_net", torch.randn(400, 8, dtype=torch.float64) @ mix + 0.3, reference, protocol="")
        for _ in range(60)
    ]
    spread = float(torch.tensor([m.value for m in metrics]).std())
    claimed = float(torch.tensor([m.se for m in metrics]).mean())
    assert 0.7 < claimed / spread < 1.4


def test_the_protocol_states_both_sides_and_what_is_missing() -> None:
    x = features(30, 8)
    x[3, 2] = math.nan
    metric = frechet_metric("gfd_net", x, FrechetReference.of(features(50, 8)), protocol="net at 32 px")
    assert metric.protocol.startswith("net at 32 px; n = 29 against 50")
    assert (metric.n, metric.missing, metric.direction) == (29, 1, "lower")
    nothing = frechet_metric("gfd_net", x[3:4], FrechetReference.of(features(50, 8)), protocol="")
    assert (nothing.value, nothing.missing) == (None, 1)


def test_bad_input_is_refused() -> None:
    reference = FrechetReference.of(features(50, 8))
    with pytest.raises(UserError, match=r"features must be \[N, 8\], got \[20, 9\]"):
        frechet_distance(features(20, 9), reference)
    with pytest.raises(UserError, match="at least 2 samples"):
        frechet_distance(features(1, 8), reference)
    with pytest.raises(UserError, match="at least 2 samples"):
        FrechetReference.of(features(1, 8))
    with pytest.raises(UserError, match="not finite"):
        frechet_distance(features(20, 8) * math.inf, reference)
