"""Bars: the best first, with the options that differ; marks alone on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.plots.bars import bar_panels, draw_bars
from latentbench.results.plots.style import COLOURS, REFERENCE, STYLES
from latentbench.results.rows import rows
from latentbench.results.store import Store


def test_the_best_is_first_and_has_its_options(curves: Path) -> None:
    (panel,) = bar_panels(rows([curves]), y="psnr")
    assert [bar.name for bar in panel.bars[:3]] == [
        "jpeg, codec quality 4",
        "kl-vae, channels 4",
        "jpeg, codec quality 3",
    ]
    assert [bar.value.value for bar in panel.bars[:3]] == [27, 26, 25]
    assert panel.label == "PSNR (dB) ↑"
    figure = draw_bars([panel], STYLES["paper"], log="auto")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [bar.name for bar in panel.bars]
    assert [bar.get_width() for bar in axes.patches] == [bar.value.value for bar in panel.bars]
    assert axes.get_xlim()[0] <= 0
    assert axes.texts[0].get_text() == "27.00 ± 0.50"
    assert {line.get_color() for line in axes.lines[:4]} == {REFERENCE, COLOURS[0]}


def test_bars_of_one_name_are_refused_with_what_tells_them_apart(curves: Path) -> None:
    with pytest.raises(UserError, match=r"4 points of 'jpeg'; tell them apart with --group label,codec_quality"):
        bar_panels(rows([curves]), y="psnr", group="label")


def test_a_logarithmic_axis_has_marks_without_bars(tmp_path: Path, add: Callable[..., dict[str, Any]]) -> None:
    store = Store(tmp_path)
    cells = [add(store, f"c{v}", metrics=[Metric(name="d", value=v)], label=f"l{v}") for v in (0.01, 1.0, 100.0)]
    store.write_suite("s", cells)
    panels = bar_panels(rows([store]), y="d")
    (axes,) = draw_bars(panels, STYLES["paper"], log="auto").axes
    assert axes.get_xscale() == "log"
    assert not axes.patches
    assert draw_bars(panels, STYLES["paper"], log="none").axes[0].patches
