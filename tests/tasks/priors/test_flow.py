"""The flow prior: its path, its integrators against closed forms, its patches, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.flow import (
    FlowPrior,
    integrate,
    interpolate,
    patchify,
    unpatchify,
)
from latentbench.tasks.priors.flow_config import FlowConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.optimisers import AdamW
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
SHAPES = [(9,), (6, 5), (3, 4, 5)]


def make(shape: tuple[int, ...], channels: int = 3, **options) -> FlowPrior:
    defaults = {"width": 16, "layers": 2, "attention_heads": 2, "steps": 4}
    spec = LatentSpec(signal=SIGNAL, grids=(LatentGrid(shape=shape, channels=channels),))
    prior = FlowPrior(FlowConfig(**{**defaults, **options}), spec)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return prior.eval()


def gaussian_velocity(mean: float, std: float):
    """E[eps - x_0 | x_t] for x_0 ~ N(mean, std^2), in closed form."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        t = t[:, None]
        variance = (1 - t) ** 2 * std**2 + t**2
        return (t - (1 - t) * std**2) / variance * (x - (1 - t) * mean) - mean

    return velocity


def test_the_path_and_its_velocity() -> None:
    clean, noise = torch.randn(2, 4, 3, 5, 5).unbind(0)
    t = torch.rand(4)
    x, velocity = interpolate(clean, noise, t)
    shaped = t.view(4, 1, 1, 1)
    torch.testing.assert_close(x, (1 - shaped) * clean + shaped * noise)
    ahead, _ = interpolate(clean.double(), noise.double(), t.double() + 1e-4)
    back, _ = interpolate(clean.double(), noise.double(), t.double() - 1e-4)
    torch.testing.assert_close((ahead - back) / 2e-4, velocity.double(), rtol=1e-5, atol=1e-5)


def test_the_closed_form_velocity_minimises_the_objective() -> None:
    clean, noise = 1.5 + 0.3 * torch.randn(200000, 1), torch.randn(200000, 1)
    x, target = interpolate(clean, noise, torch.full((200000,), 0.6))
    best = gaussian_velocity(1.5, 0.3)(x, torch.full((200000,), 0.6))
    error = (best - target).square().mean()
    for wrong in (best + 0.1, best * 1.1):
        assert (wrong - target).square().mean() > error
    assert ((target - best) * x).mean().abs() < 0.02


def test_the_loss_of_who_knows_latents_as_gaussian_alone() -> None:
    """What claim A11 has to beat, at uniform times; who knows nothing has 2."""
    clean, noise = torch.randn(2, 200000, 1).unbind(0)
    t = (torch.arange(200000) + 0.5) / 200000
    x, target = interpolate(clean, noise, t)
    error = (gaussian_velocity(0.0, 1.0)(x, t) - target).square().mean()
    assert float(error) == pytest.approx(math.pi / 2, rel=0.02)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2)])
def test_integration_of_a_gaussian_meets_its_closed_form(method: str, order: int) -> None:
    noise = torch.randn(64, 1, dtype=torch.float64)
    exact = 1.5 + 0.3 * noise
    errors = []
    for steps in (50, 100):
        result = integrate(gaussian_velocity(1.5, 0.3), noise, steps=steps, method=method)
        errors.append((result - exact).abs().max().item())
    assert errors[1] < 0.03
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.25)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_patches_are_undone(shape: tuple[int, ...], size: int) -> None:
    x = torch.randn(2, 3, *shape)
    patch = (size,) * len(shape)
    torch.testing.assert_close(unpatchify(patchify(x, patch), patch, shape), x)
    first = patchify(x, patch)[0, 0].view(3, *patch)
    torch.testing.assert_close(first, x[(0, slice(None), *(slice(0, size) for _ in shape))])


@pytest.mark.parametrize("shape", SHAPES)
def test_every_rank_trains_and_samples(shape: tuple[int, ...]) -> None:
    prior = make(shape, patch=(2,) * len(shape))
    pattern = torch.randn(3, *shape).sign()
    batch = LatentBatch(latents=Latents(values=pattern + 0.2 * torch.randn(16, 3, *shape)))
    before = prior.sample(8, seed=0).values
    assert before.shape == (8, 3, *shape)
    optimizer = AdamW(prior.parameters(), lr=1e-2)
    for step in range(25):
        optimizer.zero_grad()
        prior.losses(batch, group="model", step=step, steps=25)["loss"].backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in prior.parameters())
        optimizer.step()
    after = prior.sample(8, seed=0).values
    assert (after - pattern).square().mean() < 0.8 * (before - pattern).square().mean()


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_samples_belong_to_seed_and_index(sampler: str) -> None:
    prior = make((4, 4), sampler=sampler)
    whole = prior.sample(7, seed=3, batch_size=7).values
    torch.testing.assert_close(prior.sample(7, seed=3, batch_size=2).values, whole)
    torch.testing.assert_close(prior.sample(2, seed=3, start=5).values, whole[5:])
    assert (prior.sample(7, seed=4).values - whole).abs().max() > 0.1


def test_the_held_out_loss_is_fixed_by_the_index() -> None:
    prior = make((4, 4))
    values = torch.randn(6, 3, 4, 4)
    indices = torch.tensor([3, 8, 1, 0, 5, 9])
    whole = prior.held_out(LatentBatch(latents=Latents(values=values), indices=indices))["flow_loss"]
    torch.rand(3)
    part = LatentBatch(latents=Latents(values=values[[4, 1]]), indices=indices[[4, 1]])
    torch.testing.assert_close(prior.held_out(part)["flow_loss"], whole[[4, 1]])
    other = LatentBatch(latents=Latents(values=values), indices=indices + 100)
    assert (prior.held_out(other)["flow_loss"] - whole).abs().min() > 1e-4
    assert whole.shape == (6,)


def test_the_held_out_loss_estimates_the_objective() -> None:
    prior = make((4,), channels=2)
    values = torch.randn(1, 2, 4).expand(512, -1, -1)
    fixed = prior.held_out(LatentBatch(latents=Latents(values=values)))["flow_loss"].mean()
    t = torch.linspace(0, 1, 4001)[:-1] + 1 / 8000
    with torch.no_grad():
        dense = prior._errors(prior.net, values[:1].expand(4000, -1, -1), torch.randn(4000, 2, 4), t).mean()
    assert fixed.item() == pytest.approx(dense.item(), rel=0.03)


@pytest.mark.slow
def test_it_learns_a_mixture(learn) -> None:
    def draw(n: int) -> Tensor:
        centre = torch.where(torch.rand(n) < 0.3, -1.2, 0.8)
        mixing = torch.tensor([[0.5, 0.0], [-0.3, 0.2]])
        return (centre[:, None] * torch.tensor([1.0, 0.5]) + torch.randn(n, 2) @ mixing.T)[:, :, None]

    prior = make((1,), channels=2, width=64, layers=2, steps=25)
    learn(prior, lambda n: LatentBatch(latents=Latents(values=draw(n))), steps=150, lr=3e-3, batch=256, decay=0.9)
    truth, samples = draw(100000)[:, :, 0], prior.eval().sample(1500, seed=0, batch_size=1500).values[:, :, 0]
    torch.testing.assert_close(samples.mean(0), truth.mean(0), atol=0.08, rtol=0)
    torch.testing.assert_close(samples.T.cov(), truth.T.cov(), atol=0.08, rtol=0)
    direction = torch.tensor([1.0, 0.5])
    places = torch.linspace(-3, 3, 31)
    ours, theirs = (((s @ direction)[:, None] < places).double().mean(0) for s in (samples, truth))
    torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0)
