"""Heat maps: values at their options, numbers in order, what is missing left grey."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentbench.results.errors import UserError
from latentbench.results.plots.heatmap import draw_heatmaps, heatmaps
from latentbench.results.plots.style import STYLES
from latentbench.results.rows import rows


def test_values_stand_at_their_options(grid: Path) -> None:
    (one,) = heatmaps(rows([grid]), colour="psnr")
    matrix = one.matrix
    assert matrix.across == ("4", "16")
    assert matrix.up == ("2", "8", "16")
    assert matrix.values == ((20.5, None), (22.0, 20.5), (24.0, 21.0))
    assert matrix.texts[0] == ("20.50\n±0.50", "–")
    assert (one.low, one.high, one.low_is_bright) == (20.5, 24.0, False)
    figure = draw_heatmaps([one], STYLES["paper"])
    axes, bar = figure.axes
    assert [text.get_text() for text in axes.texts] == [text for line in matrix.texts for text in line]
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("downsample", "channels", "PSNR (dB) ↑")


def test_mistakes(grid: Path, curves: Path) -> None:
    table = rows([grid])
    with pytest.raises(UserError, match="--x and --y are both channels"):
        heatmaps(table, colour="psnr", x="channels", y="channels")
    with pytest.raises(UserError, match="--colour: unknown column 'pnsr'"):
        heatmaps(table, colour="pnsr")
    with pytest.raises(UserError, match="expected a column of numbers, and this one has 'kl-vae'"):
        heatmaps(table, colour="recipe")
    with pytest.raises(UserError, match=r"2 points of .*; tell them apart with --group dataset,channels"):
        heatmaps(table, colour="psnr", y="elements", group="dataset")
    with pytest.raises(UserError, match="no cell has a number in psnr and values of downsample and channels"):
        heatmaps(rows([curves]), colour="psnr")
