from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from safetensors.numpy import save_file

from latentbench.results.comparable import incomparable
from latentbench.results.groups import aggregate, rank
from latentbench.results.metric import Metric
from latentbench.results.rows import rows
from latentbench.results.samples import VALUES, Samples, aligned, pseudovalues, read_samples
from latentbench.results.statistics import Entry, difference_interval
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path, add: Add) -> Store:
    """Two recipes of one seed whose values by sample were kept, and one, of an older version, whose were not."""
    store = Store(tmp_path)
    base = np.random.default_rng(0).normal(28, 4, size=64)
    cells = []
    for name, shift in (("a", 0.0), ("b", -0.4), ("old", -0.8)):
        values = base + shift
        metric = Metric.from_samples("psnr", values.tolist(), direction="higher", role="distortion")
        cells.append(add(store, name, metrics=[metric], recipe=name))
        if name == "old":
            continue
        folder = store.job_folder("reconstruction", f"{name}-0")
        save_file({"psnr": values.astype(np.float32)}, folder / VALUES)
        record = store.read("reconstruction", f"{name}-0")
        store.save(replace(record, artifacts={VALUES: (folder / VALUES).stat().st_size}))
    store.write_suite("s", cells)
    return store


def test_cells_with_values_by_sample_are_paired_and_older_ones_are_not(store: Store) -> None:
    groups = aggregate(rows([store]))
    assert [len(group.samples("psnr")) for group in groups] == [1, 1, 0]
    compared = rank(groups, "psnr")
    assert compared.ranks == (1, 2, 1)
    assert set(compared.apart) == {(0, 1)}


def test_a_file_that_is_damaged_is_as_if_not_kept(store: Store) -> None:
    path = store.job_folder("reconstruction", "a-0") / VALUES
    path.write_bytes(path.read_bytes()[:-8] + b"\xff" * 8)
    assert read_samples(path, "psnr", "d") is not None  # another value, not another length
    broken = path.with_name("broken.safetensors")
    broken.write_bytes(path.read_bytes()[:20])
    assert read_samples(broken, "psnr", "d") is None
    assert read_samples(path, "ssim", "d") is None
    assert read_samples(path.with_name("gone"), "psnr", "d") is None


def test_the_same_samples_are_of_one_data_job_and_number() -> None:
    values = np.zeros(4)
    one = Samples(data="data/x", values=values)
    assert aligned([one, Samples(data="data/x", values=values + 1)])
    assert not aligned([one, Samples(data="data/y", values=values)])
    assert not aligned([one, Samples(data="data/x", values=values[:3])])
    assert not aligned([])


def test_pseudovalues_are_the_jackknife_of_a_difference() -> None:
    # Of means they are the means by group, so that the interval of a difference is the paired one.
    random = np.random.default_rng(0)
    x = random.normal(size=(20, 6))
    apart = random.normal(0, 0.2, size=(10, 6))
    y = x + 0.3 + np.concatenate([apart, -apart])  # without skewness the interval is Student's
    entries = []
    for values in (x, y):
        left_out = [float(np.delete(values, g, axis=0).mean()) for g in range(20)]
        by_group = pseudovalues(float(values.mean()), left_out, "data/x")
        assert by_group.values == pytest.approx(values.mean(1))
        entries.append(Entry(values={0: float(values.mean())}, read=lambda by_group=by_group: {0: by_group}))
    difference = difference_interval(*entries)
    assert difference is not None
    expected = scipy.stats.ttest_rel(x.mean(1), y.mean(1)).confidence_interval()
    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high))


def test_distances_of_one_seed_are_compared_group_by_group(tmp_path: Path, add: Add) -> None:
    # Each distance is known to ±.5 and what the groups do to both is the same: .1 apart is seen, .001 is not.
    store, random = Store(tmp_path), np.random.default_rng(0)
    shared, cells = random.normal(0, 0.05, size=20), []
    for name, shift in (("a", 0.0), ("b", 0.001), ("c", 0.1), ("d", 0.1)):
        value = 1.0 + shift
        metric = Metric(
            name="rfd_net",
            value=value,
            interval=(value - 0.5, value + 0.5),
            n=64,
            direction="lower",
            role="distribution",
        )
        cells.append(add(store, name, metrics=[metric], recipe=name))
        record = store.read("reconstruction", f"{name}-0")
        assert record is not None
        left_out = (value + shared + random.normal(0, 0.001, size=20)).tolist()
        # "d" was scored on other samples: it is compared by the intervals within the runs
        metrics = tuple(replace(m, n=32) for m in record.metrics) if name == "d" else record.metrics
        store.save(replace(record, metrics=metrics, extra={"left_out": {"rfd_net": left_out}}))
    store.write_suite("s", cells)
    groups = aggregate(rows([store]))
    assert rank(groups, "rfd_net").ranks == (1, 1, 3, 1)
    assert incomparable(groups, "rfd_net") == ""
