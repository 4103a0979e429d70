"""What is looked up of all lines at once is what each group says alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.groups import aggregate
from latentbench.results.lines import Lines, measurements, protocols_of
from latentbench.results.metric import Metric
from latentbench.results.rows import rows
from latentbench.results.store import Store

LOUD = [Metric(name="si_sdr", value=v, se=0.5, n=64, missing=m, protocol="p") for v, m in ((3, 1), (4.5, 1), (4.5, 0))]


@pytest.fixture
def lines(folder: Path, add: Callable[..., dict[str, Any]]) -> Lines:
    """The folder's groups, with one more of three seeds, one of two that changes nothing, and one by sample."""
    store, cells = Store(folder), []
    for seed, one in enumerate(LOUD):
        cells.append(add(store, "loud", metrics=[one], seed=seed, recipe="loud", failed=False))
    for seed in range(2):
        cells.append(add(store, "same", metrics=[LOUD[0]], seed=seed, recipe="same"))
    nothing = Metric(name="si_sdr", value=None, protocol="q")
    cells.append(add(store, "none", metrics=[nothing], recipe="none", axes={"train.steps": 5}))
    store.write_suite("more", cells)
    return Lines(aggregate(rows([folder])))


def test_numbers_and_estimates_are_those_of_each_group(lines: Lines) -> None:
    for name in (*lines.metric_names, "seconds", "tsr", "dataset", "psnr_se", "nothing"):
        values, present = lines.numbers(name)
        assert [row[there].tolist() for row, there in zip(values, present, strict=True)] == [
            [*group.values(name).values()] for group in lines
        ]
        assert lines.valued(name) == [group for group in lines if group.values(name)]
        assert lines.means(name) == [group.mean(name) for group in lines]
    assert lines.unfinished == [place for place, group in enumerate(lines) if group.finished < len(group.rows)] != []
    for name in lines.metric_names:
        known, each = lines.estimates(name), [group.estimate(name) for group in lines]
        assert known.values == [one and one.value for one in each]
        assert known.halves == [one and one.half for one in each]
        assert known.frozen == [group.entry(name).frozen for group in lines]
    assert any(lines.estimates("si_sdr").frozen)


def test_values_by_sample_count(lines: Lines) -> None:
    three = next(place for place, group in enumerate(lines) if group.recipe == "loud")
    lines.estimates("si_sdr")
    for row, shift in zip(lines[three].rows, (0.0, 0.5, 1.0), strict=True):
        row.left_out["si_sdr"] = [shift + 0.01 * sample for sample in range(20)]  # type: ignore[index]
    again = Lines(lines)
    assert lines.by_sample("si_sdr") == []  # asked before
    assert again.by_sample("si_sdr") == [three]
    assert again.by_sample("psnr") == []
    own = again[three].estimate("si_sdr")
    assert own is not None
    assert again.estimates("si_sdr").halves[three] == own.half


def test_a_metric_stands_once_for_each_way_it_was_measured(lines: Lines) -> None:
    several = lines.ways("si_sdr")
    measured = measurements(lines, "si_sdr")
    assert sum(rows for _, _, rows in several) == len(measured)
    assert sum(metric.missing * rows for _, metric, rows in several) == sum(metric.missing for _, metric in measured)
    ways = [(group.recipe, metric.missing, rows) for group, metric, rows in several if metric.protocol == "p"]
    assert ways == [("loud", 1, 4), ("loud", 0, 1)]
    first = {one.protocol: group for group, one in reversed(measured)}
    assert protocols_of(lines, "si_sdr") == first
    assert lines.ways("nothing") == []


def test_another_order_has_its_own_firsts(lines: Lines) -> None:
    for name in lines.metric_names:
        lines.ways(name)  # as a table that is sorted afterwards
    backwards = [*reversed(lines)]
    again, alone = lines.reordered(backwards), Lines(backwards)
    for name in lines.metric_names:
        assert again.ways(name) == alone.ways(name)
        assert again.estimates(name) == alone.estimates(name)
    assert again.ways("si_sdr") != lines.ways("si_sdr")


def test_axes_have_their_columns(lines: Lines) -> None:
    assert lines.axes == {
        "downsample": "downsample",
        "bottleneck.beta": "bottleneck_beta",
        "channels": "channels",
        "train.steps": "train_steps",
    }
    assert lines.doubtful == []
