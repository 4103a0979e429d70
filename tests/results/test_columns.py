"""Which columns a table shows unless told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentbench.results.columns import (
    chosen_columns,
    default_columns,
    depends_on_count,
    front_axes,
    must_agree,
    primary,
    rate_of,
)
from latentbench.results.groups import aggregate
from latentbench.results.metric import Metric
from latentbench.results.rows import rows
from latentbench.results.store import Store


def test_operating_points_are_shown_when_asked_for(tmp_path: Path, add: Callable[..., dict[str, Any]]) -> None:
    names = ("psnr", "psnr_depth_1")
    metrics = [Metric(name="psnr", value=1.0), Metric(name="psnr_depth_1", value=1.0, shown="asked")]
    store = Store(tmp_path)
    store.write_suite("s", [add(store, "a", metrics=metrics)])
    groups = aggregate(rows([store]))
    assert [name for name in default_columns(groups) if name in names] == ["psnr"]
    assert set(names) <= set(chosen_columns(groups, "all", names))
    assert chosen_columns(groups, "psnr_*", names) == ["psnr_depth_1"]


def test_roles_order_the_columns_and_say_what_a_table_is_ranked_by(
    tmp_path: Path, add: Callable[..., dict[str, Any]]
) -> None:
    metrics = [
        Metric(name="theirs", value=1.0, direction="higher"),
        Metric(name="viv", value=1.0, direction="lower", role="modelability"),
        Metric(name="rfd_net", value=1.0, direction="lower", role="distribution"),
        Metric(name="mel_distance", value=1.0, direction="lower", role="distortion"),
        Metric(name="si_sdr", value=1.0, direction="higher", role="distortion", shown="first"),
        Metric(name="stream_bits", value=1.0, role="rate", shown="asked"),
        Metric(name="real_bits", value=1.0, direction="lower", role="rate"),
        Metric(name="real_kbits_per_second", value=1.0, direction="lower", role="rate", shown="first"),
    ]
    store = Store(tmp_path)
    store.write_suite("s", [add(store, "a", metrics=metrics)])
    groups = aggregate(rows([store]))
    shown = default_columns(groups)
    assert [name for name in shown if name in {metric.name for metric in metrics}] == [
        "real_kbits_per_second",
        "real_bits",
        "si_sdr",
        "mel_distance",
        "rfd_net",
        "viv",
        "theirs",
    ]
    assert not {"bits_per_sample", "bits_per_element", "bitrate"} & set(shown)  # nominal bits are no default
    assert primary(groups) == "si_sdr"
    assert rate_of(groups) == "real_kbits_per_second"
    assert front_axes(groups, None, ()) == ("real_kbits_per_second", "si_sdr")
    compared = [metric.name for metric in metrics if must_agree(groups, metric.name)]
    assert compared == ["theirs", "rfd_net", "mel_distance", "si_sdr"]
    assert [name for name in shown if depends_on_count(groups, name)] == ["rfd_net"]


def test_what_has_no_rate_and_what_has_nothing_else(tmp_path: Path, add: Callable[..., dict[str, Any]]) -> None:
    rate = Metric(name="real_bits_per_pixel", value=1.0, direction="lower", role="rate", shown="first")
    psnr = Metric(name="psnr", value=1.0, direction="higher", role="distortion")
    store = Store(tmp_path)
    store.write_suite("s", [add(store, "a", metrics=[rate]), add(store, "b", metrics=[psnr], dataset="other")])
    first, second = ([group] for group in aggregate(rows([store])))
    assert primary(first) is None  # few bits are no merit by themselves
    assert front_axes(first, None, ()) == front_axes(second, None, ()) == ()
