"""LaTeX as papers use it: it compiles with any engine, and a table is as wide as the page's column."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.results.leaderboard import leaderboard
from latentbench.results.metric import Metric
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]
ENGINE = next((name for name in ("pdflatex", "tectonic", "xelatex", "lualatex") if shutil.which(name)), None)


@pytest.fixture
def papers(tmp_path: Path, add: Add) -> Path:
    """A run with many metrics, long protocols in every sign that ours have, and hostile labels."""
    names = ["psnr", "ssim", "lpips", "rfd_scattering", "gfd_scattering", "gkd_scattering", "flow_loss", "viv"]
    roles = ["distortion"] * 3 + ["distribution"] * 3 + ["prior", "modelability"]
    store = Store(tmp_path / "run")
    cells = []
    protocol = '(Σλ)² / Σλ², (π/2) mean √λ; ±5 %, x → y, ≥ 1, é Ł 中文 😀 “quoted” "straight" _^~#&$ \\input{x}'
    for label in ("kl-vae", "\\input{x} $ %c #1_^~&", "中文 µ ½ –"):
        for seed in range(3):
            metrics = [
                Metric(name=name, value=20.123 + seed, direction="higher", protocol=protocol, n=256, role=role)  # type: ignore[arg-type]
                for name, role in zip(names, roles, strict=True)
            ]
            metrics.append(Metric(name="real_bits_per_pixel", value=0.25, direction="lower", role="rate", n=256))
            cells.append(add(store, f"{label[:2]}", metrics=metrics, recipe="vae", label=label, seed=seed))
    store.write_suite("paper & co", cells)
    return store.root


def widths(text: str) -> list[int]:
    return [len(spec) for spec in re.findall(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", text)]


def test_a_table_has_the_columns_that_decide_and_named_ones_continue_below(papers: Path) -> None:
    one, two = (leaderboard([papers], format="latex", latex_columns=n) for n in (1, 2))
    assert len(widths(one)) == len(widths(two)) == 1
    assert widths(one)[0] > widths(two)[0] > 4
    assert "PSNR" in two
    every = leaderboard([papers], format="latex", columns="all", latex_columns=2)
    assert len(widths(every)) > 2
    assert "gKD" in every
    assert "gKD" not in two
    with pytest.raises(UserError, match="1 or 2"):
        leaderboard([papers], format="latex", latex_columns=3)


def test_how_columns_were_measured_is_a_comment(papers: Path) -> None:
    text = leaderboard([papers], format="latex")
    comments = [line for line in text.splitlines() if line.startswith("% ")]
    assert any(line.startswith("% psnr: n = 256") for line in comments)
    assert not any("half of the 95" in line for line in comments)  # readers need that: it stands below the table
    assert "half of the 95" in text


@pytest.mark.slow
@pytest.mark.skipif(ENGINE is None, reason="no LaTeX engine is installed")
@pytest.mark.parametrize("page_columns", [1, 2])
@pytest.mark.parametrize("options", [{}, {"columns": "all"}, {"notes": "full"}], ids=["default", "all", "full"])
def test_it_compiles_and_fits(papers: Path, tmp_path: Path, options: dict[str, str], page_columns: int) -> None:
    assert ENGINE is not None
    table = leaderboard([papers], format="latex", latex_columns=page_columns, **options)  # type: ignore[arg-type]
    setting = "[twocolumn]" if page_columns == 2 else ""
    head = f"\\documentclass{setting}{{article}}\n\\usepackage{{booktabs}}\n"
    paper = f"{head}\\begin{{document}}\n{table}\\end{{document}}\n"
    (tmp_path / "paper.tex").write_text(paper)
    # no shell escape: labels may hold anything
    arguments = ["--untrusted"] if ENGINE == "tectonic" else ["-no-shell-escape", "-interaction=nonstopmode"]
    done = subprocess.run([ENGINE, *arguments, "paper.tex"], cwd=tmp_path, capture_output=True, timeout=300)
    log = (tmp_path / "paper.log").read_text(errors="replace") if ENGINE != "tectonic" else done.stderr.decode()
    assert not re.search(r"^! .*", log, flags=re.MULTILINE)
    assert (tmp_path / "paper.pdf").stat().st_size > 5000
    too_wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\) (?!has)", log)]
    assert max(too_wide, default=0.0) < 1.0, log
