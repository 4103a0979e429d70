"""A fitted score: it finds what is there on families it has not seen, and nothing in noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from latentbench.results.calibration.observations import Observation, Observations, Predictor
from latentbench.results.calibration.score import fit_score, value_of
from latentbench.results.errors import UserError


def table(
    rng: np.random.Generator,
    *,
    weight: float,
    families: int = 8,
    rows: int = 3,
    proxies: int = 12,
    modality: str = "image",
    direction: str = "lower",
    shared: float = 0.5,
    gap: float | None = None,
    codes: int | None = None,
) -> Observations:
    """Proxies p0, p1, … by family and row; the outcome is `weight` (p0 − p1), with noise of deviation one, of whose
    variance, as of the proxies', a family's rows share that part. With a `gap` the first `codes` families (half of
    them) are of codes, whose outcome is so much more, and p2 knows of nothing else."""
    coded = families // 2 if codes is None else codes
    items = []
    for family in range(families):
        shift = rng.standard_normal(proxies)
        base = rng.standard_normal()
        for row in range(rows):
            x = math.sqrt(2 * shared) * shift + math.sqrt(2 - 2 * shared) * rng.standard_normal(proxies)
            y = weight * (x[0] - x[1]) + math.sqrt(shared) * base + math.sqrt(1 - shared) * rng.standard_normal()
            is_code = gap is not None and family < coded
            y += (gap or 0.0) * is_code
            y = -y if direction == "higher" else y
            values = {f"p{i}": float(v) for i, v in enumerate(x)}
            if gap is not None:
                values |= {"codes": float(is_code), "p2": 5.0 * is_code + values["p2"]}
            items.append(Observation(name=f"{family}.{row}", family=str(family), outcome=(y, y + 0.05), values=values))
    return Observations(
        title=modality,
        outcome="log gfd",
        direction=direction,  # type: ignore[arg-type]
        items=tuple(items),
        predictors=(
            *(Predictor(name=f"p{i}") for i in range(proxies)),
            *([] if gap is None else [Predictor(name="codes", baseline=True)]),
        ),
        modality=modality,
    )


def test_what_predicts_is_found_and_holds_on_other_families() -> None:
    rng = np.random.default_rng(0)
    score = fit_score([table(rng, weight=3)])
    assert {term.proxy for term in score.terms} == {"p0", "p1"}
    assert score.families.explained > 0.8
    assert score.families.spearman is not None
    assert score.families.spearman.value > 0.85
    fresh = table(rng, weight=3)
    guesses = [value_of(score, item.values)[0] for item in fresh.items]
    assert np.corrcoef(np.array(guesses, dtype=float), [item.mean for item in fresh.items])[0, 1] > 0.85


def test_lower_is_better_also_where_more_of_the_outcome_is() -> None:
    score = fit_score([table(np.random.default_rng(1), weight=3, direction="higher")])
    assert {term.proxy: math.copysign(1, term.coefficient) for term in score.terms} == {"p0": 1, "p1": -1}


@pytest.mark.slow
@pytest.mark.parametrize("tables", [1, 2])
def test_noise_has_no_skill_on_families_left_out(tables: int) -> None:
    """Of fits on noise the variance explained on left-out families is not above nothing in the mean, and the interval
    of the rank correlation lies above zero about as often as it may."""
    explained, above = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        score = fit_score([table(rng, weight=0, proxies=8) for _ in range(tables)])
        explained.append(score.families.explained)
        ranks = score.families.spearman
        above.append(ranks is not None and ranks.low is not None and ranks.low > 0)
    assert np.mean(explained) < 0.02
    assert np.mean(above) <= 1 / 12


@pytest.mark.slow
def test_noise_that_families_share_takes_no_proxy() -> None:
    """Three rows of a family that hardly differ are one row, not three."""
    fits = [fit_score([table(np.random.default_rng(seed), weight=0, shared=0.95)]) for seed in range(10)]
    assert sum(bool(score.terms) for score in fits) <= 1
    assert np.mean([score.families.explained for score in fits]) > -0.1


def test_codes_and_values_differ_by_what_no_proxy_has_to_explain() -> None:
    rng = np.random.default_rng(5)
    known = table(rng, weight=3, gap=-12.0, families=10)
    score = fit_score([known])
    assert score.terms[0].proxy == "codes"
    assert {term.proxy for term in score.terms} == {"codes", "p0", "p1"}
    assert score.families.explained > 0.9
    values = {"codes": 1.0, "p0": 0.0, "p1": 0.0}
    code, of_values = (value_of(score, values | {"codes": kind})[0] for kind in (1.0, 0.0))
    assert code is not None
    assert of_values is not None
    deviation = float(np.std([item.mean for item in known.items]))
    assert (code - of_values) * deviation == pytest.approx(-12.0, abs=1.5)
    assert value_of(score, {"p0": 0.0, "p1": 0.0})[1] == ["codes is missing"]


def test_a_kind_of_one_family_has_no_offset_since_none_could_test_it() -> None:
    rng = np.random.default_rng(6)
    assert "codes" not in {term.proxy for term in fit_score([table(rng, weight=3, gap=1.0, codes=1)]).terms}
    score = fit_score([table(rng, weight=3, gap=1.0, codes=2)])
    assert "codes" in {term.proxy for term in score.terms}
    assert score.kinds == ("codes", "values")
    score = fit_score([table(rng, weight=3, gap=1.0, codes=1)])
    assert score.kinds == ("values",)
    values = dict.fromkeys((term.proxy for term in score.terms), 0.0)
    assert value_of(score, values | {"codes": 0.0})[1] == value_of(score, values)[1] == []
    assert value_of(score, values | {"codes": 1.0})[1] == [
        "codes were not fitted (values were), or in one family alone"
    ]
    assert fit_score([table(rng, weight=3)]).kinds == ()


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.0, 4.0])
def test_what_only_tells_codes_from_values_is_no_evidence(gap: float) -> None:
    """p2 does, and with a gap it goes with the outcome: beside the offset it says nothing, and no other does either."""
    fits = [
        fit_score([table(np.random.default_rng(seed), weight=0, gap=gap, proxies=8)], draws=50) for seed in range(24)
    ]
    assert sum(bool(score.terms) for score in fits) <= 3


@pytest.mark.slow
def test_telling_codes_from_values_is_no_skill() -> None:
    """A score that takes its best proxy in any case orders tokenizers well where the kinds differ: by that alone."""
    draws = [table(np.random.default_rng(seed), weight=0, gap=4.0, proxies=8) for seed in range(24)]
    fits = [fit_score([drawn], least=1, draws=200) for drawn in draws]
    assert np.mean([score.families.explained for score in fits]) > 0.5
    assert np.mean([score.beyond.explained for score in fits if score.beyond]) < 0
    assert sum(score.has_skill for score in fits) <= 3
    true = fit_score([table(np.random.default_rng(0), weight=3, gap=4.0, proxies=8)], least=1)
    assert true.beyond is not None
    assert true.beyond.explained > 0.5
    assert true.has_skill


def test_a_table_left_out() -> None:
    rng = np.random.default_rng(2)
    score = fit_score([table(rng, weight=3, modality=name) for name in ("image", "video")])
    assert score.modalities == ("image", "video")
    assert set(score.tables) == {"image", "video"}
    assert all(skill.spearman is not None and skill.spearman.value > 0.8 for skill in score.tables.values())
    other = fit_score([table(rng, weight=3), table(rng, weight=-3, modality="video")])
    assert all(skill.spearman is None or skill.spearman.value < -0.5 for skill in other.tables.values())
    assert all(skill.explained < 0 for skill in other.tables.values())


def test_what_tables_differ_in_is_no_evidence() -> None:
    """Another modality has other values of every proxy, in which no tokenizer differs from another."""
    first, second = (table(np.random.default_rng(seed), weight=3) for seed in (5, 6))
    moved = [replace(item, values={name: v + 40 for name, v in item.values.items()}) for item in second.items]
    near, far = fit_score([first, second]), fit_score([first, replace(second, items=tuple(moved))])
    assert {term.proxy for term in far.terms} == {"p0", "p1"}
    assert far.families.explained == pytest.approx(near.families.explained)
    assert [skill.explained for skill in far.tables.values()] == pytest.approx(
        [skill.explained for skill in near.tables.values()]
    )
    assert far.families.explained > 0.8


def test_outside_its_domain_a_score_is_doubted_and_then_withheld() -> None:
    score = fit_score([table(np.random.default_rng(0), weight=3)])
    inside = {term.proxy: (term.low + term.high) / 2 for term in score.terms}
    value, doubts = value_of(score, inside, "image")
    assert value is not None
    assert not doubts
    assert value_of(score, inside, "video")[1] == ["video was not fitted (image)"]
    first = score.terms[0]
    width = first.high - first.low
    value, doubts = value_of(score, inside | {first.proxy: first.high + width / 2})
    assert value is not None
    assert "lies outside" in doubts[0]
    value, doubts = value_of(score, inside | {first.proxy: first.high + 2 * width})
    assert value is None
    assert "far from what was fitted" in doubts[0]
    assert value_of(score, {})[0] is None


def test_too_few_families() -> None:
    with pytest.raises(UserError, match="needs 4 of them; there are 3"):
        fit_score([table(np.random.default_rng(0), weight=1, families=3)])


def test_a_formula_has_no_negative_nought() -> None:
    score = replace(fit_score([table(np.random.default_rng(0), weight=3)]), intercept=-1e-17)
    assert score.formula.startswith("modelability_score = 0 ")


def test_the_formula_is_the_score() -> None:
    score = fit_score([table(np.random.default_rng(0), weight=3)])
    text = score.formula.partition(" = ")[2].replace("−", "-").replace(") /", ")/")
    values: Sequence[tuple[str, float]] = [("p0", 0.4), ("p1", -1.2)]
    for name, value in values:
        text = text.replace(f"({name} ", f"*({value} ")
    assert eval(text) == pytest.approx(value_of(score, dict(values))[0], abs=0.02)
