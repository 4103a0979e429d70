"""The adversarial loss: formulas, gradients against autograd, the late start, resuming, and what it does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentbench.bench.training import InterruptedTrainingError, train
from latentbench.results.errors import UserError
from latentbench.tasks.interface import FitReport
from latentbench.tasks.memory_mapped import MemoryMapped
from latentbench.tokenizers.auxiliary.adversary import (
    Adversary,
    discriminator_loss,
    feature_distance,
    generator_loss,
    gradient_penalty,
    gradient_ratio,
)
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec
from latentbench.tokenizers.training import TrainingConfig

Sample, Observe = Callable[..., Tensor], Callable[..., Any]
SCALES = [torch.linspace(-3, 2, 12).view(2, 1, 6), torch.tensor([[0.5], [-0.25]]).view(2, 1, 1, 1)]
OTHERS = [torch.linspace(4, -1, 12).view(2, 1, 6), torch.tensor([[-2.0], [3.0]]).view(2, 1, 1, 1)]


def numbers(scale: Tensor) -> list[float]:
    return [float(x) for x in scale.flatten()]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("loss", "fooling", "real", "fake"),
    [
        ("hinge", lambda d: -d, lambda d: max(0.0, 1 - d), lambda d: max(0.0, 1 + d)),
        (
            "softplus",
            lambda d: math.log1p(math.exp(-d)),
            lambda d: math.log1p(math.exp(-d)),
            lambda d: math.log1p(math.exp(d)),
        ),
    ],
)
def test_losses_are_the_naive_formulas(
    loss: str, fooling: Callable[[float], float], real: Callable[[float], float], fake: Callable[[float], float]
) -> None:
    expected = mean([mean([fooling(d) for d in numbers(scale)]) for scale in SCALES])
    assert generator_loss(SCALES, loss=loss).item() == pytest.approx(expected, rel=1e-5)
    expected = mean(
        [
            mean([real(d) for d in numbers(r)]) + mean([fake(d) for d in numbers(f)])
            for r, f in zip(SCALES, OTHERS, strict=True)
        ]
    )
    assert discriminator_loss(SCALES, OTHERS, loss=loss).item() == pytest.approx(expected, rel=1e-5)


def test_feature_matching_is_the_naive_formula() -> None:
    terms = []
    for real, fake in zip(SCALES, OTHERS, strict=True):
        gaps = [abs(f - r) for r, f in zip(numbers(real), numbers(fake), strict=True)]
        terms.append(mean(gaps) / mean([abs(r) for r in numbers(real)]))
    assert feature_distance(SCALES, OTHERS).item() == pytest.approx(mean(terms), rel=1e-5)


def test_the_ratio_of_gradients_is_bounded() -> None:
    one = torch.ones(4)
    assert gradient_ratio(3 * one, 2 * one).item() == pytest.approx(1.5, rel=1e-5)
    assert gradient_ratio(one, torch.zeros(4)).item() == 1e4
    assert gradient_ratio(torch.zeros(4), one).item() == 0


def test_the_gradient_penalty_of_a_linear_critic_is_half_its_squared_weights() -> None:
    weight = torch.randn(2, 6)
    x = torch.randn(3, 1, 6, requires_grad=True)
    scales = [(x[:, 0] @ w).view(3, 1, 1) for w in weight]  # two scales, whose logits are averaged
    expected = 0.5 * weight.mean(0).square().sum().item()
    assert gradient_penalty(scales, x).item() == pytest.approx(expected, rel=1e-5)


def tokenizer_with(signal: SignalSpec, options: object, recipe: str = "vq-vae", **more: object) -> ComposedTokenizer:
    torch.manual_seed(3)
    tokenizer = build(resolve(recipe, signal, {"auxiliary": {"adversary": options}, **more}))
    assert isinstance(tokenizer, ComposedTokenizer)
    return tokenizer


def adversary_of(tokenizer: ComposedTokenizer) -> Adversary:
    adversary = tokenizer.auxiliary_objectives["adversary"]
    assert isinstance(adversary, Adversary)
    return adversary


@pytest.mark.parametrize(
    "options",
    [
        {"weight": 0.7},
        {"net": "style", "loss": "softplus", "paired": True},
        {"net": "patch", "feature_matching": 0.3, "paired": True},
        {"adaptive": False, "weight": 0.2, "feature_matching": 0.5},
    ],
)
def test_the_gradient_is_autograd_s(
    options: dict[str, object], signal: SignalSpec, sample: Sample, observe: Observe
) -> None:
    options = {"start": 0.0, "width": 4, "layers": 2, **options}
    tokenizer, x = tokenizer_with(signal, options, width=8), sample(signal)
    tokenizer.on_train_start([x])
    training_step, _, losses = observe(tokenizer, "adversary", x)
    adversary = adversary_of(tokenizer)
    decoded = torch.cat([x, training_step.reconstruction], 1) if options.get("paired") else training_step.reconstruction
    real = torch.cat([x, x], 1) if options.get("paired") else x
    judged = adversary.discriminator(decoded)
    fooling = generator_loss(judged.logits, loss=str(options.get("loss", "hinge")))
    last = tokenizer.decoder.layers[-2].weight  # type: ignore[union-attr,index]
    factor = torch.ones(())
    if options.get("adaptive", True):
        norms = [
            torch.autograd.grad(part, last, retain_graph=True)[0].norm() for part in (training_step.fidelity, fooling)
        ]
        factor = norms[0] / (norms[1] + 1e-6)
        torch.testing.assert_close(losses["adaptive_weight"], factor, rtol=1e-4, atol=0)
    weight = float(options.get("weight", 1.0))  # type: ignore[arg-type]
    total = training_step.fidelity + sum(training_step.bottleneck_output.losses.values()) + weight * factor * fooling
    torch.testing.assert_close(losses["adversary"], weight * fooling.detach())
    if "feature_matching" in options:
        features = [feature.detach() for feature in adversary.discriminator(real).features]
        matching = float(options["feature_matching"]) * feature_distance(features, judged.features)  # type: ignore[arg-type]
        total = total + matching
        torch.testing.assert_close(losses["feature_matching"], matching.detach())
    parameters = tokenizer.param_groups()["model"]
    expected = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    losses["loss"].backward()
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(
            parameter.grad, torch.zeros_like(parameter) if gradient is None else gradient, rtol=1e-3, atol=1e-6
        )
    assert all(p.grad is None for p in adversary.parameters())


def test_a_decoder_without_weights_is_balanced_at_its_output(
    image: SignalSpec, sample: Sample, observe: Observe
) -> None:
    tokenizer, x = tokenizer_with(image, {"start": 0.0, "width": 4, "layers": 1}, recipe="linear-ae"), sample(image)
    training_step, _, losses = observe(tokenizer, "adversary", x)
    fooling = generator_loss(adversary_of(tokenizer).discriminator(training_step.reconstruction).logits, loss="hinge")
    norms = [
        torch.autograd.grad(part, training_step.reconstruction, retain_graph=True)[0].norm()
        for part in (training_step.fidelity, fooling)
    ]
    torch.testing.assert_close(losses["adaptive_weight"], norms[0] / (norms[1] + 1e-6), rtol=1e-5, atol=0)


@pytest.mark.parametrize("options", [{}, {"paired": True, "loss": "softplus", "r1": 0.4}])
def test_the_discriminator_s_turn_leaves_the_tokenizer_alone(
    options: dict[str, object], signal: SignalSpec, sample: Sample, observe: Observe
) -> None:
    tokenizer, x = tokenizer_with(signal, {"start": 0.0, "width": 4, "layers": 1, **options}, width=8), sample(signal)
    tokenizer.on_train_start([x])
    adversary = adversary_of(tokenizer)
    assert tokenizer.losses(x, group="discriminator", step=0, steps=1) == {}
    training_step, _, _ = observe(tokenizer, "adversary", x)
    turn = tokenizer.losses(x, group="discriminator", step=0, steps=1)
    genuine = x.clone().requires_grad_()
    decoded = training_step.reconstruction.detach()
    pairs = [torch.cat([x, other], 1) if options else other for other in (genuine, decoded)]
    if options:
        pairs[0] = torch.cat([genuine, genuine], 1)
    real, fake = (adversary.discriminator(pair).logits for pair in pairs)
    expected = discriminator_loss(real, fake, loss=str(options.get("loss", "hinge")))
    if options:
        expected = expected + 0.4 * gradient_penalty(real, genuine)
    torch.testing.assert_close(turn["loss"], expected)
    torch.testing.assert_close(turn["real"], torch.stack([part.detach().mean() for part in real]).mean())
    torch.testing.assert_close(turn["fake"], torch.stack([part.detach().mean() for part in fake]).mean())
    assert set(turn) == {"loss", "real", "fake", *(["r1"] if options else [])}
    turn["loss"].backward()
    own = tokenizer.param_groups()["discriminator"]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in own)
    assert all(p.grad is None for p in tokenizer.param_groups()["model"])
    assert tokenizer.losses(x, group="discriminator", step=1, steps=1) == {}


def test_nothing_is_judged_outside_of_training_or_before_the_start(image: SignalSpec, sample: Sample) -> None:
    tokenizer, x = tokenizer_with(image, {"start": 0.5, "width": 4, "layers": 1}, width=8), sample(image)
    tokenizer.on_train_start([x])
    assert "adversary" not in tokenizer.losses(x, group="model", step=1, steps=4)
    assert tokenizer.losses(x, group="discriminator", step=1, steps=4) == {}
    assert "adversary" in tokenizer.losses(x, group="model", step=2, steps=4)
    tokenizer.eval()
    with torch.no_grad():
        assert "adversary" not in tokenizer.losses(x, group="model", step=3, steps=4)
    assert tokenizer.config.schedule_milestones() == (0.0, 0.5)


def fit(
    tokenizer: ComposedTokenizer, signals: Tensor, folder: Path, *, stop: int | None = None, **config: object
) -> FitReport:
    """A run of the training loop; `stop` interrupts it after so many steps."""
    folder.mkdir(exist_ok=True)
    left = iter(range((stop or 10**9) - 1))
    options: dict[str, object] = {"steps": 10, "batch_size": 4, "lr": 2e-3, **config}
    return train(
        tokenizer,
        MemoryMapped(signals.numpy()),
        TrainingConfig(**options),  # type: ignore[arg-type]
        seed=2,
        folder=folder,
        device=torch.device("cpu"),
        stop=lambda: next(left, None) is None,
    )


LATE: dict[str, object] = {"start": 0.6, "width": 4, "layers": 1}


@pytest.mark.slow
def test_until_its_start_the_training_is_that_without_it_to_the_bit(
    image: SignalSpec, sample: Sample, tmp_path: Path
) -> None:
    x = sample(image, 12)
    states = {}
    for name, options in (("with", LATE), ("without", 0)):
        for steps in (6, 7):
            tokenizer = tokenizer_with(image, options, width=8)
            with pytest.raises(InterruptedTrainingError):
                fit(tokenizer, x, tmp_path / f"{name}-{steps}", stop=steps)
            states[name, steps] = tokenizer.state_dict()
    same = {
        steps: [torch.equal(v, states["with", steps][k]) for k, v in states["without", steps].items()]
        for steps in (6, 7)
    }
    assert all(same[6])
    assert not all(same[7])
    fresh = tokenizer_with(image, LATE, width=8).state_dict()
    own = [k for k in fresh if k.startswith("auxiliary_objectives.")]
    assert all(torch.equal(fresh[k], states["with", 6][k]) for k in own)
    moved = [k for k in own if not torch.equal(fresh[k], states["with", 7][k])]
    assert len(moved) >= len(own) - 1  # at first real and fake pull the last bias equally


@pytest.mark.slow
@pytest.mark.parametrize("options", [LATE, {**LATE, "net": "style", "paired": True, "r1": 1.0}])
def test_an_interrupted_training_goes_on_to_the_same_bits(
    options: dict[str, object], image: SignalSpec, sample: Sample, tmp_path: Path
) -> None:
    x = sample(image, 12)
    whole, parts = (tokenizer_with(image, options, width=8) for _ in range(2))
    report = fit(whole, x, tmp_path / "whole")
    for stop in (5, 1, 2):  # before the start, at it, and behind it
        with pytest.raises(InterruptedTrainingError):
            fit(tokenizer_with(image, options, width=8), x, tmp_path / "parts", stop=stop)
    again = fit(parts, x, tmp_path / "parts")
    assert again.curve == report.curve
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
    names = {name for row in report.curve for name in row}
    assert names >= {"adversary", "adaptive_weight", "discriminator_loss", "discriminator_real", "discriminator_fake"}
    assert "adversary" not in report.curve[5]
    assert "adversary" in report.curve[6]


def test_a_trained_tokenizer_has_no_discriminator(image: SignalSpec, sample: Sample, tmp_path: Path) -> None:
    tokenizer, x = tokenizer_with(image, {**LATE, "start": 0.0}, width=8), sample(image, 12)
    fit(tokenizer, x, tmp_path / "run", steps=2)
    assert tokenizer.state_dict().keys() == tokenizer_with(image, 0, width=8).state_dict().keys()


def test_flops_are_counted_on_both_sides_of_the_start(image: SignalSpec, sample: Sample, tmp_path: Path) -> None:
    x, counted = sample(image, 8), {}
    for start in (0.0, 0.75, None):
        tokenizer = tokenizer_with(image, 0 if start is None else {**LATE, "start": start}, width=8)
        counted[start] = fit(tokenizer, x, tmp_path / str(start), steps=1).flops
    extra = counted[0.0] - counted[None]
    assert extra > 0
    assert counted[0.75] - counted[None] == pytest.approx(0.25 * extra)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"net": "stft"},
            "t.auxiliary.adversary: net = 'stft' is for waveforms, not image; patch and style are for all",
        ),
        (
            {"net": "temporal"},
            "t.auxiliary.adversary: net = 'temporal' is for video, not image; patch and style are for all",
        ),
        ({"start": 1.0}, r"start must lie in \[0, 1\)"),
        ({"r1": -1.0}, "r1 must not be negative"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"windows": [8]}, "windows must be one or more sizes of at least 16 samples"),
        ({"windows": [512]}, "t.auxiliary.adversary: net 'patch' reads no spectra: leave out windows"),
        ({"net": "style", "windows": [512]}, "net 'style' reads no spectra: leave out windows"),
        ({"loss": "wgan"}, "loss: input should be 'hinge', 'softplus' or 'squares'"),
        ({"strat": 0.5}, "strat: unknown key; did you mean 'start'?"),
    ],
)
def test_a_mistake_is_one_line(options: dict[str, object], message: str, image: SignalSpec) -> None:
    with pytest.raises(UserError, match=message):
        resolve("vq-vae", image, {"auxiliary": {"adversary": options}}, where="t")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 2}, "net 'period' has the layers of its paper: leave out layers"),
        ({"windows": [512]}, "net 'period' reads no spectra: leave out windows"),
    ],
)
def test_options_that_the_nets_of_periods_do_not_read_are_refused(options: dict[str, object], message: str) -> None:
    sound = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(1024,), rate=8000.0)
    with pytest.raises(UserError, match=message):
        resolve("vq-vae", sound, {"auxiliary": {"adversary": {"net": "period", **options}}})
    for net in ("stft", "band", "codec"):
        resolve("vq-vae", sound, {"auxiliary": {"adversary": {"net": net, **options}}})


def test_the_recipe_s_net_follows_the_modality(signal: SignalSpec) -> None:
    config = resolve("vqgan", signal, {})
    (adversary,) = config.auxiliary
    assert adversary.net_for(signal) == ("stft" if signal.modality is Modality.WAVEFORM else "patch")  # type: ignore[attr-defined]
    assert TokenizerConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_the_temporal_net_trains_clips_paired_or_not() -> None:
    """Its gradient at the reconstruction sums to zero over the frames: no still error is judged."""
    signal = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 8, 8), rate=8.0)
    for paired in (False, True):
        options = {"net": "temporal", "paired": paired, "width": 4, "layers": 1, "start": 0.0, "adaptive": False}
        tokenizer = tokenizer_with(signal, options, width=8)
        losses = tokenizer.train().losses(torch.rand(2, 3, 4, 8, 8) - 0.5, group="model", step=0, steps=2)
        losses["loss"].backward()
        judged = adversary_of(tokenizer)
        assert judged.group_losses("discriminator", step=0, steps=2)["loss"].isfinite()
        x = torch.rand(2, 6 if paired else 3, 4, 8, 8, requires_grad=True)
        (gradient,) = torch.autograd.grad(judged.discriminator(x).logits[0].sum(), x)
        torch.testing.assert_close(gradient.sum(2), torch.zeros_like(gradient[:, :, 0]), atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="needs clips of two frames or more"):
        resolve(
            "framewise-vae",
            SignalSpec(modality=Modality.VIDEO, channels=3, shape=(1, 8, 8), rate=8.0),
            {"auxiliary": {"adversary": options}},
        )


def discs(count: int) -> Tensor:
    """Discs of random place, size and colour, with fine noise, `[count, 3, 16, 16]`."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    place, radius = 16 * torch.rand(count, 2, 1, 1), 2 + 4 * torch.rand(count, 1, 1)
    inside = torch.sigmoid(2 * (radius - ((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2).sqrt())).unsqueeze(1)
    front, back = (1.6 * torch.rand(2, count, 3, 1, 1) - 0.8).unbind()
    return inside * front + (1 - inside) * back + 0.1 * torch.randn(count, 3, 16, 16)


@pytest.mark.slow
def test_training_survives_the_start(tmp_path: Path) -> None:
    """The PSNR falls by less than 3 dB, and detail comes back: the decoder's share of the fine noise's energy rises."""
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
    images, held_out = discs(512), discs(128)

    def detail(x: Tensor) -> float:
        return (
            nn.functional.avg_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3).sub(x).square().mean().item()
        )

    psnr, fine = {}, {}
    for name, options in (("without", 0), ("with", {"start": 0.5, "weight": 0.5, "width": 16, "layers": 2})):
        tokenizer = tokenizer_with(signal, options, width=8, codebook_size=64)
        report = fit(tokenizer, images, tmp_path / name, steps=160, batch_size=16)
        assert all(math.isfinite(value) for row in report.curve for value in row.values())
        with torch.no_grad():
            decoded = tokenizer.decode(tokenizer.encode(held_out))
        psnr[name] = (10 * torch.log10(4 / (decoded - held_out).square().flatten(1).mean(1))).mean().item()
        fine[name] = detail(decoded) / detail(held_out)
    assert psnr["without"] - 3 < psnr["with"] < psnr["without"]
    assert fine["with"] > 1.5 * fine["without"]
