from __future__ import annotations

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.frechet import FrechetReference
from latentbench.tasks.metrics.kid import kid, kid_metric, mmd2, paired_kid_metric, subset_indices


def naive(x: torch.Tensor, y: torch.Tensor) -> float:
    """The estimator as a sum over pairs."""
    n, m, d = len(x), len(y), x.shape[1]

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return (float(a @ b) / d + 1) ** 3

    within_x = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


# The first takes three Gram matrices, the second one per subset.
@pytest.mark.parametrize(("n", "m", "size", "subsets"), [(30, 25, 12, 20), (200, 300, 6, 3)])
def test_equals_the_sum_over_pairs_on_every_subset(n: int, m: int, size: int, subsets: int) -> None:
    x, y = torch.randn(n, 7, dtype=torch.float64), torch.randn(m, 7, dtype=torch.float64) * 1.3
    rows, columns = subset_indices(n, size, subsets, 1), subset_indices(m, size, subsets, 2)
    expected = [naive(x[i], y[j]) for i, j in zip(rows, columns, strict=True)]
    assert mmd2(x, y, rows, columns).tolist() == pytest.approx(expected, rel=1e-9)


def test_equals_torchmetrics_on_every_subset() -> None:
    image = pytest.importorskip("torchmetrics.image.kid")
    x, y = torch.randn(60, 32, dtype=torch.float64), torch.randn(50, 32, dtype=torch.float64) + 0.2
    rows, columns = subset_indices(60, 40, 30, 1), subset_indices(50, 40, 30, 2)
    expected = [float(image.poly_mmd(y[j], x[i])) for i, j in zip(rows, columns, strict=True)]
    assert mmd2(x, y, rows, columns).tolist() == pytest.approx(expected, rel=1e-9)


def test_equals_torch_fidelity_where_the_subset_is_everything() -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = torch.randn(80, 16, dtype=torch.float64), torch.randn(80, 16, dtype=torch.float64) + 0.1
    theirs = fidelity.kid_features_to_metric(
        x, y, kid_subsets=3, kid_subset_size=80, kid_kernel="poly", kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1.0, rng_seed=0, verbose=False,
    )  # fmt: skip
    mean, deviation = kid(x, y, subsets=3, subset_size=80)
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert deviation == pytest.approx(0, abs=1e-12)


def test_subsets_are_without_repetition_and_by_seed() -> None:
    rows = subset_indices(50, 20, 10, 3)
    assert all(len(set(row.tolist())) == 20 for row in rows)
    assert torch.equal(rows, subset_indices(50, 20, 10, 3))
    assert not torch.equal(rows, subset_indices(50, 20, 10, 4))


def test_equal_distributions_scatter_around_zero() -> None:
    values = [kid(torch.randn(100, 8), torch.randn(100, 8), subsets=5)[0] for _ in range(40)]
    mean, spread = torch.tensor(values).mean(), torch.tensor(values).std()
    assert abs(float(mean)) < 3 * float(spread) / 40**0.5
    assert min(values) < 0 < max(values)


def test_metric_states_the_shrunk_subset_and_equals_kid() -> None:
    x, reference = torch.randn(60, 8) + 0.4, FrechetReference.of(torch.randn(90, 8))
    metric = kid_metric("gkd_net", x, reference, protocol="net")
    assert metric.value == pytest.approx(kid(x, reference.features)[0], rel=1e-9)
    assert "n = 60 against 90" in metric.protocol
    assert "subsets of 60" in metric.protocol
    assert metric == kid_metric("gkd_net", x, reference, protocol="net")
    assert metric != kid_metric("gkd_net", x, reference, protocol="net", seed=1)


def test_the_standard_error_is_that_of_repeated_draws() -> None:
    metrics = [
        kid_metric("gkd_net", torch.randn(120, 8) + 0.3, torch.randn(120, 8), protocol="", subsets=10)
        for _ in range(60)
    ]
    spread = float(torch.tensor([m.value for m in metrics]).std())
    claimed = float(torch.tensor([m.se for m in metrics]).mean())
    assert 0.7 < claimed / spread < 1.5


def test_large_sets_scale_the_subsets_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentbench.tasks.metrics.kid._LARGEST_GRAM", 100)
    x, y = torch.randn(400, 8) + 0.3, torch.randn(400, 8)
    large = kid_metric("gkd_net", x, y, protocol="", subset_size=40)
    monkeypatch.undo()
    small = kid_metric("gkd_net", x, y, protocol="", subset_size=40)
    assert large.value == pytest.approx(small.value, rel=1e-9)
    assert 0.4 < large.se / small.se < 2.5


def test_degenerate_and_bad_input() -> None:
    x = torch.randn(20, 8)
    x[4] = float("nan")
    metric = kid_metric("gkd_net", x, torch.randn(20, 8), protocol="")
    assert (metric.n, metric.missing) == (19, 1)
    assert kid_metric("gkd_net", x[:1], torch.randn(20, 8), protocol="").value is None
    with pytest.raises(UserError, match="at least 2 samples"):
        kid(x[:1], x)
    with pytest.raises(UserError, match=r"\[20, 8\] and \[20, 9\]"):
        kid(x, torch.randn(20, 9))
    bare = FrechetReference.of(torch.randn(20, 8), keep_features=False)
    with pytest.raises(UserError, match="without its features"):
        kid_metric("gkd_net", x, bare, protocol="")


def test_pairs_are_compared_without_their_own_terms() -> None:
    y = torch.randn(24, 7, dtype=torch.float64)
    x = 0.9 * y + 0.1 * torch.randn(24, 7, dtype=torch.float64)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return (float(a @ b) / 7 + 1) ** 3

    def of(rows: list[int]) -> float:
        terms = [
            kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(x[j], y[i])
            for i in rows
            for j in rows
            if i != j
        ]
        return sum(terms) / len(terms)

    metric, left_out = paired_kid_metric("rkd_net", x, y, protocol="net", groups=4)
    assert metric.value == pytest.approx(of(list(range(24))), rel=1e-9)
    assert left_out == pytest.approx([of([i for i in range(24) if i % 4 != g]) for g in range(4)], rel=1e-9)
    x[5] = float("nan")
    metric, left_out = paired_kid_metric("rkd_net", x, y, protocol="net", groups=4)
    assert (metric.n, metric.missing) == (23, 1)
    assert left_out[1] == pytest.approx(of([i for i in range(24) if i % 4 != 1]), rel=1e-9)
    with pytest.raises(UserError, match="differ"):
        paired_kid_metric("rkd_net", x, y[:20], protocol="")


def test_pairs_of_one_distribution_scatter_around_zero() -> None:
    # Correlated .9 and of equal distribution: with a pair's own terms every value is below 0.
    metrics, naive_values = [], []
    for _ in range(150):
        y = torch.randn(64, 16, dtype=torch.float64)
        x = 0.9 * y + 0.19**0.5 * torch.randn(64, 16, dtype=torch.float64)
        metrics.append(paired_kid_metric("rkd_net", x, y, protocol="")[0])
        naive_values.append(kid(x, y, subsets=1)[0])
    values = torch.tensor([m.value for m in metrics])
    assert abs(float(values.mean())) < 3 * float(values.std()) / 150**0.5
    assert max(naive_values) < 0
    covered = [m.interval[0] <= 0 <= m.interval[1] for m in metrics if m.interval is not None]
    assert 0.90 <= sum(covered) / 150 <= 1.0
