"""The density by the ODE against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.flow_config import FlowConfig
from latentbench.tasks.priors.likelihood import nll_ode_bits
from latentbench.tasks.priors.unet_config import UNetConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
MEAN = torch.tensor([0.5, -1.0, 0.2])
COVARIANCE = torch.tensor([[0.5, 0.3, 0.0], [0.3, 0.9, -0.2], [0.0, -0.2, 1.4]])


def slope(x: Tensor, t: Tensor) -> Tensor:
    """E[eps - x_0 | x_t] for x_0 ~ N(MEAN, COVARIANCE) on the path (1 - t) x_0 + t eps."""
    s = float(t[0])
    marginal = (1 - s) ** 2 * COVARIANCE + s**2 * torch.eye(3)
    gain = (s * torch.eye(3) - (1 - s) * COVARIANCE) @ torch.linalg.inv(marginal)
    return (x - (1 - s) * MEAN) @ gain.T - MEAN


def truth(x: Tensor) -> Tensor:
    return -torch.distributions.MultivariateNormal(MEAN, COVARIANCE).log_prob(x) / math.log(2)


def test_the_exact_divergence_gives_the_exact_density() -> None:
    x = torch.distributions.MultivariateNormal(MEAN, COVARIANCE).sample((20,))
    with torch.inference_mode():
        bits = nll_ode_bits(slope, x, None, steps=60, exact=True)
    torch.testing.assert_close(bits.float(), truth(x), atol=0.01, rtol=0)


def test_the_default_steps_are_right_to_a_tenth_of_a_bit_for_every_sample() -> None:
    variances = torch.logspace(-2.3, 0.7, 12)

    def linear(x: Tensor, t: Tensor) -> Tensor:
        s = t[:, None]
        return x * (s - (1 - s) * variances) / ((1 - s) ** 2 * variances + s**2)

    x = torch.randn(64, 12) * variances.sqrt()
    exact = -torch.distributions.Normal(0, variances.sqrt()).log_prob(x).sum(1) / math.log(2)
    bits = nll_ode_bits(linear, x, None, steps=FlowConfig().likelihood_steps, exact=True)
    assert float((bits - exact).abs().max()) < 0.1


def test_hutchinson_is_right_on_average_and_fixed_by_the_index() -> None:
    x = torch.tensor([[0.3, -0.4, 1.0]]).expand(600, -1).clone()
    bits = nll_ode_bits(slope, x, None, steps=60, exact=False)
    error = bits.std().item() / math.sqrt(600)
    assert bits.std() > 0.01
    assert bits.mean().item() == pytest.approx(truth(x[:1]).item(), abs=4 * error + 0.01)
    again = nll_ode_bits(slope, x[:2], torch.tensor([17, 4]), steps=60, exact=False)
    torch.testing.assert_close(again, bits[[17, 4]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", [FlowConfig, UNetConfig])
def test_an_untrained_prior_gives_the_density_of_its_linear_flow(config: type) -> None:
    """Networks start at zero velocity: the density is the noise's own."""
    spec = LatentSpec(signal=SIGNAL, grids=(LatentGrid(shape=(2, 2), channels=2),))
    prior = build_prior(config(width=16, attention_heads=2, likelihood="exact", likelihood_steps=2), spec)
    values = torch.randn(3, 2, 2, 2)
    with torch.inference_mode():
        scores = prior.held_out(LatentBatch(latents=Latents(values=values)))
    expected = -torch.distributions.Normal(0, 1).log_prob(values).flatten(1).sum(1) / math.log(2)
    torch.testing.assert_close(scores["nll_ode_bits"].float(), expected)
    assert len(scores) == 2
    assert {"likelihood", "likelihood_steps"} & FlowConfig().identity().keys() == set(), "old jobs keep their keys"
    assert FlowConfig(likelihood="exact").identity()["likelihood"] == "exact"
    quiet = build_prior(config(width=16, attention_heads=2), spec)
    assert "nll_ode_bits" not in quiet.held_out(LatentBatch(latents=Latents(values=values)))
