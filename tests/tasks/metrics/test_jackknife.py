from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from latentbench.tasks.metrics.jackknife import delete_a_group, group_of, interval_of, of_sums


def test_of_a_mean_it_is_the_classical_standard_error() -> None:
    x = torch.randn(12, dtype=torch.float64)
    sums = torch.stack([torch.ones_like(x), x], 1)
    value, se, half = of_sums(sums, lambda s: float(s[1] / s[0]))
    assert value == pytest.approx(float(x.mean()))
    assert se == pytest.approx(float(x.std()) / math.sqrt(12))
    assert half == pytest.approx(stats.t.ppf(0.975, 11) * se)


def test_groups_partition_the_samples() -> None:
    parts = group_of(23, 5)
    assert sorted(i for part in parts for i in range(23)[part]) == list(range(23))
    assert len(group_of(3, 10)) == 3


def test_unknown_where_it_must_be() -> None:
    assert delete_a_group([1.0]) == (None, None)
    assert delete_a_group([1.0, float("nan"), 2.0]) == (None, None)
    assert interval_of(None, 1.0) is None
    assert interval_of(2.0, 0.5) == (1.5, 2.5)
