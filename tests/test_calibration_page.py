"""docs/calibration.md says what the grids in results/calibrations give."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from latentbench.results.calibration.report import calibrate
from latentbench.results.calibration.score_file import from_json
from latentbench.results.calibration.text import shown

ROOT = Path(__file__).parents[1]
PROXIES = ("viv", "cfd_best_scattering", "micro_gfd_20_scattering")


@pytest.fixture(scope="module")
def update(docs_script: Callable[[str], ModuleType]) -> ModuleType:
    return docs_script("update_calibration")


def test_what_the_page_says_is_what_the_values_give(update: ModuleType) -> None:
    """Of three proxies; all of them, with p, take a minute: python docs/update_calibration.py."""
    page = (ROOT / "docs" / "calibration.md").read_text()
    assert update.grids()
    for path in update.grids():
        lines = update.read_lines(path)
        leading = update.leading(path)
        table, earned = update.observed(path, lines, leading)
        few = replace(table, predictors=tuple(p for p in table.predictors if p.name in PROXIES))
        calibration = calibrate(few)
        block = page.partition(f"<!-- {path.stem}:begin -->")[2].partition(f"<!-- {path.stem}:end -->")[0].splitlines()
        assert update.counted(leading, table, earned, calibration, lines) in block
        assert [report.predictor.name for report in calibration.proxies if report.n] != []
        for report in calibration.proxies:
            (line,) = (line for line in block if line.startswith(f"| `{report.predictor.name}` | "))
            for level in ("overall", "within", "across"):
                assert f"| {shown(report.correlations.get(('spearman', level)))}" in line
        assert [line for line in update.controls(lines, leading, table) if line not in block] == []
        assert update._is_later(path) or (ROOT / "docs" / f"calibration-{path.stem}.svg").is_file()
        assert not update._is_later(path) or update._carried_over(path)[0] in block


@pytest.mark.slow
def test_the_score_of_all_grids_is_what_the_values_give(update: ModuleType, tmp_path: Path) -> None:
    score = update.fitted_together(update.grids(), tmp_path)
    for page, name, content in (
        (ROOT / "docs" / "calibration.md", "together", update.together(score)),
        (ROOT / "README.md", "predicted", update.predicted(update.grids())),
    ):
        assert update.replaced(page.read_text(), name, content) == page.read_text(), "docs/update_calibration.py"
    for path in update.grids():
        file, text = path.with_suffix(".json"), update.shipped(path)
        assert file.exists() == (text is not None), "docs/update_calibration.py"
        if text is not None:
            (tmp_path / file.name).write_text(text)
            ours, now = from_json(file), from_json(tmp_path / file.name)
            assert (ours.formula, ours.modalities, ours.rows) == (now.formula, now.modalities, now.rows)
            assert shown(ours.families.spearman) == shown(now.families.spearman)
            assert ours.margins == pytest.approx(now.margins)
    (first,) = (path for path in update.grids() if path.stem == update.FIRST)
    own = f"calibration-{update.FIRST}.svg"
    update.draw_predicted(update.grid_score(first), update.fitted_tables(first), tmp_path / own)
    for picture in (update.PREDICTED, own):
        drawn, shipped = ((folder / picture).read_text() for folder in (tmp_path, ROOT / "docs"))
        texts = [re.findall(r"<text [^>]*>([^<]*)</text>", svg) for svg in (drawn, shipped)]
        assert texts[0] == texts[1]
        assert any("ρ" in text for text in texts[1])


@pytest.mark.parametrize("spread", [0.0, 1.5])
def test_how_often_a_scramble_without_effect_is_called_certain(update: ModuleType, spread: float) -> None:
    """About one time in twenty, also where the variances over seeds of tokenizers differ twentyfold."""
    rng = np.random.default_rng(0)
    names = [update.TWIN, "scrambled (scramble=positions)", *(f"other {i}" for i in range(28))]
    certain = []
    for _ in range(1000):
        deviations = np.exp(0.5 * spread * rng.standard_normal(len(names)))
        lines = [
            {"name": name, "value": repr(float(deviation * noise))}
            for name, deviation in zip(names, deviations, strict=True)
            for noise in rng.standard_normal(2)
        ]
        certain.append(abs(update._difference(lines, "value", names[1])[1]) >= 1)
    assert 0.03 < np.mean(certain) < 0.09


def test_a_block_that_is_missing(update: ModuleType) -> None:
    page = "<!-- a:begin -->\nold\n<!-- a:end -->\n"
    assert update.replaced(page, "a", "new") == "<!-- a:begin -->\nnew\n<!-- a:end -->\n"
    with pytest.raises(ValueError, match="needs one <!-- b:begin -->"):
        update.replaced(page, "b", "new")
