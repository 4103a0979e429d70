"""Of many proxies that know nothing, one looks good: how often the corrected p is fooled."""

import numpy as np
import pytest

from latentbench.results.calibration.chance import corrected_p
from latentbench.results.calibration.levels import Level, Rows


def tables(rng: np.random.Generator, proxies: int, *, families: int = 8, members: int = 3) -> dict[str, Rows]:
    """Proxies that know nothing of an outcome; both have family effects."""
    family = np.repeat(np.arange(families), members)
    effects = rng.normal(size=(proxies + 1, families))[:, family]
    x = effects + rng.normal(size=(proxies + 1, families * members))
    outcomes = [np.array([value]) for value in x[-1]]
    place = np.arange(len(family))
    return {f"p{i}": Rows(x=x[i], outcomes=outcomes, family=family, place=place) for i in range(proxies)}


@pytest.mark.slow
@pytest.mark.parametrize("level", ["overall", "within", "across"])
def test_the_best_of_ten_that_know_nothing(level: Level) -> None:
    rng = np.random.default_rng(0)
    smallest = []
    for i in range(40):
        tried = tables(rng, 10)
        for name, rows in (("p0", range(3)), ("p1", range(0, 24, 6)), ("p2", range(12))):  # not all have all rows
            tried[name] = tried[name].only(rows)
        smallest.append(min(corrected_p(level, tried, draws=100, seed=i).values()))
    assert np.mean(np.array(smallest) <= 0.05) <= 0.12  # 5 % of 40, and two standard errors


def test_a_proxy_that_knows_is_told_from_chance() -> None:
    rng = np.random.default_rng(1)
    tried = tables(rng, 10, families=24, members=1)
    rows = tried["p3"]
    tried["good"] = Rows(
        x=rows.y + 0.3 * rng.normal(size=24), outcomes=rows.outcomes, family=rows.family, place=rows.place
    )
    p = corrected_p("overall", tried, draws=500)
    assert p["good"] < 0.01
    assert min(value for name, value in p.items() if name != "good") > 0.05


@pytest.mark.parametrize("level", ["overall", "within", "across"])
def test_proxies_of_few_rows_do_not_hide_the_others(level: Level) -> None:
    """Three rows are in a perfect order in a third of all permutations."""
    rng = np.random.default_rng(3)
    tried = tables(rng, 4)
    rows = tried["p0"]
    tried = {name: part.only(rng.choice(24, 3 + i % 2, replace=False)) for i, (name, part) in enumerate(tried.items())}
    tried["families"] = rows.only(range(12))
    tried["good"] = Rows(
        x=rows.y + 0.1 * rng.normal(size=24), outcomes=rows.outcomes, family=rows.family, place=rows.place
    )
    assert corrected_p(level, tried, draws=300)["good"] < 0.05


def test_proxies_with_missing_rows() -> None:
    tried = tables(np.random.default_rng(2), 2)
    tried["p1"] = tried["p1"].only(range(6, 20))
    tried["empty"] = tried["p0"].only([])
    p = corrected_p("overall", tried, draws=50)
    assert set(p) == {"p0", "p1"}
    assert all(0 < value <= 1 for value in p.values())


def test_nothing_tried() -> None:
    assert corrected_p("overall", {}) == {}
