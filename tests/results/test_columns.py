"""Which columns a table shows unless told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentbench.results.columns import chosen_columns, default_columns
from latentbench.results.groups import aggregate
from latentbench.results.metric import Metric
from latentbench.results.rows import rows
from latentbench.results.store import Store


def test_operating_points_are_shown_when_asked_for(tmp_path: Path, add: Callable[..., dict[str, Any]]) -> None:
    names = ("psnr", "psnr_depth_1", "rfd_encoder", "rfd_encoder_steps_2", "rfd_encoder_prefix_16")
    metrics = [Metric(name=name, value=1.0, direction="higher") for name in names]
    store = Store(tmp_path)
    store.write_suite("s", [add(store, "a", metrics=metrics)])
    groups = aggregate(rows([store]))
    assert [name for name in default_columns(groups) if name in names] == ["psnr", "rfd_encoder"]
    assert set(names) <= set(chosen_columns(groups, "all", names))
    assert chosen_columns(groups, "psnr_*", names) == ["psnr_depth_1"]
