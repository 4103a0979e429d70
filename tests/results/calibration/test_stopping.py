"""How often a tokenizer is stopped that would have been better, by simulation; and when nothing is stopped at all."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentbench.results.calibration.score import Score
from latentbench.results.calibration.score_file import from_json, to_json
from latentbench.results.calibration.scored import with_score
from latentbench.results.calibration.stopping import margin_of, may_stop, pair_margins, threshold
from latentbench.results.rows import rows

from .test_score import table
from .test_scored import VIV, score_file

MEMBERS = 3


def drawn(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A family's scores and outcomes: the outcome is the score with noise, half of which the family shares,
    heavy-tailed and worse for some families than for others."""
    scores = rng.standard_normal(MEMBERS)
    noise = rng.standard_t(3) + rng.standard_t(3, MEMBERS)
    return scores, scores + rng.uniform(0.1, 0.6) * noise


@pytest.mark.parametrize("risk", [0.1, 0.3])
def test_better_tokenizers_are_stopped_as_rarely_as_it_says(risk: float) -> None:
    """Of 400 new families, each with a threshold of nine pairs: the share of which any is stopped in favour of a
    worse one of another, or of the best of nine others."""
    rng = np.random.default_rng(0)
    wronged, by_the_best, stopped = [], [], []
    for _ in range(400):
        limit = threshold([margin_of(*drawn(rng), *drawn(rng)) for _ in range(9)], risk)
        scores, outcomes = drawn(rng)
        others = [drawn(rng) for _ in range(9)]
        wronged.append(margin_of(scores, outcomes, *others[0]) > limit)
        best_score, best = min(
            ((score, outcome) for other in others for score, outcome in zip(*other, strict=True)), key=lambda p: p[1]
        )
        by_the_best.append(((scores - best_score > limit) & (outcomes < best)).any())
        stopped.append(np.mean(scores - best_score > limit))
    assert np.mean(wronged) <= risk + 2 * math.sqrt(risk * (1 - risk) / 400)
    assert np.mean(wronged) > risk / 2  # the threshold is no larger than it must be
    assert np.mean(by_the_best) <= risk / 2
    assert np.mean(stopped) > 0.2


def test_a_margin_is_of_truly_better_ones() -> None:
    ours, others = (np.array([5.0, 9.0]), np.array([1.0, 3.0])), (np.array([0.0, 2.0]), np.array([4.0, 2.0]))
    assert margin_of(*ours, *others) == 9
    assert margin_of(*others, *ours) == 0  # its better ones have the better scores too
    assert margin_of(*others, np.array([-1.0]), np.array([2.0])) == 0
    assert margin_of(*others, np.array([-1.0]), np.array([2.5])) == 3


def test_too_few_families_stop_nothing() -> None:
    margins = [0.3, 0.0, 0.1, 0.2]
    assert threshold(margins, 0.2) == 0.3
    assert threshold(margins, 0.4) == 0.2
    assert threshold(margins, 0.19) == math.inf
    assert threshold([], 0.5) == math.inf
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold(margins, 0)


def test_margins_of_a_fit(tmp_path: Path) -> None:
    """Scores that know the outcome have small ones; scores that say nothing have infinite ones; files keep both."""
    observed = table(np.random.default_rng(0), weight=30, families=10, proxies=3)
    margins = pair_margins([observed])
    assert len(margins) == 5
    assert max(margins) < 0.5
    assert len(pair_margins([observed, table(np.random.default_rng(1), weight=30, families=13, proxies=3)])) == 6
    noise = pair_margins([table(np.random.default_rng(0), weight=0, families=8, proxies=3)])
    assert max(noise) == math.inf
    term = VIV | {"proxy": "p0", "low": 0.0, "high": 1.0}
    score = replace(from_json(score_file(tmp_path, term)), margins=(*margins, math.inf))
    (tmp_path / "again.json").write_text(to_json(score, [observed]))
    assert from_json(tmp_path / "again.json").margins == pytest.approx(score.margins)


def test_what_may_be_stopped(runs: Path) -> None:
    file = score_file(runs.parent, VIV | {"low": 0.0, "high": 1.55}, jobs=("tokenizer/vq-vae-4-0",))
    known = {row["cell"]: row for row in with_score(rows([runs]), file)}
    score = replace(from_json(file), margins=(0.2,) * 9)
    best, good, poor = known["kl-vae-2-0"], known["kl-vae-4-0"], known["vq-vae-2-0"]  # viv 0, 0.25 and 1

    def stops(candidate: str, score: Score = score, risk: float = 0.1) -> bool:
        return may_stop(known[candidate], best, score, risk=risk)

    assert poor["modelability_score"] - best["modelability_score"] == pytest.approx(0.5)
    assert stops("vq-vae-2-0")
    assert not may_stop(good, best, score)
    assert not may_stop(best, poor, score)
    assert not stops("vq-vae-2-0", risk=0.05)
    assert not stops("vq-vae-4-0")  # fitted on
    assert not stops("vq-vae-8-1")  # outside what was fitted
    assert not stops("pca-8-0")  # withheld
    assert not stops("vq-vae-2-0", replace(score, families=replace(score.families, explained=-0.1)))
    with pytest.raises(ValueError, match="one table: dataset photos and shapes"):
        may_stop(replace(poor, columns={**poor.columns, "dataset": "photos"}), best, score)
