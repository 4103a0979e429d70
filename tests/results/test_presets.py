"""A row made under a preset, and rows of the same column that are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.presets import load_preset, marked
from latentbench.results.errors import UserError
from latentbench.results.groups import aggregate
from latentbench.results.leaderboard import leaderboard
from latentbench.results.lines import check_protocols
from latentbench.results.metric import Metric
from latentbench.results.record import JobResult
from latentbench.results.rows import rows
from latentbench.results.store import Store

PSNR = Metric(name="psnr", value=20.0, n=6, direction="higher", role="distortion", protocol="mean of per-sample PSNR")


def test_metrics_say_it_and_do_not_mix(tmp_path: Path, add: Callable[..., dict[str, Any]]) -> None:
    """A row under a preset, one under another of the same name, and one under none share no column."""
    one = load_preset("imagenet-val-256")
    two = replace(one, data={**one.data, "resize": "short"})
    results = [marked(JobResult(metrics=(PSNR,)), p and p.identity()) for p in (one, two, None)]
    assert results[0].metrics[0].protocol == f"mean of per-sample PSNR; protocol imagenet-val-256 ({one.digest})"
    assert results[0].extra["preset"] == {"name": "imagenet-val-256", "digest": one.digest}
    assert results[2] == JobResult(metrics=(PSNR,))
    for pair in ((0, 1), (0, 2)):
        store = Store(tmp_path / f"out{pair[1]}")
        cells = [add(store, f"cell{i}", metrics=list(results[i].metrics), label=f"row {i}") for i in pair]
        store.write_suite("demo", cells)
        with pytest.raises(UserError, match=r"psnr has two protocols, .*protocol imagenet-val-256"):
            leaderboard([store.root], format="md")
    same = Store(tmp_path / "same")
    same.write_suite("demo", [add(same, f"c{i}", metrics=list(results[0].metrics), label=str(i)) for i in range(2)])
    check_protocols(aggregate(rows([same.root])), ["psnr"])
