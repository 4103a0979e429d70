from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.derived import SCALED, entry_of
from latentbench.results.groups import Group, aggregate
from latentbench.results.metric import Metric
from latentbench.results.rows import rows
from latentbench.results.store import Store


@pytest.fixture
def group(tmp_path: Path, add: Callable[..., dict[str, Any]]) -> Group:
    """256 codes of 8 bits at 64 positions; one seed."""
    store = Store(tmp_path)
    metrics = [
        Metric(name="codebook_perplexity", value=128.0, interval=(64.0, 192.0)),
        Metric(name="stream_bits", value=256.0),
    ]
    spec = {"elements": 64, "positions": 64, "bits_per_sample": 512.0}
    store.write_suite("s", [add(store, "a", metrics=metrics, **spec)])
    return aggregate(rows([store]))[0]


def test_names_are_apart_from_those_of_metrics() -> None:
    assert all(name != base for name, (base, _) in SCALED.items())


def test_a_metric_times_a_fact_of_its_cell(group: Group) -> None:
    share = entry_of(group, "perplexity_share")
    assert (share.values, share.within) == ({0: 0.5}, (0.25, 0.75))
    assert entry_of(group, "mean_tokens").values == {0: 32.0}
    assert entry_of(group, "active_share").values == {}  # it has no active units


def test_a_base_column_has_no_uncertainty(group: Group) -> None:
    assert entry_of(group, "positions").within == (64.0, 64.0)
    assert entry_of(group, "codebook_perplexity").within == (64.0, 192.0)


def test_seeds_that_change_nothing_are_scaled_with_their_interval(
    tmp_path: Path, add: Callable[..., dict[str, Any]]
) -> None:
    """Unscaled, the interval of 16 tokens reached from 128 to 384."""
    store = Store(tmp_path)
    metrics = [Metric(name="stream_bits", value=256.0, interval=(128.0, 384.0))]
    spec = {"elements": 64, "positions": 32, "bits_per_sample": 512.0}
    cells = [add(store, "a", metrics=metrics, seed=seed, **spec) for seed in (0, 1)]
    store.write_suite("s", cells)
    tokens = entry_of(aggregate(rows([store]))[0], "mean_tokens")
    assert (tokens.values, tokens.within) == ({0: 16.0, 1: 16.0}, (8.0, 24.0))
