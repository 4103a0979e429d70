from __future__ import annotations

import numpy as np
import pytest
import torch

from latentbench.tasks.metrics.extrapolate import frechet_infinity, infinity_metric
from latentbench.tasks.metrics.frechet import FrechetReference, Gaussian, frechet_distance

DIM = 16


def exact_reference(scale: float = 1.0) -> FrechetReference:
    """N(0, scale² I) itself, not a sample of it."""
    gaussian = Gaussian(DIM)
    gaussian.n = 10**9
    gaussian._scatter = torch.eye(DIM, dtype=torch.float64) * scale**2 * (gaussian.n - 1)
    return FrechetReference.of_gaussian(gaussian)


def test_is_the_intercept_of_a_line_over_one_over_n() -> None:
    x, reference = torch.randn(481, DIM) * 1.3, exact_reference()
    sizes, values = [], []
    for count in (1, 2, 3, 4):
        parts = [x[i::count] for i in range(count)]
        sizes.append(np.mean([1 / len(part) for part in parts]))
        values.append(np.mean([frechet_distance(part, reference) for part in parts]))
    assert frechet_infinity(x, reference) == pytest.approx(np.polyfit(sizes, values, 1)[1], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "shift"), [(1.2, 0.1), (1.0, 0.0)])
def test_gaussians_have_their_true_distance_within_the_interval(scale: float, shift: float) -> None:
    reference, true = exact_reference(), DIM * ((scale - 1) ** 2 + shift**2)
    held, values, errors, plain = 0, [], [], []
    for _ in range(20):
        x = torch.randn(400, DIM) * scale + shift
        metric = infinity_metric("fd_infinity_net", x, reference, protocol="")
        held += metric.interval[0] <= true <= metric.interval[1]
        values.append(metric.value)
        errors.append(metric.se)
        plain.append(frechet_distance(x, reference))
    assert held >= 16  # 95 % of 20 is 19
    # at distance 0 all first-order effects vanish, and a jackknife overstates what is left
    assert 0.6 < np.mean(errors) / np.std(values) < (1.8 if true else 3)
    bias, plain_bias = np.mean(values) - true, np.mean(plain) - true
    assert plain_bias > 0.1
    assert abs(bias) < 0.2 * plain_bias
    if scale == 1:
        assert min(values) < 0  # legitimate: unbiased around 0


def test_too_few_samples_are_not_extrapolated() -> None:
    metric = infinity_metric("fd", torch.randn(16 * DIM - 1, DIM), exact_reference(), protocol="net")
    assert metric.value is None
    assert metric.protocol.endswith("needs 256 samples")
    x = torch.randn(16 * DIM + 1, DIM)
    x[9] = float("nan")
    metric = infinity_metric("fd", x, exact_reference(), protocol="net")
    assert metric.value is not None
    assert (metric.n, metric.missing) == (256, 1)
