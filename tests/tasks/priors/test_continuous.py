"""What every continuous prior keeps: all ranks, cost, samples by seed and index, labels, and what it learns."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from latentbench.results.errors import UserError
from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import PriorConfig, priors
from latentbench.tasks.priors.interface import Prior
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.optimisers import AdamW
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
SMALL = {
    "cascade": {"width": 16, "layers": 2, "attention_heads": 2, "steps": 3},
    "diffwave": {"width": 16, "layers": 4, "cycle": 2, "steps": 3},
    "flow": {"width": 16, "layers": 2, "attention_heads": 2, "steps": 3},
    "givt": {"width": 16, "layers": 2, "attention_heads": 2, "mixtures": 3},
    "mar": {"width": 16, "layers": 2, "attention_heads": 2, "head_layers": 1, "head_steps": 3, "iterations": 4},
    "unet": {"width": 8, "attention_heads": 2, "steps": 3},
}
VARIANTS = [
    ("cascade", {}),
    ("diffwave", {}),
    ("flow", {}),
    ("givt", {}),
    ("mar", {}),
    ("mar", {"order": "raster"}),
    ("unet", {"sampler": "ddim"}),
    ("unet", {"sampler": "ddpm", "prediction": "epsilon", "weighting": "p2"}),
    ("unet", {"sampler": "heun", "prediction": "x", "weighting": "min_snr"}),
]


def grid(shape: tuple[int, ...], channels: int = 3) -> LatentSpec:
    return LatentSpec(signal=SIGNAL, grids=(LatentGrid(shape=shape, channels=channels),))


def make(name: str, shape: tuple[int, ...], channels: int = 3, **options) -> Prior:
    """A small prior whose weights are random where they start at zero."""
    config: PriorConfig = priors.get(name)(**{**SMALL[name], **options})
    prior = build_prior(config, grid(shape, channels))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return prior.eval()


def batch_of(values: Tensor, **rest: Tensor) -> LatentBatch:
    return LatentBatch(latents=Latents(values=values), **rest)


RANKS = [(12,), (6, 4), (4, 3, 6)]
# Every network at every rank, every variant at one: orders, samplers, predictions and weightings know no ranks.
SERVED = [(name, {}, shape) for name in ("cascade", "flow", "givt", "mar") for shape in RANKS]
SERVED += [
    ("diffwave", {}, RANKS[0]),
    ("mar", {"order": "raster"}, RANKS[1]),
    *((*variant, shape) for variant, shape in zip(VARIANTS[-3:], RANKS, strict=True)),
]


def test_every_variant_is_trained_and_every_network_at_every_rank() -> None:
    assert all(any((name, options) == served[:2] for served in SERVED) for name, options in VARIANTS)
    for name in SMALL:
        reasons = {shape: priors.get(name)().unsupported_reason(grid(shape)) for shape in RANKS}
        assert {shape for other, _, shape in SERVED if other == name} == {
            s for s, reason in reasons.items() if not reason
        }
        assert all("one axis" in reason for reason in reasons.values() if reason)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "shape"), SERVED)
def test_every_rank_trains_and_samples(name: str, options: dict, shape: tuple[int, ...]) -> None:
    prior = make(name, shape, **options)
    pattern = torch.randn(3, *shape).sign()
    batch = batch_of(pattern + 0.2 * torch.randn(16, 3, *shape), indices=torch.arange(16))
    prior.on_train_start([batch])

    def scored() -> tuple[float, float]:
        """The held-out loss, and how far samples are from the data's mean."""
        samples = prior.eval().sample(8, seed=0).values
        assert samples.shape == (8, 3, *shape)
        scores = prior.held_out(batch)
        return float(next(iter(scores.values())).mean()), float((samples - pattern).square().mean())

    loss, distance = scored()
    parameters = list(prior.train().parameters())
    optimizer = AdamW(parameters, lr=1e-2, fused=True)
    for step in range(25):
        optimizer.zero_grad()
        prior.losses(batch, group="model", step=step, steps=25)["loss"].backward()
        assert all(p.grad is not None for p in parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        assert norm.isfinite()
        optimizer.step()
    trained_loss, trained_distance = scored()
    assert trained_loss < loss
    if options.get("sampler") != "heun":  # whose three steps are too few to say anything
        assert trained_distance < 0.8 * distance


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_samples_belong_to_seed_and_index(name: str, options: dict) -> None:
    prior = make(name, (8,), classes=3, **options)
    whole = prior.sample(6, seed=3, batch_size=6).values
    torch.testing.assert_close(prior.sample(6, seed=3, batch_size=4).values, whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(prior.sample(2, seed=3, start=4).values, whole[4:], atol=1e-4, rtol=1e-4)
    assert (prior.sample(6, seed=4).values - whole).abs().max() > 0.1


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_held_out_scores_are_fixed_by_the_index(name: str, options: dict) -> None:
    prior = make(name, (8,), **options)
    values, indices = torch.randn(5, 3, 8), torch.tensor([3, 8, 1, 0, 5])
    whole = prior.held_out(batch_of(values, indices=indices))
    torch.rand(3)
    part = prior.held_out(batch_of(values[[4, 1]], indices=indices[[4, 1]]))
    for score in whole:
        torch.testing.assert_close(part[score], whole[score][[4, 1]])
        assert whole[score].shape == (5,)
        assert whole[score].std() > 0


@pytest.mark.parametrize("shape", [(9,), (5, 6)])
@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_flops_are_those_that_torch_counts(name: str, options: dict, patch: int, shape: tuple[int, ...]) -> None:
    if name == "diffwave" and len(shape) > 1:
        return
    prior = make(name, shape, patch=(patch,) * len(shape), **options)
    with FlopCounterMode(display=False) as counter:
        prior.losses(batch_of(torch.randn(2, 3, *shape)), group="model", step=0, steps=1)
    config, spec = prior.config, prior.spec
    # the counter knows no fused attention on a CPU: 2 n^2 d for a causal one, 4 n^2 d for a full one
    n = math.prod(-(-size // patch) for size in shape)
    full, layers, width = 4, 2, 16
    if name == "givt" or options.get("order") == "raster":
        full = 2
    elif name == "mar":
        n += 1
    attention = full * n * n * width * layers
    if name == "unet":
        coarse = config.levels(spec)[-1]
        attention = 4 * math.prod(coarse.shape) ** 2 * coarse.width
    elif name == "diffwave":
        attention = 0
    elif name == "cascade":
        low = config.low(spec)
        attention += full * math.prod(config.base().patches_for(low)) ** 2 * width * layers
    assert counter.get_total_flops() / 2 + attention == pytest.approx(config.forward_flops(spec), rel=1e-6)


@pytest.mark.parametrize("name", ["cascade", "diffwave", "flow", "mar", "unet"])
def test_guidance_moves_between_and_beyond_the_two_predictions(name: str) -> None:
    one = {"sampler": "euler"} if name in ("unet", "diffwave") else {"order": "raster"} if name == "mar" else {}
    one |= {"head_steps": 1} if name == "mar" else {"steps": 1}
    shape = (1,) if name == "mar" else (8,)  # one token in one step: linear in the guidance
    samples = {}
    for guidance in (0.0, 1.0, 3.0):
        torch.manual_seed(1)
        prior = make(name, shape, classes=2, guidance=guidance, **one)
        with torch.no_grad():
            prior.labels.weight.mul_(20)
        samples[guidance] = prior.sample(4, seed=0).values
    assert (samples[1.0] - samples[0.0]).abs().max() > 1e-3
    if name != "cascade":  # two networks after each other
        expected = samples[0.0] + 3 * (samples[1.0] - samples[0.0])
        torch.testing.assert_close(samples[3.0], expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_labels_are_asked_for_and_counted(name: str) -> None:
    prior = make(name, (8,), classes=3)
    values = torch.randn(4, 3, 8)
    with pytest.raises(UserError, match="no labels"):
        prior.losses(batch_of(values), group="model", step=0, steps=1)
    prior.on_train_start([batch_of(values, labels=torch.tensor([0, 2, 2, 2]))])
    assert prior.labels.counts.tolist() == [1, 0, 3]
    assert prior.config.protocol.count("3 classes") == 1


def test_givt_refuses_guidance() -> None:
    with pytest.raises(ValueError, match="can't be guided"):
        priors.get("givt")(classes=2, guidance=2.0)


@pytest.mark.parametrize(("shape", "channels"), [((32, 32), 3), ((4096,), 1)])
@pytest.mark.parametrize("name", ["flow", "unet", "cascade", "diffwave"])
def test_signals_themselves_can_be_modelled(name: str, shape: tuple[int, ...], channels: int) -> None:
    if name == "diffwave" and len(shape) > 1:
        return
    prior = make(name, shape, channels, steps=1)
    values = torch.randn(1, channels, *shape)
    prior.losses(batch_of(values), group="model", step=0, steps=1)["loss"].backward()
    assert prior.sample(1, seed=0).values.shape == (1, channels, *shape)


def mixture(n: int) -> Tensor:
    """Two correlated bumps in two channels at two positions, `[n, 2, 2]`."""
    centre = torch.where(torch.rand(n) < 0.3, -1.2, 0.8)
    mixing = torch.tensor([[0.5, 0.0, 0.0, 0.0], [-0.3, 0.2, 0.0, 0.0], [0.3, 0.1, 0.3, 0.0], [0.0, 0.0, 0.2, 0.4]])
    direction = torch.tensor([1.0, 0.5, -0.5, 0.6])
    return (centre[:, None] * direction + torch.randn(n, 4) @ mixing.T).view(n, 2, 2)


# One of each network. That samplers, predictions and weightings agree is in test_schedule.py, in closed form; all
# variants are trained above.
LEARNERS = [
    ("unet", {"width": 24, "attention_heads": 2, "sampler": "ddim", "steps": 20}, 80),
    (
        "unet",
        {"width": 24, "attention_heads": 2, "prediction": "epsilon", "clip": 3.0, "sampler": "ddpm", "steps": 30},
        100,
    ),
    ("diffwave", {"width": 48, "layers": 4, "cycle": 2, "steps": 20}, 160),
    ("givt", {"width": 32, "layers": 2, "attention_heads": 2, "mixtures": 8}, 80),
    ("mar", {"width": 32, "layers": 2, "attention_heads": 2, "head_layers": 2}, 100),
    ("cascade", {"width": 32, "layers": 2, "attention_heads": 2, "factor": 2, "steps": 20}, 80),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "steps"), LEARNERS)
def test_it_learns_a_mixture(name: str, options: dict, steps: int, learn: Callable[..., None]) -> None:
    prior = build_prior(priors.get(name)(**options), grid((2,), 2))
    prior.on_train_start([batch_of(mixture(512))])
    learn(prior, lambda n: batch_of(mixture(n)), steps=steps, lr=5e-3, batch=256, decay=0.9)
    samples = prior.sample(1000, seed=0, batch_size=1000).values.flatten(1)
    truth = mixture(50000).flatten(1)
    torch.testing.assert_close(samples.mean(0), truth.mean(0), atol=0.12, rtol=0)
    torch.testing.assert_close(samples.T.cov(), truth.T.cov(), atol=0.2, rtol=0)
    noise = torch.randn_like(samples) @ torch.linalg.cholesky(truth.T.cov()).T + truth.mean(0)
    close = energy_distance(samples, truth[:1000])
    assert close < 0.5 * energy_distance(noise, truth[:1000]), "closer than a Gaussian with the same moments"


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'| (Székely & Rizzo 2013); 0 for equal distributions."""
    n, m = len(a), len(b)
    within = torch.cdist(a, a).sum() / (n * (n - 1)) + torch.cdist(b, b).sum() / (m * (m - 1))
    return float(2 * torch.cdist(a, b).mean() - within)
