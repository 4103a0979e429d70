"""The loss–compute law on curves whose future is known."""

import numpy as np
import pytest

from latentbench.tasks.compute_law import fit_law

COMPUTE = np.geomspace(1e9, 5e10, 40)


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.3, 2.0, 0.5), (0.0, 5.0, 0.1), (-1.0, 0.5, 1.2)])
def test_a_law_is_recovered_and_extrapolated(floor: float, scale: float, exponent: float) -> None:
    law = fit_law(COMPUTE, floor + scale * (COMPUTE / 1e9) ** -exponent)
    assert law is not None
    assert law.exponent == pytest.approx(exponent, rel=0.02)
    assert law.floor == pytest.approx(floor, abs=0.15)
    assert law.at(2e12) == pytest.approx(floor + scale * 2000.0**-exponent, abs=0.08)


def test_noise_moves_the_promise_little() -> None:
    rng = np.random.default_rng(0)
    truth = 0.5 + 1.0 * (1e12 / 1e9) ** -0.6
    promises = []
    for _ in range(60):
        law = fit_law(COMPUTE, 0.5 + (COMPUTE / 1e9) ** -0.6 + 0.01 * rng.standard_normal(40))
        assert law is not None
        promises.append(law.at(1e12))
    assert abs(np.mean(promises) - truth) < 0.03
    assert np.std(promises) < 0.05


def test_a_curve_that_rises_promises_its_mean() -> None:
    law = fit_law([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    assert law is not None
    assert law.at(100) == pytest.approx(3)


@pytest.mark.parametrize("losses", [[1, 2, 3, 4], [1, 2, float("nan"), 4, 5]])
def test_what_has_no_law(losses: list[float]) -> None:
    assert fit_law(range(1, len(losses) + 1), losses) is None


def test_an_exponent_that_the_points_do_not_tell() -> None:
    """A curve straight in log C, as of the beginning of a training, is fitted best by the flattest law there is."""
    law = fit_law(COMPUTE, 3 - 0.1 * np.log(COMPUTE / 1e9))
    assert law is not None
    assert not law.is_certain
    assert law.at(2e11) == pytest.approx(3 - 0.1 * np.log(200), abs=0.1)
    assert fit_law(COMPUTE, 1 + (COMPUTE / 1e9) ** -0.5).is_certain  # type: ignore[union-attr]
