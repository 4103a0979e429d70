"""The diffusion schedule: identities, conversions, weights, and samplers against a Gaussian's closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentbench.tasks.priors import schedule
from latentbench.tasks.priors.flow import integrate

T = torch.linspace(0, 1, 33, dtype=torch.float64)
MEAN, STD = 1.5, 0.3


def draw() -> tuple[Tensor, Tensor]:
    clean, noise = torch.randn(2, 33, 3, 2, dtype=torch.float64).unbind(0)
    return clean, noise


def gaussian_v(x: Tensor, t: Tensor) -> Tensor:
    """E[v | x_t] for x_0 ~ N(MEAN, STD^2)."""
    alpha, sigma = schedule.alpha_sigma(t, x)
    gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
    clean = MEAN + gain * (x - alpha * MEAN)
    return alpha * (x - alpha * clean) / sigma - sigma * clean


def flow_map(noise: Tensor) -> Tensor:
    """Where the probability-flow ODE takes x_1 for that Gaussian: the monotone map between the marginals."""
    (a0, s0), (a1, s1) = (
        (math.cos(phi), math.sin(phi)) for phi in (schedule.ANGLE_START, schedule.ANGLE_START + schedule.ANGLE_SPAN)
    )
    ratio = math.sqrt((a0**2 * STD**2 + s0**2) / (a1**2 * STD**2 + s1**2))
    return a0 * MEAN + ratio * (noise - a1 * MEAN)


def test_signal_and_noise_keep_the_variance_and_the_cut_ratio() -> None:
    alpha, sigma = schedule.alpha_sigma(T, T)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(T))
    torch.testing.assert_close(schedule.snr(T), (alpha / sigma) ** 2)
    ends = schedule.snr(T)[[0, -1]].log()
    torch.testing.assert_close(ends, torch.tensor([10.0, -10.0], dtype=torch.float64))
    assert (schedule.snr(T).diff() < 0).all()


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x"])
def test_predictions_are_exact_inverses(prediction: str) -> None:
    clean, noise = draw()
    x = schedule.noised(clean, noise, T)
    output = schedule.target(clean, noise, T, prediction)
    v = schedule.velocity(output, x, T, prediction)
    torch.testing.assert_close(v, schedule.target(clean, noise, T, "v"), atol=1e-9, rtol=1e-9)
    back = schedule.clean_and_noise(v, x, T)
    torch.testing.assert_close(back[0], clean, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(back[1], noise, atol=1e-9, rtol=1e-9)


def test_v_is_the_derivative_of_the_path() -> None:
    clean, noise = draw()
    ahead, back = (schedule.noised(clean, noise, T + step) for step in (1e-5, -1e-5))
    slope = (ahead - back) / 2e-5
    torch.testing.assert_close(slope, schedule.ANGLE_SPAN * schedule.target(clean, noise, T, "v"), atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("weighting", ["min_snr", "p2"])
def test_a_weighting_is_one_loss_whatever_is_predicted(weighting: str) -> None:
    clean, noise = draw()
    x = schedule.noised(clean, noise, T)
    wrong = clean + 0.1 * torch.randn_like(clean)
    errors = {}
    for prediction in ("epsilon", "v", "x"):
        alpha, sigma = schedule.alpha_sigma(T, x)
        guess = schedule.target(wrong, (x - alpha * wrong) / sigma, T, prediction)
        squared = (guess - schedule.target(clean, noise, T, prediction)).square().flatten(1).mean(1)
        errors[prediction] = schedule.loss_weight(T, prediction, weighting) * squared
    torch.testing.assert_close(errors["epsilon"], errors["x"], rtol=1e-6, atol=0)
    torch.testing.assert_close(errors["v"], errors["x"], rtol=1e-6, atol=0)
    ratio = schedule.snr(T)
    published = ratio.clamp(max=5) if weighting == "min_snr" else ratio / (1 + ratio)
    torch.testing.assert_close(schedule.loss_weight(T, "x", weighting), published)


@pytest.mark.parametrize(("method", "order"), [("ddim", 1), ("euler", 1), ("heun", 2)])
def test_solvers_converge_to_the_gaussian_at_their_order(method: str, order: int) -> None:
    noise = torch.randn(64, 1, dtype=torch.float64)
    errors = []
    for steps in (80, 160):
        if method == "ddim":
            result = schedule.ddim(gaussian_v, noise, steps=steps)
        else:
            result = integrate(
                lambda x, t: schedule.ANGLE_SPAN * gaussian_v(x, t.to(x)), noise, steps=steps, method=method
            )
        errors.append((result - flow_map(noise)).abs().max().item())
    assert errors[1] < 0.03
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.25)


def test_ancestral_samples_have_the_gaussians_moments() -> None:
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(20000, 1, generator=generator, dtype=torch.float64)
    result = schedule.ddpm(
        gaussian_v,
        start,
        steps=400,
        noise=lambda k: torch.randn(20000, 1, generator=generator, dtype=torch.float64),
    )
    assert result.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert result.std().item() == pytest.approx(STD, rel=0.03)
    assert torch.corrcoef(torch.cat((start, result), 1).T)[0, 1].abs() < 0.5, "noise is added on the way"


def test_one_step_gives_the_expected_data() -> None:
    noise = torch.randn(5, 1, dtype=torch.float64)
    result = schedule.ddpm(gaussian_v, noise, steps=1, noise=lambda k: torch.full_like(noise, math.nan))
    torch.testing.assert_close(result, torch.full_like(result, MEAN), atol=0.01, rtol=0)
