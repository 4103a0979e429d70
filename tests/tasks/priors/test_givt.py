"""GIVT: its density is one, causal, sampled from, and reaches the entropy of a known source."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.givt import GIVTPrior, MixtureHead
from latentbench.tasks.priors.givt_config import GIVTConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))


def make(shape: tuple[int, ...], channels: int = 1, **options) -> GIVTPrior:
    spec = LatentSpec(signal=SIGNAL, grids=(LatentGrid(shape=shape, channels=channels),))
    prior = GIVTPrior(GIVTConfig(**{"width": 16, "layers": 2, "attention_heads": 2, "mixtures": 3, **options}), spec)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return prior.eval()


def bits(prior: GIVTPrior, values: Tensor) -> Tensor:
    return prior.held_out(LatentBatch(latents=Latents(values=values)))["nll_density_bits"]


def test_the_density_integrates_to_one() -> None:
    prior = make((2,))
    axis = torch.linspace(-12, 12, 301)
    points = torch.cartesian_prod(axis, axis)[:, None, :]
    density = torch.exp2(-bits(prior, points))
    assert density.sum().item() * (24 / 300) ** 2 == pytest.approx(1, abs=1e-3)
    assert density.max() / density.mean() > 5


def test_the_mixture_is_torchs() -> None:
    head = MixtureHead(8, 3, 4, 1e-3)
    torch.nn.init.normal_(head.out.weight, std=0.5)
    hidden, tokens = torch.randn(2, 5, 8), torch.randn(2, 5, 3)
    logits, means, scales = head(hidden)
    normal = torch.distributions.Independent(torch.distributions.Normal(means, scales), 1)
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=logits), normal)
    torch.testing.assert_close(head.nll(hidden, tokens, torch.ones(5, 3)), -mixture.log_prob(tokens))


@pytest.mark.slow
def test_a_padded_patch_counts_what_is_inside() -> None:
    """A grid of 3 in patches of 2: the fourth value exists in no density."""
    prior = make((3,), patch=(2,))
    axis = torch.linspace(-10, 10, 51)
    density = torch.exp2(-bits(prior, torch.cartesian_prod(axis, axis, axis)[:, None, :]))
    assert density.sum().item() * (20 / 50) ** 3 == pytest.approx(1, abs=5e-3)


def test_a_later_token_never_changes_an_earlier_density() -> None:
    prior = make((2, 3), 2)
    values = torch.randn(1, 2, 2, 3)
    before = prior.nll(LatentBatch(latents=Latents(values=values)))[0]
    for position in range(6):
        changed = values.clone().flatten(2)
        changed[:, :, position] += 1
        after = prior.nll(LatentBatch(latents=Latents(values=changed.view_as(values))))[0]
        torch.testing.assert_close(after[:position], before[:position])
        assert (after[position:] - before[position:]).abs().min() > 1e-6


def test_cached_summaries_are_the_uncached() -> None:
    prior = make((2, 3), 2)
    tokens = prior.sample(4, seed=0).values.flatten(2).transpose(1, 2)
    whole = prior.trunk.before(tokens, None)
    step = prior.trunk.stepper(4, 6, None)
    pieces = [step(tokens[:, n - 1] if n else None, n) for n in range(6)]
    torch.testing.assert_close(torch.stack(pieces, 1), whole, atol=1e-5, rtol=1e-4)


def test_samples_follow_the_density() -> None:
    prior = make((2,))
    drawn = prior.sample(4000, seed=1, batch_size=2000).values
    axis = torch.linspace(-12, 12, 301)
    points = torch.cartesian_prod(axis, axis)[:, None, :]
    weight = torch.exp2(-bits(prior, points))
    weight /= weight.sum()
    for moment in (lambda v: v, lambda v: v.square(), lambda v: v[:, :, :1] * v[:, :, 1:]):
        expected = (weight[:, None, None] * moment(points)).sum(0)
        error = 4.5 * moment(drawn).std(0) / math.sqrt(4000) + 0.01
        assert ((moment(drawn).double().mean(0) - expected).abs() < error).all()


def test_temperature_narrows() -> None:
    wide, narrow = (make((2,), mixtures=1, temperature=t) for t in (1.0, 0.1))
    narrow.load_state_dict(wide.state_dict())
    assert narrow.sample(200, seed=0).values[:, :, 0].std() < 0.2 * wide.sample(200, seed=0).values[:, :, 0].std()


@pytest.mark.slow
def test_it_reaches_the_entropy_of_a_switching_source(learn) -> None:
    """An autoregressive source whose noise has two bumps: entropy rate by numerical integration."""

    def draw(n: int) -> Tensor:
        x = torch.zeros(n, 6)
        for place in range(6):
            past = x[:, place - 1] if place else torch.zeros(n)
            bump = torch.where(torch.rand(n) < 0.4, -0.8, 0.6)
            x[:, place] = torch.tanh(past) * 0.8 + bump + 0.3 * torch.randn(n)
        return x[:, None]

    grid = torch.linspace(-6, 6, 20001, dtype=torch.float64)
    density = sum(
        w * torch.exp(-0.5 * ((grid - m) / 0.3) ** 2) / (0.3 * math.sqrt(2 * math.pi))
        for w, m in ((0.4, -0.8), (0.6, 0.6))
    )
    entropy = -6 * float((density * (density + 1e-300).log2()).sum()) * 12 / 20000
    spec = LatentSpec(signal=SIGNAL, grids=(LatentGrid(shape=(6,), channels=1),))
    prior = GIVTPrior(GIVTConfig(width=48, layers=2, attention_heads=2, mixtures=4), spec)
    learn(prior, lambda n: LatentBatch(latents=Latents(values=draw(n))), steps=120, lr=5e-3, batch=256)
    held_out = draw(20000)
    assert entropy > 5
    assert bits(prior, held_out).mean().item() == pytest.approx(entropy, rel=0.02)
