"""Priors whose first frames are given: exact where `ar` is, scored on the others alone, and they use the condition."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.bench.flops import counter
from latentbench.results.errors import UserError
from latentbench.tasks.latents import LatentBatch, LatentSplit
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import resolve_prior
from latentbench.tasks.priors.first_frames import Continuations, FramePrior, after, divided, joined
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(9, 8, 8), rate=8)
SMALL = {"width": 16, "attention_heads": 2, "condition_frames": 1}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("ar", {"layers": 2}),
    ("ar", {"layers": 2, "attention": "factorised", "condition_frames": 2}),
    ("flow", {"layers": 2, "steps": 2}),
    ("flow", {"layers": 2, "steps": 2, "patch": [2, 1, 1], "attention": "factorised"}),
    ("unet", {"steps": 2}),
    ("unet", {"steps": 2, "sampler": "ddpm"}),
]


def clips(discrete: bool, shape: tuple[int, ...] = (3, 2, 2)) -> LatentSpec:
    grid = LatentGrid(shape=shape, channels=2, codebook_sizes=(5, 4) if discrete else ())
    return LatentSpec(signal=SIGNAL, grids=(grid,))


def make(name: str, shape: tuple[int, ...] = (3, 2, 2), **options: Any) -> FramePrior:
    """A small prior whose weights are random where they start at zero."""
    spec = clips(name == "ar", shape)
    prior = build_prior(resolve_prior(name, SMALL | options, spec, where="s"), spec)
    assert isinstance(prior, FramePrior)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return prior.eval()


def latents_for(prior: FramePrior, size: int) -> Tensor:
    grid = prior.spec.grid
    if grid.codebook_sizes:
        return torch.stack([torch.randint(k, (size, *grid.shape)) for k in grid.codebook_sizes], 1)
    return torch.randn(size, grid.channels, *grid.shape)


def batch_of(x: Tensor) -> LatentBatch:
    name = "values" if x.is_floating_point() else "codes"
    return LatentBatch(latents=Latents(**{name: x}))


def drawn(latents: Latents) -> Tensor:
    x = latents.values if latents.codes is None else latents.codes
    assert x is not None
    return x


@pytest.mark.parametrize("options", [{}, {"attention": "factorised"}])
def test_the_likelihood_is_that_of_the_rest_given_the_first(options: dict[str, Any]) -> None:
    """Over all ways to go on after one first frame the probabilities sum to one; with no frame given, those of the
    frame times those of the rest."""
    spec = LatentSpec(signal=SIGNAL, grids=(LatentGrid(shape=(3, 2, 1), channels=1, codebook_sizes=(3,)),))
    options = SMALL | {"layers": 2} | options
    prior = build_prior(resolve_prior("ar", options, spec, where="s"), spec)
    whole = build_prior(resolve_prior("ar", options | {"condition_frames": 0}, spec, where="s"), spec)
    whole.load_state_dict(prior.state_dict())
    rest = torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, 1, 2, 2, 1)
    for first in ([0, 0], [2, 1]):
        codes = torch.cat((torch.tensor(first).view(1, 1, 1, 2, 1).expand(len(rest), -1, -1, -1, -1), rest), 2)
        bits = prior.held_out(batch_of(codes))["nll_bits"]
        assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=1e-5)
        spent = whole.held_out(batch_of(codes))["nll_bits"] - bits  # on the first frame: the same for all
        torch.testing.assert_close(spent, spent[:1].expand_as(spent))
        assert spent[0] > 1


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_samples_keep_the_first_frames_and_depend_on_them(name: str, options: dict[str, Any]) -> None:
    prior = make(name, **options)
    count, x = prior.config.condition_frames, latents_for(prior, 4)
    first, _ = divided(x, count)
    samples = drawn(prior.sample_at(range(4), seed=1, first=first))
    assert samples.shape == x.shape
    assert (samples[:, :, :count] == first).all()
    assert first is not None
    moved = drawn(prior.sample_at(range(4), seed=1, first=first.flip(0)))[:, :, count:]
    again = drawn(prior.sample_at(range(4), seed=1, first=first))
    torch.testing.assert_close(again, samples, rtol=0, atol=0)
    assert (moved != samples[:, :, count:]).any()
    with pytest.raises(ValueError, match=f"expected {count} first frames to draw the others after, got 0"):
        prior.sample_at(range(4), seed=1)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_losses_are_of_the_rest_alone(name: str, options: dict[str, Any]) -> None:
    """The score is a mean or sum over what is not given: the gradient with respect to the prediction of the given
    part is zero, as a prior that predicts that part badly scores the same."""
    prior = make(name, **options)
    x = latents_for(prior, 3)
    score = next(iter(prior.held_out(batch_of(x)).values()))
    torch.manual_seed(0)
    loss = prior.losses(batch_of(x), group="model", step=0, steps=1)["loss"]
    assert loss.isfinite()
    if name == "ar":
        nats = prior.nll(x)  # type: ignore[operator]
        assert nats.shape[1] == (3 - prior.config.condition_frames) * 4
        torch.testing.assert_close(loss, nats.mean())
        return
    wrong = lambda x, t: torch.cat((x[:, :, :1] + 1e6, x[:, :, 1:]), dim=2)  # noqa: E731
    first, rest = divided(x, 1)
    assert after(first, wrong)(rest, torch.zeros(3)).abs().max() < 1e3
    assert (score < 1e3).all()


def test_cached_drawing_of_codes_is_the_models_own() -> None:
    for options in ({}, {"attention": "factorised"}, {"positions": "rotary"}):
        prior = make("ar", layers=2, **options)
        first, _ = divided(latents_for(prior, 4), 1)
        cached, anew = (prior.sample_at(range(4), seed=1, first=first, cached=c).codes for c in (True, False))  # type: ignore[call-arg]
        assert (cached == anew).all()


def test_flops_are_those_that_torch_counts() -> None:
    prior = make("ar", layers=2)
    with counter() as counted:
        prior.losses(batch_of(latents_for(prior, 2)), group="model", step=0, steps=1)
    masked = 2 * 2 * 12**2 * 16
    assert counted.get_total_flops() / 2 - masked == pytest.approx(prior.config.forward_flops(prior.spec), rel=1e-9)


def test_exact_density_is_of_the_rest() -> None:
    """A velocity x - m of the rest alone, its flow known in closed form: the density is of so many fewer values."""
    prior = make("flow", layers=2, likelihood="exact", likelihood_steps=4)
    with torch.no_grad():
        for parameter in prior.net.out.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    x = latents_for(prior, 2)
    bits = prior.held_out(batch_of(x))["nll_ode_bits"]
    normal = torch.distributions.Normal(0, 1).log_prob(x[:, :, 1:]).flatten(1).sum(1) / -np.log(2)
    torch.testing.assert_close(bits.float(), normal.float())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ar", "flow"])
def test_it_learns_to_go_on_as_the_first_frame_began(name: str, learn: Any) -> None:
    """Clips of one colour: given the first frame, the others are known."""
    spec = clips(name == "ar")
    options = {"width": 32, "layers": 2, "attention_heads": 2, "condition_frames": 1}
    prior = build_prior(resolve_prior(name, options, spec, where="s"), spec)
    assert isinstance(prior, FramePrior)

    def draw(n: int) -> LatentBatch:
        colour = torch.randint(0, 2, (n, 1, 1, 1, 1)).expand(n, 2, 3, 2, 2)
        return batch_of(3 * colour if name == "ar" else 2.0 * colour - 1)

    learn(prior, draw, steps=60, lr=1e-2)
    first, truth = divided(drawn(draw(32).latents), 1)
    _, rest = divided(drawn(prior.sample_at(range(32), seed=0, first=first)), 1)
    assert ((rest - truth).abs() < 0.5).float().mean() > 0.95


def test_denoising_leaves_the_first_frame_alone() -> None:
    for name, options in (("flow", {"layers": 2}), ("unet", {})):
        prior = make(name, **options)
        x = latents_for(prior, 3)
        guess = prior.denoise(batch_of(x), torch.randn_like(x), 0.5)
        assert guess is not None
        assert (guess[:, :, :1] == x[:, :, :1]).all()
        assert (guess[:, :, 1:] != x[:, :, 1:]).all()


def test_each_sample_follows_its_clip() -> None:
    prior = make("flow", layers=2, steps=1)
    x = latents_for(prior, 5).numpy()
    split = LatentSplit(levels=({"values": x},), labels=None, moments=(None,))
    assert Continuations(prior, split, samples=12).clips_of(range(3, 8)).tolist() == [3, 4, 0, 1, 2]
    assert Continuations(prior, split, samples=2).clips_of(range(2)).tolist() == [0, 2]
    sampler = Continuations(prior, split, samples=12)
    whole = drawn(sampler.sample(12, seed=3, batch_size=5))
    assert (whole[:, :, :1].numpy() == x[np.arange(12) % 5, :, :1]).all()
    assert (whole[0] != whole[5])[:, 1:].all()  # another draw after the same frame
    part = drawn(sampler.sample(3, seed=3, batch_size=2, start=6))
    torch.testing.assert_close(part, whole[6:9], atol=1e-4, rtol=1e-4)


def test_dividing_and_joining_are_inverse() -> None:
    x = torch.randn(2, 3, 4, 2, 2)
    for count in (0, 1, 3):
        first, rest = divided(x, count)
        assert rest.shape[2] == 4 - count
        assert (joined(first, rest) == x).all()


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        (
            "flow",
            {},
            (4, 4),
            r"condition_frames are of clips' latents .* and they are video with axes \[4, 4\]",
        ),
        (
            "unet",
            {"condition_frames": 3},
            (3, 2, 2),
            r"condition_frames \(3\) leave nothing to model of 3",
        ),
        ("ar", {"order": "delay"}, (3, 2, 2), 'condition_frames needs order = "raster"'),
        ("flow", {"classes": 4}, (3, 2, 2), "condition_frames and classes are two conditions"),
        ("ar", {"condition_frames": -1}, (3, 2, 2), "condition_frames must be at least 0"),
        ("mar", {}, (3, 2, 2), "condition_frames"),
    ],
)
def test_what_makes_no_sense_is_one_line(name: str, options: dict, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve_prior(name, SMALL | options, clips(name == "ar", shape), where="s: prior")
    assert str(caught.value).startswith("s: prior")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ar", "flow", "unet"])
def test_none_given_stays_out_of_job_keys(name: str) -> None:
    spec = clips(name == "ar")
    assert "condition_frames" not in resolve_prior(name, {}, spec, where="s").identity()
    given = resolve_prior(name, SMALL | {"condition_frames": 2}, spec, where="s")
    assert given.identity()["condition_frames"] == 2
    assert given.protocol.endswith(", given the first 2 latent frames")
