"""The prior in the loop: causality, the rate and its gradients, and what its weight does to a short training."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional as F

from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.prior_in_the_loop import CausalPrior, PriorInTheLoop, code_values
from latentbench.tokenizers.regularisers.prior_in_the_loop_config import PriorInTheLoopConfig
from latentbench.tokenizers.spec import Modality, SignalSpec

Sample = Callable[..., Tensor]
IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


def randomised(prior: CausalPrior) -> CausalPrior:
    """The prior with a head that says something."""
    torch.nn.init.normal_(prior.head.weight, std=0.1)
    return prior


def continuous(resolution: float = 0.1) -> PriorInTheLoop:
    regulariser = PriorInTheLoop(
        PriorInTheLoopConfig(resolution=resolution), resolve("ae", IMAGE, {"downsample": 4, "channels": 3})
    )
    randomised(regulariser.prior)
    return regulariser


def rate(regulariser: PriorInTheLoop, values: Tensor) -> Tensor:
    torch.manual_seed(1)
    return regulariser.rate(values)


def test_a_position_is_predicted_from_those_before_it() -> None:
    prior = randomised(CausalPrior(3, 5, (2, 3), width=32, layers=2))
    x = torch.randn(1, 6, 3, requires_grad=True)
    for position in range(6):
        (gradient,) = torch.autograd.grad(prior(x)[0, position].sum(), x)
        touched = gradient[0].abs().sum(-1) > 0
        assert touched.tolist() == [n < position for n in range(6)]


def test_the_rate_is_the_nats_above_the_noise() -> None:
    regulariser, z = continuous(0.2), torch.randn(64, 3, 4, 4)
    torch.manual_seed(1)
    noise = torch.randn_like(z)
    mean, std = z.mean((0, 2, 3), keepdim=True), z.std((0, 2, 3), correction=0, keepdim=True)
    read = (((z - mean) / std + 0.2 * noise) / math.sqrt(1.04)).flatten(2).mT
    with torch.no_grad():
        expected, spread = regulariser.prior(read).chunk(2, dim=-1)
    floor = 0.04 / 1.04
    deviation = (floor + (1 - floor) * spread.exp()).sqrt()
    nats = -Normal(expected, deviation).log_prob(read).flatten(1).sum(1).mean()
    nats -= 48 * Normal(0.0, math.sqrt(floor)).entropy()
    assert rate(regulariser, z).item() == pytest.approx(nats.item(), rel=1e-5)


def test_smaller_latents_are_no_way_to_a_lower_rate() -> None:
    regulariser = continuous()
    z = torch.randn(8, 3, 4, 4, requires_grad=True)
    loss = rate(regulariser, z)
    torch.testing.assert_close(rate(regulariser, 0.01 * z - 5), loss, rtol=2e-3, atol=0)
    (gradient,) = torch.autograd.grad(loss, z)
    along = (gradient * z).sum((0, 2, 3))
    assert along.abs().max().item() < 1e-4 * (gradient.norm() * z.norm()).item()
    assert gradient.sum((0, 2, 3)).abs().max().item() < 1e-4 * gradient.abs().sum().item()


def test_the_decoder_reads_the_same_noise_and_only_in_training() -> None:
    regulariser, z = continuous(0.2), 7 * torch.randn(256, 3, 4, 4)
    assert (regulariser.values(z) - z).std().item() == pytest.approx(1.4, rel=0.05)
    assert regulariser.eval().values(z) is z


def test_a_constant_channel_costs_nothing_and_has_a_gradient() -> None:
    regulariser = continuous()
    torch.nn.init.zeros_(regulariser.prior.head.weight)
    with torch.no_grad():
        regulariser.prior.head.bias[3:] = -10.0  # all variance is the noise's
    z = torch.ones(512, 3, 4, 4, requires_grad=True)
    loss = rate(regulariser, z)
    assert loss.item() == pytest.approx(0, abs=0.7)  # of 48 elements, three deviations
    loss.backward()
    assert z.grad is not None
    assert bool(torch.isfinite(z.grad).all())


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("vq-vae", {"codebook_size": 16, "bottleneck": {"normalise": True}}),
        ("multi-head-vq", {"codebook_size": 16, "heads": 2}),
        ("rvq", {"codebook_size": 16, "levels": 3}),
        ("fsq", {"levels": [4, 3, 5]}),
        ("lfq", {"channels": 4}),
    ],
)
def test_codes_add_up_to_values_and_train_the_encoder(recipe: str, options: dict[str, object], sample: Sample) -> None:
    config = resolve(recipe, IMAGE, {"width": 8, **options, "regularisers": {"prior_in_the_loop": {"weight": 2.0}}})
    tokenizer, x = build(config), sample(IMAGE, 4)
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start([x])
    with torch.no_grad():
        latents = tokenizer.encode(x)
        tables = code_values(tokenizer.bottleneck, config.spec.grid.codebook_sizes, 4)
        assert latents.codes is not None
        assert latents.values is not None
        total = tokenizer.bottleneck.lookup(torch.zeros_like(latents.codes))
        for head, table in enumerate(tables):
            total = total + table[latents.codes[:, head]].movedim(-1, 1)
    torch.testing.assert_close(total, latents.values)
    regulariser = tokenizer.auxiliary_objectives["prior_in_the_loop"]
    assert isinstance(regulariser, PriorInTheLoop)
    randomised(regulariser.prior)
    losses = tokenizer.losses(x, group="model", step=0, steps=1)
    with torch.no_grad():
        logits = regulariser.prior(latents.values.flatten(2).mT).split(config.spec.grid.codebook_sizes, dim=-1)
    nats = sum(
        F.cross_entropy(scores.flatten(0, 1), latents.codes[:, head].flatten(), reduction="sum").item()
        for head, scores in enumerate(logits)
    )
    assert losses["prior"].item() == pytest.approx(2.0 * nats / 4 / IMAGE.elements, rel=1e-4)


def test_a_feature_moves_towards_the_code_that_is_expected(sample: Sample) -> None:
    options = {"width": 8, "codebook_size": 8, "regularisers": {"prior_in_the_loop": {}}}
    tokenizer, x = build(resolve("vq-vae", IMAGE, options)), sample(IMAGE, 4)
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start([x])
    regulariser = tokenizer.auxiliary_objectives["prior_in_the_loop"]
    assert isinstance(regulariser, PriorInTheLoop)
    with torch.no_grad():
        regulariser.prior.head.bias[5] = 4.0  # nothing is read, and code 5 is what comes
    seen: list[Tensor] = []
    tokenizer.bottleneck.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    losses = tokenizer.losses(x, group="model", step=0, steps=1)
    # The other losses of the pass are taken away by their own gradient.
    rest = build(resolve("vq-vae", IMAGE, {"width": 8, "codebook_size": 8}))
    assert isinstance(rest, ComposedTokenizer)
    rest.load_state_dict({k: v for k, v in tokenizer.state_dict().items() if not k.startswith("auxiliary_objectives")})
    rest.bottleneck.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    (with_prior,) = torch.autograd.grad(losses["loss"], seen[0])
    (without,) = torch.autograd.grad(rest.losses(x, group="model", step=0, steps=1)["loss"], seen[1])
    step = (without - with_prior).movedim(1, -1).flatten(0, -2)
    features = seen[0].detach().movedim(1, -1).flatten(0, -2)
    codes = tokenizer.bottleneck.encode(seen[0]).codes
    assert codes is not None
    target = tokenizer.bottleneck.lookup(torch.full((1, 1, 1, 1), 5)).flatten()
    others = codes.flatten() != 5
    towards = (step * (target - features)).sum(-1)[others]
    assert (towards > 0).float().mean().item() > 0.9


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("vq-vae-2", {}, "one grid of latents, and 'vq_vae_2' has 2"),
        ("fsq", {"levels": [32, 32, 32]}, "codebooks of at most 16384 codes, not 32768"),
    ],
)
def test_what_it_can_not_read_is_refused(recipe: str, options: dict[str, object], message: str) -> None:
    reason = PriorInTheLoopConfig().unsupported_reason(resolve(recipe, IMAGE, options))
    assert reason is not None
    assert message in reason


def fresh_nats(train: Tensor, held_out: Tensor) -> float:
    """Nats per element of normalised latents under a linear-Gaussian prior fitted anew, read with noise of 0.1."""
    mean, std = train.mean((0, 2, 3), keepdim=True), train.std((0, 2, 3), keepdim=True)
    seen, unseen = (((z - mean) / std).flatten(2).mT.double() for z in (train, held_out))
    total = 0.0
    for n in range(seen.shape[1]):
        a, b = (F.pad(z[:, :n].flatten(1), (1, 0), value=1.0) for z in (seen, unseen))
        weights = torch.linalg.solve(a.T @ a + torch.eye(a.shape[1]), a.T @ seen[:, n])
        variance = (seen[:, n] - a @ weights).square().mean(0) + 0.01
        error = (unseen[:, n] - b @ weights).square().mean(0) + 0.01
        total += (0.5 * (error / variance - 1 + (variance / 0.01).log())).mean().item()
    return total / seen.shape[1]


@pytest.mark.slow
def test_latents_become_easier_to_predict_and_over_weighted_hold_little(
    discs: tuple[Tensor, Tensor],
    fitted: Callable[..., ComposedTokenizer],
    quality: Callable[..., float],
    quality_of_mean: float,
) -> None:
    much = {"training": {"steps": 100, "batch_size": 16, "lr": 1e-2}}
    nats, psnr = [], []
    for recipe, weight, training in (
        ("kl-vae", 0, {}),
        ("prior-in-the-loop", 1, {}),
        ("prior-in-the-loop", 30, much),
    ):
        options = {"regularisers": {"prior_in_the_loop": {"weight": weight}}, **training} if weight else {}
        tokenizer = fitted(recipe, options)
        with torch.no_grad():
            train, test = (tokenizer.encode(x).values for x in discs)
        assert train is not None
        assert test is not None
        nats.append(fresh_nats(train, test))
        psnr.append(quality(tokenizer))
    assert nats[1] < 0.9 * nats[0]
    assert psnr[1] > psnr[0] - 1.5
    assert nats[2] < 0.3 * nats[0]
    assert psnr[2] - quality_of_mean < 0.4 * (psnr[0] - quality_of_mean)
