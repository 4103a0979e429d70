"""Differences between seeds of one tokenizer: what a proxy of the same tokenizers knows of the outcome's noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from latentbench.results.calibration.observations import Observation, Observations, Predictor
from latentbench.results.calibration.report import calibrate
from latentbench.results.calibration.run_records import read_runs
from latentbench.results.calibration.seeds import seed_correlation
from latentbench.results.calibration.table_file import read_table
from latentbench.results.calibration.text import notes


def table(outcomes: np.ndarray, proxy: Sequence[Sequence[float | None]]) -> Observations:
    items = tuple(
        Observation(
            name=str(i),
            family=str(i // 4),
            outcome=tuple(seeds),
            values={"x": float(np.mean([value for value in values if value is not None]))},
            by_seed={"x": tuple(values)},
        )
        for i, (seeds, values) in enumerate(zip(outcomes.tolist(), proxy, strict=True))
    )
    predictors = (Predictor(name="x", direction="lower"),)
    return Observations(title="", outcome="gfd", direction="lower", items=items, predictors=predictors)


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("shared", [0.0, 0.7])
def test_noise_that_a_proxy_shares_is_found(seeds: int, shared: float) -> None:
    """Proxy and outcome have the truth in common, their seeds' noise by Pearson's `shared`, and one shift of each seed
    that all tokenizers share; Spearman's of normal pairs is 6/π asin(ρ/2)."""
    rng = np.random.default_rng(2)
    truth = 5 * rng.normal(size=(250, 1))
    first, other = rng.normal(size=(2, 250, seeds))
    shift = 10 * np.arange(seeds)
    outcomes, proxy = truth + first + shift, truth + shared * first + np.sqrt(1 - shared**2) * other + shift
    found = seed_correlation(table(outcomes, proxy.tolist()), "x", 60, 0)
    assert found is not None
    assert found.n == 250 * (seeds - 1)
    assert found.value == pytest.approx(6 / np.pi * np.arcsin(shared / 2), abs=0.12)
    assert found.low is not None
    assert (found.low > 0) == bool(shared)


@pytest.mark.slow
def test_its_interval_holds_the_truth(simulation: Callable[[str], ModuleType]) -> None:
    setting = {"families": 8, "members": 3, "seeds": 2, "shared": 0.6, "unlike": 0.7}
    share, width, _ = simulation("calibration").coverage_by_seed(draws=60, resamples=100, **setting)
    assert share >= 0.87
    assert width < 1.2


def test_only_seeds_with_both_count() -> None:
    outcomes = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 9.0]])
    values: list[list[float | None]] = [[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, None]]
    found = seed_correlation(table(outcomes, values), "x", 20, 0)
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(1), 3)
    assert seed_correlation(table(outcomes[:3, :1], [[1.0]] * 3), "x", 20, 0) is None
    assert seed_correlation(table(outcomes, values), "y", 20, 0) is None


def test_a_proxy_that_shares_all_noise_may_have_more_than_the_ceiling_and_is_named() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(40, 1))
    noise = rng.normal(size=(40, 2))
    result = calibrate(table(truth + noise, (truth + noise).tolist()), draws=100)
    (report,) = result.proxies
    share = report.share("spearman", "overall")
    assert share is not None
    assert share > 1.05
    assert any("x 1.00 [" in note and "above 100 %" in note for note in notes(result))


def test_records_and_tables_hold_values_by_seed(runs: Path, tmp_path: Path) -> None:
    (observed,) = read_runs([runs], outcome="gfd_scattering")
    for item in observed.items:
        first, second = item.by_seed["viv"]
        assert first is not None
        assert second is not None
        assert second - first == pytest.approx(0.1)
        assert item.values["viv"] == pytest.approx((first + second) / 2)
    path = tmp_path / "t.csv"
    path.write_text("name,seed,gfid,x\na,0,1,5\na,1,2,\nb,0,1,7\nb,1,2,8\n")
    by_seed = [item.by_seed["x"] for item in read_table(path, outcome="gfid").items]
    assert by_seed == [(5.0, None), (7.0, 8.0)]
