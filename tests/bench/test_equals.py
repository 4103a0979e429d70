"""What tables say of equals: trainings of one recipe, and JPEG at neighbouring qualities."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.runner import run_suite
from latentbench.results.comparable import incomparable
from latentbench.results.groups import aggregate, direction_of, rank
from latentbench.results.rows import Row, metric_names, rows
from latentbench.tasks.proxies.config import proxies

SUITE: dict[str, Any] = {
    "name": "equals",
    "data": {"size": 16, "samples": 64, "val": 32},
    "tokenizers": [{"recipe": "kl-vae", "backbone": {"width": 4}}],
    "seeds": [0, 1, 2, 3, 4],
    "training": {"steps": 60, "batch_size": 8},
    "encoder": {"width": 8, "training": {"steps": 20, "batch_size": 8}},
    "features": ["encoder"],
    "tasks": ["reconstruction", "modelability", "generation"],
    "prior": {"training": {"steps": 20, "batch_size": 8}, "flow": {"width": 16, "layers": 1, "steps": 4}},
    "generation": {"samples": 32},
    "reconstruction": {"rate": False},
    # All but those that train a net.
    "modelability": {"samples": 64, "proxies": [name for name in proxies.names() if not name.startswith("nonlinear")]},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("runs") / "equals"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTBENCH_CACHE", str(folder.parent / "cache"))
        assert run_suite(SUITE, out=folder, engine="inline").failed == 0
    return rows([folder])


def lines(table: list[Row], *parts: tuple[int, ...]) -> list[Row]:
    """The recipe's seeds as lines of a table, one for each part."""
    label = {seed: str(part) for part in parts for seed in part}
    chosen = [row for row in table if row["seed"] in label]
    return [replace(row, columns={**row.columns, "label": label[row["seed"]]}) for row in chosen]


def ranked(table: list[Row]) -> list[str]:
    """The metrics by which the lines of a table are ranked."""
    groups = aggregate(table)
    names = [name for name in metric_names(table) if direction_of(groups, name) != "none"]
    return [name for name in names if groups[0].values(name) and not incomparable(groups, name)]


@pytest.mark.slow
def test_with_one_seed_only_what_is_measured_on_the_same_signals_ranks(table: list[Row]) -> None:
    singles = lines(table, *((seed,) for seed in range(5)))
    assert ranked(singles) == ["psnr", "ssim", "rfd_encoder_supervised", "rkd_encoder_supervised"]
    # and by them most trainings are a tie
    assert not rank(aggregate(singles), "psnr").apart


@pytest.mark.slow
def test_two_pairs_of_seeds_are_seldom_told_apart(table: list[Row]) -> None:
    told: dict[str, list[bool]] = {}
    for first, second in itertools.combinations(itertools.combinations(range(5), 2), 2):
        if set(first) & set(second):
            continue
        both = lines(table, first, second)
        for name in ranked(both):
            told.setdefault(name, []).append(bool(rank(aggregate(both), name).apart))
    assert {"psnr", "rfd_encoder_supervised", "gfd_encoder_supervised", "viv"} <= told.keys()
    assert "flow_loss" not in told
    every = [value for values in told.values() for value in values]
    assert len(every) > 150
    assert sum(every) / len(every) <= 0.05, {name: sum(values) / len(values) for name, values in told.items()}


@pytest.mark.slow
def test_jpeg_at_50_and_51_is_a_tie_in_distance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On 12 images, two seeds that change nothing. That 51 is .02 to .05 dB better is true of every image, and said.
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    suite = {
        "name": "jpeg",
        "data": {"size": 32, "samples": 16, "val": 12},
        "tokenizers": [
            {"recipe": "jpeg", "label": f"jpeg {quality}", "codec": {"quality": quality}} for quality in (50, 51)
        ],
        "seeds": [0, 1],
        "encoder": {"width": 8, "training": {"steps": 2, "batch_size": 8}},
        "features": ["encoder"],
        "tasks": ["reconstruction"],
        "reconstruction": {"rate": False},
    }
    assert run_suite(suite, out=tmp_path / "run", engine="inline").failed == 0
    groups = aggregate(rows([tmp_path / "run"]))
    assert rank(groups, "rfd_encoder_supervised").ranks == (1, 1)
    estimate = groups[0].estimate("psnr")
    assert estimate is not None
    assert estimate.half is not None
    assert estimate.half > 0.2
    difference = rank(groups, "psnr").apart.get((0, 1))
    assert difference is None or -0.1 < difference.value < 0
