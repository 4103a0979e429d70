from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from latentbench.results.groups import aggregate, rank
from latentbench.results.metric import Metric
from latentbench.results.rows import rows
from latentbench.results.samples import VALUES, Samples, aligned, read_samples
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
