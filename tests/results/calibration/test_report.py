"""Order, regret, gain and directions of proxies, by hand; and the published board."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentbench.results.calibration import report as report_module
from latentbench.results.calibration.observations import FAMILY_MEAN, Observation, Observations, Predictor
from latentbench.results.calibration.reliability import ceiling
from latentbench.results.calibration.report import Calibration, ProxyReport, calibrate
from latentbench.results.calibration.table_file import read_table
from latentbench.results.metric import Direction


def observations(
    outcomes: list[tuple[float, ...]],
    values: dict[str, list[float]],
    *,
    families: str = "",
    better: Direction = "lower",
    predictors: tuple[Predictor, ...] = (),
) -> Observations:
    items = tuple(
        Observation(
            name=f"t{i}",
            family=families[i] if families else f"t{i}",
            outcome=outcome,
            values={name: column[i] for name, column in values.items()},
        )
        for i, outcome in enumerate(outcomes)
    )
    return Observations(title="", outcome="gfd", direction=better, items=items, predictors=predictors)


def only(calibration: Calibration, name: str) -> ProxyReport:
    (report,) = (report for report in calibration.proxies if report.predictor.name == name)
    return report


ONE_SEED = [(1.0,), (2.0,), (3.0,), (4.0,), (5.0,), (6.0,)]


def test_a_baseline_that_few_tokenizers_have_is_no_rival() -> None:
    """In a perfect order by three tokenizers of six, while all six have the other."""
    predictors = (*(Predictor(name=name, baseline=True) for name in ("few", "all")), Predictor(name="proxy"))
    table = observations(ONE_SEED, {"all": [2.0, 1, 4, 3, 6, 5], "proxy": [1.0, 2, 3, 4, 5, 6]}, predictors=predictors)
    items = [replace(item, values={**item.values, "few": item.mean}) for item in table.items[:3]]
    result = calibrate(replace(table, items=(*items, *table.items[3:])), draws=50)
    assert only(result, "few").correlations["spearman", "overall"].value == 1
    assert result.dullest == "all"
    assert only(result, "proxy").gain is not None


def test_a_proxy_that_is_declared_to_rise_with_quality() -> None:
    values = {"good": [6.0, 5.0, 4.0, 3.0, 2.0, 1.0], "wrong": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
    table = observations(
        ONE_SEED, values, predictors=tuple(Predictor(name=name, direction="higher") for name in values)
    )
    result = calibrate(table, draws=50)
    good, wrong = only(result, "good"), only(result, "wrong")
    assert good.correlations["spearman", "overall"].value == -1
    assert good.pairs is not None
    assert (good.pairs.agree, good.pairs.pairs, good.pairs.tested) == (1, 15, False)
    assert good.regret is not None
    assert (good.regret.picked, good.regret.value, good.regret.random) == ("t0", 0, 2.5)
    assert wrong.pairs is not None
    assert wrong.pairs.agree == 0
    assert wrong.regret is not None
    assert (wrong.regret.picked, wrong.regret.value) == ("t5", 5)
    assert not good.assumed


def test_without_a_direction_the_data_say_it_and_that_is_said() -> None:
    table = observations(
        ONE_SEED, {"x": [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]}, predictors=(Predictor(name="x"),), better="higher"
    )
    report = only(calibrate(table, draws=50), "x")
    assert report.assumed
    assert report.pairs is not None
    assert report.pairs.agree == 1
    assert report.regret is not None
    assert (report.regret.picked, report.regret.value) == ("t5", 0)


def test_pairs_that_seeds_do_not_tell_apart_do_not_count() -> None:
    outcomes = [(1.0, 1.2), (1.1, 1.3), (5.0, 5.2), (5.1, 5.3)]
    table = observations(outcomes, {"x": [2.0, 1.0, 4.0, 3.0]}, predictors=(Predictor(name="x", direction="lower"),))
    pairs = only(calibrate(table, draws=50), "x").pairs
    assert pairs is not None
    assert (pairs.agree, pairs.pairs, pairs.tested) == (1, 4, True)


def test_equal_values_are_half_right_and_share_their_regret() -> None:
    table = observations(
        [(1.0,), (2.0,), (4.0,)], {"x": [1.0, 1.0, 2.0]}, predictors=(Predictor(name="x", direction="lower"),)
    )
    report = only(calibrate(table, draws=50), "x")
    assert report.pairs is not None
    assert report.pairs.agree == pytest.approx(2.5 / 3)
    assert report.regret is not None
    assert (report.regret.picked, report.regret.value) == ("2 alike", 0.5)


def test_a_proxy_of_some_is_held_to_their_ceiling_and_pays_for_the_best_that_it_misses() -> None:
    """Of ten tokenizers it is measured on six, of which seeds differ as much as they do; the others lie far below, and
    with them all rows agree."""
    rng = np.random.default_rng(0)
    near = [(value, value + gap) for value, gap in zip(rng.normal(size=6), rng.normal(size=6), strict=True)]
    far = [(-100.0 * i, -100.0 * i) for i in range(1, 5)]
    outcomes = [*near, *far]
    table = observations(outcomes, {"x": [float(i) for i in range(10)]}, predictors=(Predictor(name="x"),))
    items = [replace(item, values={} if i > 5 else item.values) for i, item in enumerate(table.items)]
    table = replace(table, items=tuple(items), predictors=(Predictor(name="x", direction="lower"),))
    result = calibrate(table, draws=50)
    report = only(result, "x")
    own = ceiling("overall", "spearman", table.rows("x"))
    assert own is not None
    assert report.ceilings["spearman", "overall"].attainable == pytest.approx(own.attainable)
    assert own.attainable < result.ceilings["spearman", "overall"].attainable - 0.05
    expected = report.correlations["spearman", "overall"].value / own.attainable
    assert report.share("spearman", "overall") == pytest.approx(expected)
    assert report.regret is not None
    means = [sum(values) / 2 for values in outcomes]
    assert report.regret.picked == "t0"
    assert report.regret.value == pytest.approx(means[0] + 400)
    assert report.regret.random == pytest.approx(sum(means) / 10 + 400)


def test_gain_over_the_best_baseline() -> None:
    values = {
        "proxy": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "psnr": [2.0, 1.0, 3.0, 4.0, 6.0, 5.0],
        "tsr": [1.0, 6.0, 2.0, 5.0, 3.0, 4.0],
    }
    predictors = (
        Predictor(name="proxy"),
        Predictor(name="psnr", baseline=True),
        Predictor(name="tsr", baseline=True),
    )
    result = calibrate(observations(ONE_SEED, values, predictors=predictors), draws=100)
    assert result.dullest == "psnr"
    gain = only(result, "proxy").gain
    assert gain is not None
    assert gain.value == pytest.approx(1 - (1 - 6 * 4 / (6 * 35)))
    assert only(result, "psnr").gain is None
    assert [report.predictor.name for report in result.proxies] == ["proxy", "psnr", "tsr"]


def test_the_familys_mean_leaves_the_row_itself_out() -> None:
    table = observations([(1.0,), (3.0,), (10.0,)], {}, families="aab", predictors=())
    values = [table.value(item, FAMILY_MEAN) for item in table.items]
    assert values == [3, 1, None]


def test_a_proxy_that_only_knows_the_rate_has_no_partial_coefficient_of_its_own() -> None:
    rate = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    outcome = [(1.0,), (2.5,), (2.0,), (4.5,), (4.0,), (6.5,), (6.0,), (9.0,)]
    table = observations(outcome, {"x": [2 * value for value in rate], "rate": rate}, predictors=(Predictor(name="x"),))
    held = Observations(**{**vars(table), "fixed": ("rate",)})
    assert only(calibrate(held, draws=50), "x").partial is None


# Spearman, Pearson: the README of the published figures.
BOARD = {
    "ifid": (0.80, 0.83),
    "psnr": (0.58, 0.60),
    "lpips": (-0.61, -0.59),
    "rfid": (-0.24, -0.13),
    "sec_50": (-0.14, -0.20),
    "viv": (0.23, 0.25),
    "probe_acc1": (-0.75, -0.52),
    "released": (-0.74, -0.53),
}


@pytest.mark.slow
def test_the_published_board(shared_data: Path) -> None:
    result = calibrate(read_table(shared_data / "published" / "vae_arena.csv", outcome="gfid_sit_b"))
    for name, (spearman, pearson) in BOARD.items():
        correlations = only(result, name).correlations
        assert correlations["spearman", "overall"].value == pytest.approx(spearman, abs=0.005), name
        assert correlations["pearson", "overall"].value == pytest.approx(pearson, abs=0.005), name
    ifid = only(result, "ifid").correlations["pearson", "overall"]
    assert ifid.low is not None
    assert ifid.high is not None
    # Fisher's interval of independent rows is [.61, .93]
    assert ifid.high - ifid.low >= 0.93 - 0.61
    assert result.dullest == "released"
    guided = calibrate(read_table(shared_data / "published" / "vae_arena.csv", outcome="gfid_sit_b_cfg"))
    assert only(guided, "ifid").correlations["pearson", "overall"].value == pytest.approx(0.70, abs=0.005)
    assert only(guided, "viv").correlations["pearson", "overall"].value == pytest.approx(0.07, abs=0.01)


@pytest.mark.slow
def test_the_first_grid_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/calibration.md says of it, Spearman's coefficients overall, is what its values give."""
    monkeypatch.setattr(report_module, "LEVELS", ("overall",))
    monkeypatch.setattr(report_module, "KINDS", ("spearman",))
    root = Path(__file__).parents[3]
    page = (root / "docs" / "calibration.md").read_text()
    names = ("image-small-earned", "image-small")
    tables = {name: root / "results" / "calibrations" / f"{name}.csv" for name in names}
    calibrations = {
        name: calibrate(read_table(path, outcome="log_gfd_scattering", family="family"))
        for name, path in tables.items()
    }
    for name, proxy, text, p in (
        ("image-small-earned", "cfd_kronecker_scattering", ".92 [.31, .99], n 9", 0.06),
        ("image-small-earned", "micro_gfd_20_scattering", ".89 [.32, .99]", 0.07),
        ("image-small", "cfd_kronecker_scattering", ".51 [−.30, .89], n 13", 0.71),
        ("image-small", "cfd_stationary_scattering", ".84 [.16, .98], n 13", 0.01),
    ):
        report = only(calibrations[name], proxy)
        correlation = report.correlations["spearman", "overall"]
        assert correlation.low is not None
        assert correlation.high is not None
        ends = (correlation.value, correlation.low, correlation.high)
        value, low, high = (f"{number:.2f}".replace("0.", ".").replace("-", "−") for number in ends)
        assert f"{value} [{low}, {high}]" == text.partition(", n")[0]
        assert text in page
        assert report.p["overall"] == pytest.approx(p, abs=0.006)


def test_pairs_of_huge_outcomes_differ_as_others_do() -> None:
    seeds = [(1.0, 1.1), (2.0, 2.1), (2.05, 2.2), (9.0, 9.2)]
    values = {"p": [1.0, 2.0, 3.0, 4.0]}
    known = (Predictor(name="p", direction="lower"),)
    plain = only(calibrate(observations(seeds, values, predictors=known), draws=20), "p").pairs
    large = [(a * 2.0**900, b * 2.0**900) for a, b in seeds]
    assert only(calibrate(observations(large, values, predictors=known), draws=20), "p").pairs == plain
    assert plain is not None
    assert plain.pairs == 5
