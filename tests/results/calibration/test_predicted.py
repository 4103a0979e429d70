"""Predicted against measured: each mark where it belongs, on the outcome's own scale, and nothing fitted to itself."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentbench.bench import cli
from latentbench.results.calibration.observations import Observation
from latentbench.results.calibration.predicted import draw_predicted, points
from latentbench.results.calibration.score import fit_score
from latentbench.results.errors import UserError

from .test_score import table


def test_points_are_on_the_outcomes_own_scale() -> None:
    for direction in ("lower", "higher"):
        observed = table(np.random.default_rng(0), weight=3, proxies=2, direction=direction)
        score = fit_score([observed], draws=10)
        (drawn,) = points(score, [observed])
        assert [point.measured for point in drawn] == pytest.approx([item.mean for item in observed.items])
        assert np.corrcoef([p.predicted for p in drawn], [p.measured for p in drawn])[0, 1] > 0.9
        errors = [row.measured - row.predicted for row in score.left_out]
        deviation = np.std([item.mean for item in observed.items])
        sign = 1 if direction == "lower" else -1
        assert [p.measured - p.predicted for p in drawn] == pytest.approx([sign * deviation * e for e in errors])
        # Seeds are .05 apart: variance .05² / 2 of each, 24 degrees of freedom, whose quantile is 2.064.
        assert drawn[0].half == pytest.approx(2.0639 * 0.05 / 2, rel=1e-3)


def test_a_prediction_knows_nothing_of_its_own_family() -> None:
    observed = table(np.random.default_rng(0), weight=3, families=5, proxies=2)
    first = points(fit_score([observed], draws=10, least=1), [observed])

    def moved(item: Observation) -> Observation:
        return replace(item, outcome=tuple(y + 5 for y in item.outcome)) if item.family == "0" else item

    again = replace(observed, items=tuple(map(moved, observed.items)))
    ((*before,), (*after,)) = next(first), next(points(fit_score([again], draws=10, least=1), [again]))
    own = [i for i, item in enumerate(observed.items) if item.family == "0"]
    shift = {i: after[i].predicted - before[i].predicted for i in range(len(before))}
    assert max(abs(shift[i]) for i in own) < 1e-9
    assert min(abs(shift[i]) for i in shift if i not in own) > 1e-3


@pytest.mark.slow
def test_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [f"t{i},f{i // 3},{s},{math.log(10 + i + s / 10)},{i}" for i in range(12) for s in range(2)]
    path.write_text("\n".join(["name,family,seed,log_gfid,viv", *lines]) + "\n")
    words = ["calibrate", str(path), "--outcome", "log_gfid", "--family", "family", "--fit-score"]
    texts = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.svg"
        assert cli.main([*words, str(tmp_path / "s.json"), "--plot", str(out)]) == 0
        texts.append(out.read_text())
    assert texts[0] == texts[1]
    for text in ("measured gfid (lower is better)", "predicted by a score fitted", "f3", "ρ"):
        assert text in texts[0]
    with pytest.raises(UserError, match=r"must end in \.png, \.svg, \.pdf"):
        draw_predicted(fit_score([table(np.random.default_rng(0), weight=3)], draws=10), [], tmp_path / "x.jpg")
