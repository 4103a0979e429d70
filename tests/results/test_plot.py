"""What a plot shows: lines, points and intervals as the table has them, and one line for every mistake."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.plot import plot
from latentbench.results.plots.panels import Panel, panels
from latentbench.results.rows import rows
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]
SVG = "{http://www.w3.org/2000/svg}"


def texts(path: Path) -> list[str]:
    """All text of an SVG."""
    return ["".join(node.itertext()).strip() for node in ElementTree.parse(path).iter(f"{SVG}text")]


def drawn(folder: Path, **options: Any) -> dict[str, Panel]:
    return {panel.title: panel for panel in panels(rows([folder]), **options)}


def gfd_metric(value: float, protocol: str) -> Metric:
    places: dict[str, Any] = {"direction": "lower", "unit": "u", "role": "distribution"}
    return Metric(name="gfd_encoder", value=value, n=256, protocol=protocol, **places)


@pytest.fixture
def budgets(tmp_path: Path, add: Add) -> Path:
    """Two labels at three budgets of FLOPs with two seeds each, and one of them with two priors at each budget."""
    store = Store(tmp_path / "out")
    cells = []
    for label, priors in (("pixels", ["flow"]), ("latents", ["flow", "mar"])):
        for prior in priors:
            for i, flops in enumerate((1e9, 1e10, 1e11)):
                for seed in (0, 1):
                    value = 10.0 - i + seed + (prior == "mar")
                    gfd = Metric(
                        name="gfd_encoder",
                        value=value,
                        n=256,
                        direction="lower",
                        unit="u",
                        protocol="the protocol",
                        role="distribution",
                    )
                    cell = add(
                        store,
                        f"{label}-{prior}-{i}",
                        metrics=[gfd],
                        label=label,
                        axes={"prior.name": prior, "prior.training.flops": flops},
                        seed=seed,
                        discrete=False,
                    )
                    cells.append(cell)
    store.write_suite("curves", cells)
    return store.root


def test_points_are_means_with_student_s_interval_over_seeds(budgets: Path) -> None:
    (panel,) = drawn(budgets, x="prior_training_flops", y="gfd_encoder", group="label,prior_name").values()
    assert panel.title == "curves · photos (image)"
    assert [line.label for line in panel.lines] == [
        "pixels, prior name flow",
        "latents, prior name flow",
        "latents, prior name mar",
    ]
    line = panel.lines[2]
    assert [point.x for point in line.points] == [1e9, 1e10, 1e11]
    assert [point.y.value for point in line.points] == [11.5, 10.5, 9.5]
    # two seeds that differ by 1: t(1) = 12.706 standard errors of 1/2
    half = 12.7062047 * math.sqrt(0.5) / math.sqrt(2)
    assert line.points[0].y.low == pytest.approx(11.5 - half)
    assert line.points[0].y.high == pytest.approx(11.5 + half)
    assert panel.y_label == "gFD encoder@256 (u) ↓"
    assert panel.x_label == "prior training FLOPs"
    assert panel.notes == ("gfd_encoder: the protocol", "bars: 95 % interval over 2 seeds")


def test_one_seed_has_the_interval_within_its_run(folder: Path) -> None:
    panel = drawn(folder, x="tsr", y="si_sdr", group="cell")["demo · sounds (waveform)"]
    estimate = next(line for line in panel.lines if line.label == "sound-a-0").points[0].y
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (8.0, 7.0, 9.0, 1)


@pytest.mark.slow
def test_a_svg_has_its_words_as_text(budgets: Path, tmp_path: Path) -> None:
    path = plot(
        [budgets], x="prior_training_flops", y="gfd_encoder", group="label,prior_name", out=tmp_path / "plot.svg"
    )
    labels = texts(path)
    for text in (
        "gFD encoder@256 (u) ↓",
        "prior training FLOPs",
        "latents, prior name mar",
        "curves · photos (image)",
        "gfd_encoder: the protocol",
        "bars: 95 % interval over 2 seeds",
    ):
        assert text in labels
    again = plot(
        [budgets], x="prior_training_flops", y="gfd_encoder", group="label,prior_name", out=tmp_path / "again.svg"
    )
    assert again.read_bytes() == path.read_bytes()


def test_points_stand_where_they_belong(budgets: Path, tmp_path: Path) -> None:
    """Three budgets, each ten times the last, at equal distances: the axis is logarithmic unless it is told not to."""

    def places(log: str) -> list[float]:
        path = plot(
            [budgets],
            x="prior_training_flops",
            y="gfd_encoder",
            where="label=pixels",
            log=log,
            out=tmp_path / f"{log}.svg",
        )
        lines = [node.get("d", "") for node in ElementTree.parse(path).iter(f"{SVG}path")]
        (curve,) = {d for d in lines if len(re.findall(r"[ML] ", d)) == 3 and "z" not in d}
        return [float(x) for x in re.findall(r"[ML] ([\d.]+)", curve)]

    a, b, c = places("auto")
    assert c - b == pytest.approx(b - a, rel=1e-3)
    a, b, c = places("none")
    assert (c - b) / (b - a) == pytest.approx(10, rel=1e-2)


@pytest.mark.parametrize(
    ("values", "logarithmic"), [((1.0, 10.0, 100.0), True), ((1.0, 5.0, 25.0), False), ((-1.0, 9.0, 99.0), False)]
)
def test_wide_spans_are_logarithmic(tmp_path: Path, add: Add, values: tuple[float, ...], logarithmic: bool) -> None:
    """Positive values that span a factor of 30 stand at the distances of their logarithms, others at their own."""
    store = Store(tmp_path / "out")
    cells = []
    for i, value in enumerate(values):
        metric = Metric(
            name="gfd_encoder", value=value, n=256, direction="lower", unit="u", protocol="p", role="distribution"
        )
        cells.append(add(store, f"cell-{i}", metrics=[metric], label="a", axes={"channels": i}, discrete=False))
    store.write_suite("spans", cells)
    path = plot([store.root], x="channels", y="gfd_encoder", out=tmp_path / "plot.svg")
    lines = [node.get("d", "") for node in ElementTree.parse(path).iter(f"{SVG}path")]
    (curve,) = {d for d in lines if len(re.findall(r"[ML] ", d)) == 3 and "z" not in d}
    low, middle, high = (-float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", curve))
    expected = [math.log(v) if logarithmic else v for v in values]
    assert (high - middle) / (middle - low) == pytest.approx(
        (expected[2] - expected[1]) / (expected[1] - expected[0]), rel=1e-2
    )


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_other_formats(folder: Path, tmp_path: Path, suffix: str) -> None:
    path = plot([folder], x="tsr", y="psnr", where="modality=image", out=tmp_path / f"plot.{suffix}")
    assert path.read_bytes().startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[suffix])


def test_a_panel_per_data_set(folder: Path, tmp_path: Path) -> None:
    assert list(drawn(folder, x="tsr", y="seconds")) == ["demo · photos (image)", "demo · sounds (waveform)"]
    assert list(drawn(folder, x="tsr", y="psnr")) == ["demo · photos (image)"]
    assert drawn(folder, x="tsr", y="seconds")["demo · photos (image)"].y_label == "time (s)"
    labels = texts(plot([folder], x="tsr", y="seconds", out=tmp_path / "plot.svg"))
    assert {"demo · photos (image)", "demo · sounds (waveform)"} <= set(labels)


def test_folders_are_made_and_a_failed_drawing_leaves_the_old_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figures" / "plot.png"
    assert plot([folder], x="tsr", y="psnr", out=path) == path
    before = path.read_bytes()

    def interrupted(figure: Figure, file: Path, **options: object) -> None:
        Path(file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plot([folder], x="tsr", y="psnr", out=path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["plot.png"]


def test_the_default_file(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert plot([folder], x="tsr", y="psnr") == Path("psnr-over-tsr.svg")
    assert (tmp_path / "psnr-over-tsr.svg").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "tsrr"}, "--x: unknown column 'tsrr'; did you mean 'tsr'?"),
        ({"y": "pnsr"}, "--y: unknown column 'pnsr'; did you mean 'psnr'?"),
        ({"group": "label,recip"}, "--group: unknown column 'recip'; did you mean 'recipe'?"),
        ({"x": "recipe"}, "--x recipe: expected a column of numbers, and this one has 'kl-vae'"),
        ({"log": "both"}, "--log: unknown choice of logarithmic axes 'both'; known: auto, none, x, xy, y"),
        ({"out": "plot.jpg"}, "--out plot.jpg: the file's name must end in .png, .svg, .pdf"),
        ({"out": f"{__file__}/plot.svg"}, f"cannot write {__file__}/plot.svg: "),
        (
            {"kind": "pie"},
            "--kind: unknown kind of plot 'pie'; did you mean 'lines'?",
        ),
        ({"style": "poster"}, "--style: unknown style 'poster'; did you mean 'paper'?"),
        ({"kind": "bars"}, "--kind bars has no use for --x; it takes --y, --group, --log"),
        ({"kind": "heatmap"}, "--kind heatmap: name a column with --colour, as in --colour psnr"),
        ({"y": None}, "--kind lines: name a column with --y, as in --y psnr"),
        ({"x": "prior_flops"}, "no cell has a number in both prior_flops and psnr"),
        ({"group": "dataset"}, "2 points of 'photos' lie at tsr = 12; tell them apart with --group dataset,recipe"),
    ],
)
def test_mistakes(folder: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        plot([folder], **{"x": "tsr", "y": "psnr", "out": tmp_path / "x.svg"} | options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_points_of_one_place_name_all_that_tells_them_apart(budgets: Path) -> None:
    with pytest.raises(UserError, match=r"--group label,prior_training_flops$"):
        drawn(budgets, x="tsr", y="gfd_encoder", group="label")
    with pytest.raises(UserError, match=r"2 points of 'latents' .*--group label,prior_name$"):
        drawn(budgets, x="prior_training_flops", y="gfd_encoder")


def test_two_protocols_are_not_drawn_in_one(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path / "out")
    cells = [
        add(store, name, metrics=[Metric(name="psnr", value=1.0, n=1, direction="higher", protocol=name)], label=name)
        for name in ("a", "b")
    ]
    store.write_suite("mixed", cells)
    with pytest.raises(UserError, match="psnr has two protocols"):
        panels(rows([store]), x="tsr", y="psnr")


# As they stand in a suite's file, which can hold no NUL.
LABELS = [
    *(r"$\frac{$", "$$", r"$\badcommand$", "x$_$", "$x^2$", r"\$5", "_hidden", "__", "[/red]", "a & b < c > d"),
    *("\x1b[2J", "a\x01b", "\u202egnp", "中文 😀", "tab\there", "line\nbreak", "word " * 60),
]


@pytest.fixture
def hostile(tmp_path: Path, add: Add) -> Path:
    """A run with a line for each of the labels, whose metric has such a protocol too."""
    store = Store(tmp_path / "out")
    metrics = [gfd_metric(1.0, "$\\frac{$ \x1b[2J")]
    store.write_suite("$\\x$", [add(store, f"c{i}", metrics=metrics, label=name) for i, name in enumerate(LABELS)])
    return store.root


@pytest.mark.parametrize("suffix", [".svg", ".png", pytest.param(".pdf", marks=pytest.mark.slow)])
def test_labels_of_any_sort_are_drawn(hostile: Path, tmp_path: Path, suffix: str, recwarn: Any) -> None:
    path = plot([hostile], x="bits_per_sample", y="gfd_encoder", out=tmp_path / f"p{suffix}")
    assert path.stat().st_size > 10_000
    assert not recwarn.list
    if suffix == ".svg":
        shown = texts(path)
        for label in (r"$\frac{$", "$$", r"$\badcommand$", "x$_$", "$x^2$", r"\$5", "_hidden", "__", "[/red]"):
            assert label in shown
        assert all(text.isprintable() for text in shown)
        assert r"$\x$ · photos (image)" in shown


@pytest.mark.slow
def test_nobody_s_matplotlibrc_is_obeyed(folder: Path, tmp_path: Path) -> None:
    ours = plot([folder], x="bits_per_sample", y="psnr", out=tmp_path / "ours.svg", where="modality=image").read_bytes()
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 30\n")
    code = (
        "from latentbench.results.plot import plot\n"
        f"plot([{str(folder)!r}], x='bits_per_sample', y='psnr', out='theirs.svg', where='modality=image')"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "theirs.svg").read_bytes() == ours


def test_the_real_rate_is_across_unless_told(folder: Path, tmp_path: Path) -> None:
    (panel,) = drawn(folder, y="psnr").values()  # the sounds have neither
    assert panel.x_label == "rate (bpp) ↓"
    assert [(line.label, [p.x for p in line.points]) for line in panel.lines] == [
        ("kl-vae", [0.5]),
        ("wide", [1.0]),
        ("vq-vae", [0.125]),
    ]
    # rates by two estimates stand on one axis, and the picture says which is whose
    assert panel.notes[1] == (
        "real_bits_per_pixel: entropy of values; val split (kl-vae, wide (kl-vae)); "
        "actual bytes of the stream; val split (vq-vae)"
    )
    assert plot([folder], y="psnr", where="modality=image", out=tmp_path / "p.svg").exists()
    with pytest.raises(UserError, match="no cell has a number in si_sdr and a real rate; name another column with --x"):
        plot([folder], y="si_sdr")


def test_what_has_no_rate_is_named_not_dropped(tmp_path: Path, add: Add) -> None:
    psnr = Metric(name="psnr", value=1.0, direction="higher", role="distortion")
    rate = Metric(name="real_bits_per_pixel", value=1.0, direction="lower", role="rate", shown="first")
    store = Store(tmp_path)
    store.write_suite("s", [add(store, "a", metrics=[psnr, rate]), add(store, "b", metrics=[psnr], label="bare")])
    (panel,) = drawn(tmp_path, y="psnr").values()
    assert "not drawn, without a value of real_bits_per_pixel: bare (kl-vae)" in panel.notes


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"kind": "bars", "y": "psnr"}, "psnr-bars.svg"),
        ({"kind": "rate-distortion"}, "rate-distortion.svg"),
        ({"kind": "heatmap", "colour": "psnr", "y": "tsr"}, "psnr-heatmap.svg"),
        ({"kind": "correlation", "y": "psnr,tsr,real_bits_*"}, "correlation.svg"),
    ],
)
def test_each_kind_has_a_file_of_its_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if options["kind"] == "correlation":
        with pytest.raises(UserError, match="no table has two columns"):  # three lines
            plot([folder], **options)
        return
    assert plot([folder], where="modality=image", **options) == Path(name)
    assert texts(Path(name))


def test_a_logarithmic_axis_has_plain_numbers(folder: Path, tmp_path: Path) -> None:
    path = plot([folder], y="psnr", where="modality=image", log="x", out=tmp_path / "p.svg")
    labels = texts(path)
    assert {"0.25", "0.5", "1"} <= set(labels)
    assert not any("$" in label for label in labels)
