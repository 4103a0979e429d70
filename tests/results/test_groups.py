from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.groups import aggregate, direction_of, rank, split
from latentbench.results.lines import check_protocols
from latentbench.results.metric import Metric
from latentbench.results.rows import rows
from latentbench.results.statistics import mean_interval
from latentbench.results.store import Store


def test_seeds_are_taken_together(folder: Path) -> None:
    groups = aggregate(rows([folder]))
    assert [(g.title, len(g.rows), g.finished) for g in groups] == [
        ("kl-vae", 3, 3),
        ("wide (kl-vae)", 3, 3),
        ("vq-vae", 3, 1),
        ("ae", 1, 1),
        ("ae", 1, 1),
    ]
    assert groups[1].values("psnr") == {0: 25.0, 1: 25.3, 2: 25.3}
    assert groups[1].estimate("psnr") == mean_interval([25.0, 25.3, 25.3])
    assert groups[0].mean("psnr") == pytest.approx(20.2)
    assert groups[2].estimate("si_sdr") is None
    assert [len(table) for table in split(groups)] == [3, 2]


def test_one_seed_takes_its_runs_interval_or_standard_error(tmp_path: Path, add: Callable[..., dict[str, Any]]) -> None:
    store = Store(tmp_path)
    metrics = [
        Metric(name="a", value=1.0, se=9.0, interval=(0.0, 3.0)),
        Metric(name="b", value=1.0, se=1.0),
        Metric(name="c", value=1.0),
    ]
    store.write_suite("s", [add(store, "x", metrics=metrics)])
    (group,) = aggregate(rows([store]))
    assert group.entry("a").within == (0.0, 3.0)
    assert group.entry("b").within == pytest.approx((-0.959964, 2.959964), abs=1e-6)
    assert group.entry("c").within is None


def test_unfinished_cells_have_no_cost(folder: Path) -> None:
    vq = aggregate(rows([folder]))[2]
    assert vq.values("seconds") == {0: 5.0}
    assert vq.values("parameters") == {0: 1234567.0, 1: 1234567.0, 2: 1234567.0}


def test_twins_within_a_suite_stay_apart(tmp_path: Path, add: Callable[..., dict[str, Any]]) -> None:
    store = Store(tmp_path)
    cells = [add(store, name, metrics=[Metric(name="psnr", value=1.0)], seed=seed) for name in "ab" for seed in (0, 1)]
    store.write_suite("s", cells)
    groups = aggregate(rows([store]))
    assert [(group.label, [row["cell"] for row in group.rows]) for group in groups] == [
        ("kl-vae", ["a-0", "a-1"]),
        ("kl-vae #2", ["b-0", "b-1"]),
    ]


def test_rank(folder: Path) -> None:
    groups = aggregate(rows([folder]))[:3]
    compared = rank(groups, "psnr")
    assert compared.ranks == (2, 1, 3)
    assert set(compared.apart) == {(0, 1), (0, 2), (1, 2)}
    assert compared.apart[0, 1].value == pytest.approx(-5.0)
    assert direction_of(groups, "rfd_encoder") == "lower"
    assert (direction_of(groups, "tsr"), direction_of(groups, "seconds")) == ("higher", "lower")
    assert direction_of(groups, "seed") == "none"
    check_protocols(groups, ["psnr", "rfd_encoder", "si_sdr"])
