from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.metrics import balls, manifold
from latentbench.tasks.metrics.balls import Manifold, evenly
from latentbench.tasks.metrics.manifold import manifold_metrics


def scores(x: Tensor, y: Tensor) -> tuple[float, ...]:
    """Precision, recall, density and coverage as they are reported."""
    return tuple(metric.value for metric in manifold_metrics("net", x, y, protocol=""))


def naive(x: Tensor, y: Tensor, k: int) -> tuple[float, float, float, float]:
    """Precision, recall, density and coverage point by point, from differences."""

    def apart(a: Tensor, b: Tensor) -> float:
        return float((a - b).square().sum())

    def radius(points: Tensor, i: int) -> float:
        return sorted(apart(points[i], points[j]) for j in range(len(points)) if j != i)[k - 1]

    rx, ry = ([radius(points, i) for i in range(len(points))] for points in (x, y))
    precision = sum(any(apart(a, y[j]) <= ry[j] for j in range(len(y))) for a in x) / len(x)
    recall = sum(any(apart(b, x[i]) <= rx[i] for i in range(len(x))) for b in y) / len(y)
    density = sum(apart(a, y[j]) <= ry[j] for a in x for j in range(len(y))) / (k * len(x))
    coverage = sum(any(apart(a, y[j]) <= ry[j] for a in x) for j in range(len(y))) / len(y)
    return precision, recall, density, coverage


@pytest.mark.parametrize("n", [30, 12, 7])
def test_equals_the_definition(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(balls, "_BLOCK_BYTES", 8 * 40 * 4)  # several blocks, the last one shorter
    x, y = torch.randn(n, 4, dtype=torch.float64) * 1.2 + 1.5, torch.randn(n, 4, dtype=torch.float64)
    expected = (*naive(x, y, 3)[:2], *naive(x, y, 5)[2:])
    assert expected[0] < 1 or expected[1] < 1
    assert scores(x, y) == pytest.approx(expected, abs=1e-12)


def test_equals_torch_fidelity() -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_prc")
    for scale, shift in ((1.0, 0.0), (1.3, 0.4), (0.6, 0.2)):
        x, y = torch.randn(150, 12, dtype=torch.float64) * scale + shift, torch.randn(150, 12, dtype=torch.float64)
        theirs = fidelity.prc_features_to_metric(
            x, y, prc_neighborhood=3, prc_batch_size=64, save_cpu_ram=False, verbose=False
        )
        assert scores(x, y)[:2] == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)


def test_equal_sets_reach_each_other_and_far_ones_nothing() -> None:
    y = torch.randn(60, 16) + 1000  # far from the origin: distances must not suffer
    y[30:] = y[:30]  # twice the same: radii are those of the second and third nearest others
    precision, recall, _, coverage = scores(y, y.clone())
    assert (precision, recall, coverage) == (1, 1, 1)
    assert scores(y + 100, y) == (0, 0, 0, 0)
    same = torch.zeros(10, 3)  # radii of 0
    assert scores(same, same)[:2] == (1, 1)


def test_one_mode_is_precise_without_recall_and_noise_the_reverse() -> None:
    y = torch.cat([torch.randn(100, 4), torch.randn(100, 4) + 50])
    precision, recall = scores(torch.randn(200, 4) * 0.8, y)[:2]
    assert precision > 0.9
    assert recall < 0.51
    assert scores(torch.randn(200, 4) * 60, y)[0] < 0.1


def test_equal_distributions_have_the_expected_density_and_coverage() -> None:
    """Naeem et al. 2020, section 3.3: density 1, coverage 1 - C/(C of both), near 1 - 2^-k at equal size."""
    n, k = 300, 5
    drawn = [scores(torch.randn(n, 6), torch.randn(n, 6))[2:] for _ in range(20)]
    density, coverage = torch.tensor(drawn).mean(0).tolist()
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert density == pytest.approx(1, abs=0.03)
    assert coverage == pytest.approx(expected, abs=0.01)


def test_known_radii_change_nothing() -> None:
    x, y = torch.randn(200, 6) * 1.1 + 0.3, torch.randn(200, 6)
    metrics = manifold_metrics("net", x, y, protocol="net")
    assert [m.name for m in metrics] == ["precision_net", "recall_net", "density_net", "coverage_net"]
    assert manifold_metrics("net", x, Manifold.of(y), protocol="net") == metrics
    for m in metrics:
        low, high = m.interval
        assert low < m.value < high
        assert m.protocol.startswith("net; ")
        assert "n = 200 against 200" in m.protocol
    assert "k = 3" in metrics[1].protocol
    assert "k = 5" in metrics[3].protocol


def test_sides_are_cut_to_the_smaller() -> None:
    x, y = torch.randn(50, 6), torch.randn(170, 6)
    metrics = manifold_metrics("net", x, Manifold.of(y), protocol="")
    assert tuple(metric.value for metric in metrics) == scores(x, y[evenly(170, 50)])
    more = manifold_metrics("net", torch.cat([x, x]), y[:50], protocol="")
    assert [m.n for m in more] == [50] * 4


def test_large_sets_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (balls, manifold):
        monkeypatch.setattr(module, "MOST", 40)
    x, y = torch.randn(90, 6), torch.randn(100, 6)
    metrics = manifold_metrics("net", x, y, protocol="")
    assert metrics[0].n == 40
    assert metrics[0].value == scores(x[:40], y[evenly(100, 40)])[0]


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_standard_errors_are_those_of_repeated_draws(shift: float) -> None:
    reference = Manifold.of(torch.randn(150, 6))
    drawn = [manifold_metrics("net", torch.randn(150, 6) * 1.1 + shift, reference, protocol="") for _ in range(40)]
    for k in range(4):
        spread = float(torch.tensor([m[k].value for m in drawn], dtype=torch.float64).std())
        claimed = float(torch.tensor([m[k].se for m in drawn], dtype=torch.float64).mean())
        assert 0.6 < claimed / spread < 2.2, drawn[0][k].name


@pytest.mark.slow
def test_leaving_a_group_out_equals_doing_without_it() -> None:
    x, y = torch.randn(45, 5, dtype=torch.float64) + 0.5, torch.randn(45, 5, dtype=torch.float64)
    left_out = []
    for start in range(10):
        others = [i for i in range(45) if i % 10 != start]
        recall = naive(x[others], y, 3)[1]
        left_out.append((recall, naive(x[others], y, 5)[3]))
    metrics = manifold_metrics("net", x, y, protocol="")
    for i, metric in enumerate((metrics[1], metrics[3])):
        values = torch.tensor([pair[i] for pair in left_out], dtype=torch.float64)
        expected = math.sqrt(0.9 * float((values - values.mean()).square().sum()))
        assert metric.se == pytest.approx(expected, rel=1e-6)


def test_a_share_of_all_still_has_an_interval() -> None:
    y = torch.randn(100, 4)
    precision, recall, _, coverage = manifold_metrics("net", y.clone(), y, protocol="")
    assert (precision.value, recall.value, coverage.value) == (1, 1, 1)
    assert precision.interval == pytest.approx((1 / (1 + 1.959964**2 / 100), 1))  # Wilson's, in closed form at 1
    assert coverage.interval[1] == 1
    assert coverage.interval[0] < 1


def test_degenerate_and_bad_input() -> None:
    x = torch.randn(30, 4)
    x[3, 1] = float("nan")
    metrics = manifold_metrics("net", x, torch.randn(30, 4), protocol="")
    assert (metrics[0].n, metrics[0].missing) == (29, 1)
    few = manifold_metrics("net", torch.randn(5, 4), torch.randn(30, 4), protocol="")
    assert [m.value for m in few] == [None] * 4
    some = manifold_metrics("net", torch.randn(8, 4), torch.randn(30, 4), protocol="")
    assert some[1].value is not None
    assert some[1].se is None
    with pytest.raises(UserError, match=r"\[30, 4\] and \[30, 5\]"):
        scores(torch.randn(30, 4), torch.randn(30, 5))
    with pytest.raises(UserError, match="not finite"):
        Manifold.of(x)
    with pytest.raises(UserError, match="at least 6 samples, got 5"):
        Manifold.of(torch.randn(5, 4))
