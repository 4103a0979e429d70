"""Quality by frame: lines over the clip, dotted where a latent position ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.plot import plot
from latentbench.results.plots.frames import ends_of_positions, frame_panels
from latentbench.results.plots.lines import draw_lines
from latentbench.results.plots.style import STYLES
from latentbench.results.rows import rows
from latentbench.results.store import Store

FRAMES = 9
Add = Callable[..., dict[str, Any]]


@pytest.fixture
def clips(tmp_path: Path, add: Add) -> Path:
    """A causal tokenizer of clips with two seeds, a codec whose stream has no frames, one of images."""
    store = Store(tmp_path / "clips")
    psnr = [Metric(name="psnr", value=30.0, n=8, unit="dB", direction="higher", role="distortion", shown="first")]
    cells = []
    for label, downsample, topology in (("causal", "4", "grid"), ("h264", "1", "sequence")):
        for seed in (0, 1):
            spec = {"downsample": downsample, "topology": topology, "modality": "video"}
            cells.append(add(store, label, metrics=psnr, label=label, seed=seed, **spec))
            record = store.load("reconstruction", f"{label}-{seed}")
            assert record is not None
            by_frame = [30.0 + frame + 2 * seed for frame in range(FRAMES)]
            store.save(replace(record, extra={"psnr_by_frame": by_frame, "ssim_by_frame": [0.5] * FRAMES}))
    cells.append(add(store, "image", metrics=psnr, label="image"))
    store.write_suite("clips", cells)
    return store.root


@pytest.mark.parametrize(
    ("downsample", "frames", "expected"),
    [
        ("4", 12, (4, 8)),
        ("4", 9, (1, 5)),
        ("5x4x4", 25, (5, 10, 15, 20)),
        ("1x4x4", 3, (1, 2)),
        ("4", 4, ()),
        ("4", 11, ()),
    ],
)
def test_positions_end_where_the_metrics_of_seams_have_them(
    downsample: str, frames: int, expected: tuple[int, ...]
) -> None:
    assert ends_of_positions(downsample, frames) == expected


def test_a_line_is_the_mean_over_seeds_at_each_frame(clips: Path) -> None:
    (panel,) = frame_panels(rows([clips]))
    assert [line.label for line in panel.lines] == ["causal", "h264"]
    causal, codec = panel.lines
    assert [point.x for point in causal.points] == [*range(1, FRAMES + 1)]
    assert [point.y.value for point in causal.points] == [31.0 + frame for frame in range(FRAMES)]
    half = causal.points[0].y.half
    assert half == pytest.approx(12.706, abs=0.01)  # Student's of two seeds, a standard error of one dB
    assert causal.ends == (1, 5)
    assert codec.ends == ()
    assert panel.y_label == "PSNR (dB) ↑"


def test_lines_are_solid_inside_positions_alone(clips: Path) -> None:
    (axes,) = draw_lines(frame_panels(rows([clips])), (False, False), STYLES["paper"], references=True).axes
    solid = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 0]
    drawn = [tuple(map(float, line.get_xdata())) for line in solid]
    assert [places for places in drawn if len(places) < FRAMES] == [(1,), (2, 3, 4, 5), (6, 7, 8, 9)]
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [len(line.get_xdata()) for line in dotted] == [FRAMES]


def test_the_command_names_what_there_is(clips: Path, tmp_path: Path, curves: Path) -> None:
    path = plot([clips], kind="frames", y="ssim", out=tmp_path / "a.svg")
    assert path.read_text().count("causal") >= 1
    with pytest.raises(UserError, match="did you mean 'psnr'"):
        plot([clips], kind="frames", y="pnsr", out=tmp_path / "b.svg")
    with pytest.raises(UserError, match="no record here has a metric by frame"):
        plot([curves], kind="frames", out=tmp_path / "b.svg")
    with pytest.raises(UserError, match="--kind frames has no use for --x"):
        plot([clips], kind="frames", x="tsr", out=tmp_path / "b.svg")
