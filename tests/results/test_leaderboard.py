"""The leaderboard end to end. `UPDATE_GOLDEN=1 pytest ...` writes the golden files anew; read the difference."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from latentbench.results import groups, notes, pairwise
from latentbench.results.errors import UserError
from latentbench.results.headings import name_of
from latentbench.results.leaderboard import leaderboard, render, show
from latentbench.results.metric import Metric
from latentbench.results.rows import rows
from latentbench.results.store import Store

GOLDEN = Path(__file__).parent / "golden"
Add = Callable[..., dict[str, Any]]
FORMATS = ["md", "csv", "json", "latex", "html"]


@pytest.mark.parametrize("format", FORMATS)
def test_golden(folder: Path, format: str) -> None:
    text = leaderboard([folder], format=format).replace(str(folder), "OUT")
    path = GOLDEN / f"leaderboard.{format}"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def lines(text: str) -> list[list[str]]:
    """The cells of a Markdown table's lines."""
    output = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in [output[0], *output[2:]]]


def column(text: str, name: str) -> list[str]:
    head, *body = lines(text)
    return [line[head.index(name)] for line in body]


IMAGES = "modality=image"


def test_sort_orders_and_ranks(folder: Path) -> None:
    def names(sort: str | None) -> list[str]:
        return column(leaderboard([folder], where=IMAGES, sort=sort), "recipe")

    assert names(None) == names("psnr") == ["wide (kl-vae)", "kl-vae", "vq-vae"]
    assert names("-psnr") == ["vq-vae", "kl-vae", "wide (kl-vae)"]
    assert names("tsr") == ["wide (kl-vae)", "kl-vae", "vq-vae"]
    assert names("bits_per_sample") == ["vq-vae", "kl-vae", "wide (kl-vae)"]
    assert names("-recipe") == ["vq-vae", "kl-vae", "wide (kl-vae)"]
    assert names("rfd_encoder") == ["wide (kl-vae)", "kl-vae", "vq-vae"]
    # By Fréchet distance the first two differ by 2, -4 seed by seed: nothing can be said; the third has one seed
    # and no interval of its own, but is further off than the spread of the others explains.
    text = leaderboard([folder], where=IMAGES, sort="rfd_encoder")
    assert column(text, "rank") == ["1", "1", "3"]
    assert "No difference in rfd_encoder: #1 ~ #2." in text


def test_a_table_without_the_sort_metric_falls_back(folder: Path) -> None:
    text = leaderboard([folder], sort="psnr")
    assert "Rank by si_sdr ↑" in text


def test_columns(folder: Path) -> None:
    head = lines(leaderboard([folder], where=IMAGES, columns="rfd_*,topology, parameters"))[0]
    assert head == [
        "#",
        "rank",
        "P",
        "recipe",
        "bottleneck.beta",
        "seeds",
        "rFD encoder@64 ↓",
        "topology",
        "parameters",
        "PSNR (dB) ↑",
    ]
    every = {head for line in lines(leaderboard([folder], where=IMAGES, columns="all")) for head in line}
    assert {"TSR of the input", "positions", "memory", "training time (s)", "training FLOPs"} <= every
    assert len(json.loads(leaderboard([folder], format="json", columns=["cell", "psnr"]))[0]) == 2
    assert leaderboard([folder], format="csv", columns="cell,psnr", where="seed=0").splitlines()[:2] == [
        "cell,psnr",
        "small-0,20.0",
    ]


def test_pareto_front(folder: Path) -> None:
    assert column(leaderboard([folder], where=IMAGES), "P") == ["●", "●", "●"]
    assert "●: on the Pareto front of real_bits_per_pixel ↓ and psnr ↑ (means)." in leaderboard([folder])
    text = leaderboard([folder], where=IMAGES, pareto="elements,psnr")
    assert column(text, "P") == ["●", "●", ""]
    assert "●: on the Pareto front of elements ↓ and psnr ↑" in text
    output = json.loads(leaderboard([folder], format="json", pareto=["tsr", "psnr"], sort="-psnr"))
    assert [(row["cell"], row["pareto"]) for row in output[:3]] == [
        ("vq-0", False),
        ("small-0", True),
        ("small-1", True),
    ]


def test_rates_by_several_estimates_share_a_column_and_the_note_says_which(folder: Path) -> None:
    for columns in (None, "real_bits_per_pixel,tsr"):
        text = leaderboard([folder], where=IMAGES, columns=columns)
        assert column(text, "rate (bpp) ↓") == ["1.00±0.10", "0.500±0.050", "0.125±0.013"]  # none is bold
        assert "real_bits_per_pixel: #1–#2 entropy of values; #3 actual bytes of the stream; val split." in text
    assert "nominal" not in leaderboard([folder])
    assert column(leaderboard([folder], where=IMAGES, columns="bits_per_sample"), "nominal rate (bit)")
    alone = leaderboard([folder], where=["recipe=vq-vae", "seed=0"])
    assert "real_bits_per_pixel: actual bytes of the stream; val split." in alone


def test_json_rows_have_every_column_and_are_strict_json(folder: Path) -> None:
    output = json.loads(leaderboard([folder], format="json"), parse_constant=lambda name: pytest.fail(name))
    assert len({tuple(row) for row in output}) == 1
    assert output[-1]["psnr"] is None
    assert output[-1]["si_sdr"] == 9.5
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in output[0])


def test_csv_reads_back(folder: Path) -> None:
    output = list(csv.DictReader(io.StringIO(leaderboard([folder], format="csv"))))
    assert [float(row["psnr"]) for row in output if row["psnr"]] == [20.0, 25.0, 19.0, 20.2, 25.3, 20.4, 25.3]
    assert json.loads(output[0]["protocols"])["rfd_encoder"] == "encoder net, 64 against 64"


def two_protocols(tmp_path: Path, add: Add) -> Path:
    store = Store(tmp_path / "mixed")
    cells = []
    for name, protocol in (("a", "crop 64, N = 8"), ("b", "crop 64, N = 16")):
        metric = Metric(name="rfd_net", value=1.0, direction="lower", protocol=protocol, role="distribution")
        psnr = Metric(name="psnr", value=1.0, se=0.1, direction="higher", role="distortion")
        cells.append(add(store, name, metrics=[metric, psnr], recipe=name))
    store.write_suite("mixed", cells)
    return store.root


@pytest.mark.parametrize("format", ["md", "latex", "html"])
def test_protocols_are_not_mixed(tmp_path: Path, add: Add, format: str) -> None:
    root = two_protocols(tmp_path, add)
    with pytest.raises(UserError) as caught:
        leaderboard([root], format=format)
    assert str(caught.value) == (
        "mixed, photos: rfd_net has two protocols, 'crop 64, N = 8' (a) and 'crop 64, N = 16' (b), which must not be "
        "mixed; keep one with --where 'protocols.rfd_net=crop 64, N = 8'"
    )
    assert leaderboard([root], format=format, where="protocols.rfd_net=crop 64, N = 8")
    assert leaderboard([root], format=format, columns=["psnr"])


def test_what_nobody_asked_for_is_left_out_where_protocols_differ(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path / "codes")
    cells = []
    for name, protocol in (("a", "256 codes"), ("b", "1024 codes")):
        metrics = [Metric(name="psnr", value=1.0, direction="higher", role="distortion")]
        metrics += [Metric(name="codebook_use", value=0.5, direction="higher", protocol=protocol, role="latents")]
        cells.append(add(store, name, metrics=metrics, recipe=name))
    store.write_suite("s", cells)
    for columns in (None, "all"):
        text = leaderboard([store.root], columns=columns)
        assert not any("codebook use" in name for name in lines(text)[0])
        assert "Left out, since their protocols differ between lines: codebook_use" in text
    for options in ({"columns": "codebook_use"}, {"sort": "codebook_use"}, {"pareto": "tsr,codebook_use"}):
        with pytest.raises(UserError, match="codebook_use has two protocols"):
            leaderboard([store.root], **options)
    assert "codebook use ↑" in lines(leaderboard([store.root], where="recipe=a"))[0]


def test_csv_without_its_protocols_does_not_mix_them(tmp_path: Path, add: Add) -> None:
    root = two_protocols(tmp_path, add)
    with pytest.raises(UserError, match="rfd_net has two protocols"):
        leaderboard([root], format="csv", columns="cell,rfd_net")
    for columns in (None, "cell,rfd_net,protocols"):
        assert "crop 64, N = 16" in leaderboard([root], format="csv", columns=columns)


def test_json_keeps_both_protocols_beside_their_values(tmp_path: Path, add: Add) -> None:
    output = json.loads(leaderboard([two_protocols(tmp_path, add)], format="json"))
    assert [row["protocols"]["rfd_net"] for row in output] == ["crop 64, N = 8", "crop 64, N = 16"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "yaml"}, "unknown format 'yaml'"),
        ({"format": "htm"}, "unknown format 'htm'; did you mean 'html'?"),
        ({"sort": "pnsr"}, "sort: unknown column 'pnsr'; did you mean 'psnr'?"),
        ({"sort": "pnsr", "format": "csv"}, "sort: unknown column 'pnsr'; did you mean 'psnr'?"),
        ({"columns": "psnr,sim"}, "unknown column 'sim'"),
        ({"columns": "gfd_*", "format": "json"}, "unknown column 'gfd_*'"),
        ({"where": ["modality:image"]}, "filter 'modality:image': write <column><operator><value>"),
        (
            {"pareto": "bits_per_sampel,psnr"},
            "Pareto front: unknown column 'bits_per_sampel'; did you mean 'bits_per_sample'?",
        ),
        ({"pareto": "psnr"}, "Pareto front: 'psnr' alone has no front"),
        ({"pareto": "seed,elements"}, "Pareto front: of 'seed' no direction is better"),
    ],
)
def test_bad_options_are_one_line(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        leaderboard([folder], **options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_suite_without_cells(tmp_path: Path) -> None:
    Store(tmp_path).write_suite("s", [])
    with pytest.raises(UserError, match="there is no cell to show"):
        leaderboard([tmp_path])


@pytest.mark.parametrize("name", ["=x", ">=3", "~a", "a=b", "suite=x", "[/x]"])
def test_a_suite_is_chosen_by_its_name_whatever_that_looks_like(tmp_path: Path, add: Add, name: str) -> None:
    store = Store(tmp_path)
    for suite in (name, "x"):
        store.write_suite(suite, [add(store, "c", metrics=[Metric(name="psnr", value=1.0)])])
    assert {row["suite"] for row in json.loads(leaderboard([tmp_path], format="json", suite=name))} == {name}


def test_two_runs_of_a_suite_are_not_one(tmp_path: Path, add: Add) -> None:
    roots = []
    for name in ("one", "two"):
        store = Store(tmp_path / name)
        cell = add(store, name, metrics=[Metric(name="psnr", value=1.0, direction="higher")])
        store.write_suite("s", [{**cell, "cell": "c"}])
        roots.append(store.root)
    with pytest.raises(UserError, match=r"c of 's' is in .*one and in .*two with different jobs"):
        leaderboard(roots)
    assert leaderboard(roots, where=f"source={roots[0]}")
    assert len(json.loads(leaderboard(roots, format="json"))) == 2


EVIL = "<script>alert(1)</script>|\"&' $x_{\\y}# %\n"


@pytest.fixture
def evil(tmp_path: Path, add: Add) -> Path:
    store = Store(tmp_path / "evil")
    cells = []
    for seed in (0, 1):
        metric = Metric(name="psnr", value=1.0 + seed, direction="higher", protocol=EVIL)
        axes = {"bottleneck.kind": EVIL, EVIL: 1}
        cells.append(add(store, "x", metrics=[metric], label=EVIL, dataset="d", axes=axes, seed=seed))
    cells.append(add(store, "y", metrics=[], axes={"bottleneck.kind": "b"}, failed=True, dataset="d"))
    store.write_suite(EVIL, cells)
    return store.root


class Page(HTMLParser):
    """Collects a page's tags and text, and checks that every tag is closed in its order."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_whole_and_needs_nothing_from_outside(folder: Path) -> None:
    text = leaderboard([folder], format="html")
    output = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert [tag for tag, _ in output.tags].count("table") == 2
    assert not [attrs for _, attrs in output.tags if "src" in attrs or "href" in attrs]
    assert not re.search(r"https?://|@import|url\(", text)
    values = [attrs.get("data-value") for tag, attrs in output.tags if tag == "td"]
    assert "25.2" in values


def test_html_escapes(evil: Path) -> None:
    output = Page(leaderboard([evil], format="html"))
    assert [tag for tag, _ in output.tags].count("script") == 1
    assert "<script>alert(1)</script>|\"&' $x_{\\y}# %" in output.text
    assert "alert(1)" not in [attrs for tag, attrs in output.tags if tag == "script"]


def test_latex_escapes_and_balances(evil: Path, folder: Path) -> None:
    for root in (evil, folder):
        text = leaderboard([root], format="latex")
        bare = re.sub(r"\\[\\{}$&#%_]", "", text)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        shown = re.sub(r"^% ", "", text, flags=re.MULTILINE).partition(r"\begin{table}")[2]  # without comments' marks
        assert not re.search(r"(?<!\\)[#%<>|]", shown)
        assert not re.search(r"[^\x00-\x7f]", text)
        for environment in ("table", "tabular", "minipage"):
            assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") > 0
        for spec, body in re.findall(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}(.*?)\\end\{tabular\}", text, re.DOTALL):
            ends = [line for line in body.splitlines() if line.endswith(r"\\")]
            assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in ends} == {len(spec)}


def test_markdown_escapes(evil: Path) -> None:
    text = leaderboard([evil], format="md")
    table = [line for line in text.splitlines() if line.startswith("|")]
    pieces = [list(group) for _, group in itertools.groupby(text.splitlines(), lambda line: line.startswith("|"))]
    pieces = [piece for piece in pieces if piece[0].startswith("|")]
    assert sum(len(piece) for piece in pieces) == len(table)
    for piece in pieces:
        assert len(piece) == 4
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in piece}) == 1
    assert "<script" not in text


def test_the_default_table_fits_a_terminal(tmp_path: Path, add: Add) -> None:
    names = ["psnr", "ssim", "lpips", "rfid", "rfd_mobilenet_v2", "rfd_encoder", "gfid", "gfd_mobilenet_v2"]
    names += ["gfd_encoder", "gkid", "gkd_encoder", "nll_bits", "viv", "high_frequency_share_25", "effective_rank"]
    store = Store(tmp_path / "wide")
    cells = []
    for name in ("first", "second"):
        for seed in range(3):
            metrics = [Metric(name=metric, value=20.0 + seed, direction="higher") for metric in names]
            cells.append(add(store, name, metrics=metrics, recipe=name, seed=seed))
    store.write_suite("wide", cells)
    text = leaderboard([store.root])
    assert max(len(line) for line in text.splitlines()) <= 200
    pieces = [line for line in lines(text) if line[0] == "#"]
    assert len(pieces) > 1
    assert {f"{name_of(name)} ↑" for name in names} <= {head for piece in pieces for head in piece}
    assert all("recipe" in piece for piece in pieces)


def test_many_lines_are_grouped(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path / "many")
    cells = []
    for i in range(6):
        metric = Metric(name="psnr", value=float(i), interval=(i - 1.0, i + 1.0), direction="higher")
        cells.append(add(store, f"c{i}", metrics=[metric], axes={"channels": i}))
    store.write_suite("many", cells)
    text = " ".join(leaderboard([store.root]).split())
    assert "6 of 15 pairs of lines differ." in text
    assert "No difference in psnr: #1 #2 #3; #2 #3 #4; #3 #4 #5; #4 #5 #6." in text


def test_a_table_of_more_lines_than_anybody_reads_has_neither_ranks_nor_bests(
    tmp_path: Path, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "many")
    cells = []
    for i in range(120):
        metric = Metric(name="psnr", value=float(i), interval=(i - 1.0, i + 1.0), direction="higher")
        cells.append(add(store, f"c{i}", metrics=[metric], axes={"channels": i}))
    store.write_suite("many", cells)
    text = " ".join(leaderboard([store.root]).split())
    assert "Which pairs differ is told of up to 100 lines; keep fewer with --where." in text
    assert "| rank |" in text
    assert "**119.0**±1.0" in text
    for module in (pairwise, groups, notes):
        monkeypatch.setattr(module, "MOST", 100)
    text = " ".join(leaderboard([store.root]).split())
    assert "More than 100 lines are not compared: no rank, no best; keep fewer with --where." in text
    assert "| rank |" not in text
    assert "No interval is known" not in text
    assert "119.0±1.0" in text
    assert "**" not in text


def test_too_many_groups_are_told_pair_by_pair(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path / "more")
    cells = []
    for i in range(30):
        metric = Metric(name="psnr", value=float(i), interval=(i - 1.0, i + 1.0), direction="higher")
        cells.append(add(store, f"c{i}", metrics=[metric], axes={"channels": i}))
    store.write_suite("more", cells)
    text = " ".join(leaderboard([store.root]).split())
    assert "Differ by psnr: #1 from #4–#30; #2 from #5–#30;" in text
    assert "#26 from #29–#30; #27 from #30. No other pair differs." in text


def test_render_takes_rows(folder: Path) -> None:
    assert render(rows([folder])) == leaderboard([folder])


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_gets_tables_of_its_width(folder: Path, width: int) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system="standard")
    show([folder], console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]
    assert max(map(len, lines)) <= width
    assert sum("wide (kl-vae)" in line and "1" in line.split()[0] for line in lines) == 1
    assert re.search(r"\x1b\[1m *25\.20?±0\.43?", text)  # the best is bold, to one digit on a narrow terminal


def test_what_a_net_is_blind_to_stands_once_below_the_table(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path)
    fields = {"value": 2.0, "direction": "lower", "role": "generation"}
    metrics = [Metric(name=name, blind_to="colour", **fields) for name in ("gfd_a", "gkd_a")]  # type: ignore[arg-type]
    metrics += [Metric(name="gfd_b", blind_to="order", **fields), Metric(name="gfd_c", **fields)]  # type: ignore[arg-type]
    store.write_suite("s", [add(store, "one", metrics=metrics), add(store, "two", metrics=metrics)])
    page = leaderboard([tmp_path])
    assert page.count("Nearly blind to colour: gfd_a, gkd_a.") == 1
    assert page.count("Nearly blind to") == 2
    assert "Nearly blind to order: gfd_b." in page
    assert "colour" not in leaderboard([tmp_path], columns="gfd_b,gfd_c", sort="gfd_b")


def shown(folder: Path, width: int = 80, **options: Any) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True)
    show([folder], console, **options)
    return console.export_text().splitlines()


def test_eighty_columns_have_what_decides(tmp_path: Path, add: Add) -> None:
    """Keys, rank, TSR, rate, distortion, distance of samples and modelability; the others are named below."""
    store = Store(tmp_path)
    roles = {"psnr": "distortion", "ssim": "distortion", "rfd_inception": "distribution"}
    roles |= {"gfd_inception": "generation", "gkd_inception": "generation", "viv": "modelability"}
    metrics = [
        Metric(name=name, value=20.0, se=0.1, direction="higher", role=role, protocol="a long protocol " * 20)  # type: ignore[arg-type]
        for name, role in roles.items()
    ]
    metrics.append(Metric(name="real_bits_per_pixel", value=2.0, direction="lower", role="rate", shown="first"))
    names = ["kl-vae", "a label of one's own, rather long"]
    store.write_suite("s", [add(store, name, metrics=metrics, recipe="kl-vae", label=name) for name in names])
    lines = shown(tmp_path)
    assert max(map(len, lines)) <= 80
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("Ranked by"))]
    head = " ".join(table[:8])
    for word in ("rank", "recipe", "TSR", "rate (bpp)", "PSNR", "gFD", "VIV"):
        assert word in head, word
    assert "gKD" not in head
    assert sum(line.startswith("#") or "rank" in line for line in table) == 1  # it does not continue below itself
    text = " ".join(" ".join(lines).split())
    hidden = re.search(r"Not shown: (.*?) \(--wide shows all", text)
    assert hidden is not None
    assert "ssim" in hidden[1]
    assert re.search(r"(a|long|protocol) … ", text)
    assert text.count("protocol") < 40
    marks = re.findall(r"^ *([⁰¹²³⁴⁵⁶⁷⁸⁹]+) ", "\n".join(lines), flags=re.MULTILINE)
    assert marks == ["¹", "²", "³"]  # of PSNR, gFD and VIV
    assert all(mark in head for mark in marks)
    wide = " ".join(" ".join(shown(tmp_path, wide=True)).split())
    assert "Not shown" not in wide
    assert "gKD" in wide
    assert "…" not in wide
    chosen = " ".join(" ".join(shown(tmp_path, columns="viv")).split())
    assert "VIV" in chosen
    assert "Not shown" not in chosen


def test_notes_are_full_short_or_none(folder: Path) -> None:
    protocol = "mean of per-image PSNR, uint8 rounding"
    full, short, none = (leaderboard([folder], notes=notes) for notes in ("full", "short", "none"))
    assert full == leaderboard([folder])
    assert "1 + the number of lines that are better" in " ".join(full.split())
    assert "1 + the number" not in short
    assert short.count(protocol) == 1
    assert short.index(protocol) > short.index("demo · sounds")  # once, after all tables
    assert "Not finished: #3 vq-vae, seed 2: missing." in short
    assert not re.search("^- ", none, flags=re.MULTILINE)
    assert protocol not in none
    assert protocol in leaderboard([folder], format="html", notes="short")
    with pytest.raises(UserError, match="--notes: unknown choice of notes 'ful'; did you mean 'full'"):
        leaderboard([folder], notes="ful")


def test_a_label_cannot_move_a_terminals_cursor(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path)
    label = "[/red]\x1b[2J\u202e[link=http://x]"
    store.write_suite("s", [add(store, "c", metrics=[Metric(name="psnr", value=1.0)], label=label)])
    console = Console(width=200, file=io.StringIO(), force_terminal=True)
    show([store.root], console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[/red]\ufffd[2J\ufffd[link=http://x]" in text
