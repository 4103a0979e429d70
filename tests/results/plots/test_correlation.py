"""Spearman's correlations equal scipy's, over the lines that have both columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.plots.correlation import correlations, draw_correlations
from latentbench.results.plots.style import STYLES
from latentbench.results.rows import rows
from latentbench.results.store import Store


def test_they_are_scipy_s(tmp_path: Path, add: Callable[..., dict[str, Any]]) -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=9), draw.integers(0, 4, size=9).astype(float)
    store, cells = Store(tmp_path), []
    for i in range(9):
        metrics = [Metric(name="a", value=a[i]), Metric(name="same", value=1.0)]
        metrics += [Metric(name="b", value=b[i])] if i else []  # the first line lacks it
        cells.append(add(store, f"c{i}", metrics=metrics, label=f"l{i}"))
    store.write_suite("s", cells)
    (one,) = correlations(rows([store]), columns="a,b,same")
    assert one.across == one.up == ("a", "b")
    assert one.values[0][1] == one.values[1][0] == pytest.approx(spearmanr(a[1:], b[1:]).statistic)
    assert one.texts[0][0] == "1.00"
    assert one.notes[0].startswith("Spearman's rank correlation over 8 lines")
    figure = draw_correlations([one], STYLES["paper"])
    assert len(figure.axes[0].texts) == 4


def test_too_few_lines_are_refused(grid: Path) -> None:
    with pytest.raises(UserError, match="no table has two columns with numbers in 4 lines"):
        correlations(rows([grid])[:3])
    with pytest.raises(UserError, match="unknown column 'pnsr'"):
        correlations(rows([grid]), columns="pnsr")
