"""The diffusion decoder against closed forms, its sampler, its distillation, and what it composes with."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentbench.bench.training import InterruptedTrainingError, train
from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.diffusion_decoders.diffusion import FlowDecoder, integrate
from latentbench.tokenizers.diffusion_decoders.diffusion_config import FlowDecoderConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.optimisers import AdamW
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

Sample = Callable[..., Tensor]
IMAGE = SignalSpec(modality=Modality.IMAGE, channels=2, shape=(8, 8))
CPU = torch.device("cpu")


def decoder(scale: float = 0.3, **options: Any) -> FlowDecoder:
    """A fresh decoder of small images, whose network gives zeros."""
    flow_decoder = FlowDecoder(FlowDecoderConfig(width=8, **options), IMAGE)
    flow_decoder.scale.fill_(scale)
    flow_decoder.seen.fill_(1)
    return flow_decoder.eval()


def sampled_by_flow(decoder: FlowDecoder, condition: Tensor, *, steps: int) -> Tensor:
    """A sample of the flow that a decoder's student learns from."""
    student, decoder.student = decoder.student, None
    sample = decoder.sample(condition, steps=steps)
    decoder.student = student
    return sample


def awake(module: nn.Module) -> None:
    """Moves parameters that start at zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)


class GaussianField(nn.Module):
    """What a perfect network gives for independent Gaussian residuals of `variance`: velocity = ratio(t) y."""

    def __init__(self, variance: float, noise_std: float) -> None:
        super().__init__()
        self.variance, self.noise_std = variance, noise_std

    def forward(self, y: Tensor, condition: Tensor, t: Tensor, step_size: Tensor | None = None) -> Tensor:
        k, t = self.noise_std, t.view(-1, 1, 1, 1)
        deviation = ((1 - t) ** 2 + (k * t) ** 2).sqrt()
        y = y * deviation
        best = (k**2 * t - self.variance * (1 - t)) / ((1 - t) ** 2 * self.variance + (k * t) ** 2)
        return (best - (k**2 * t - (1 - t)) / deviation**2) * y * deviation / k


@pytest.mark.parametrize("noise_std", [1.0, 0.4])
def test_the_loss_is_the_squared_error_of_the_velocity(noise_std: float, monkeypatch: pytest.MonkeyPatch) -> None:
    flow_decoder = decoder(noise_std=noise_std)
    awake(flow_decoder)
    signal, condition = torch.randn(2, 5, 2, 8, 8)
    noise, t = torch.randn(5, 2, 8, 8), torch.linspace(0.02, 1.0, 5)
    monkeypatch.setattr(torch, "randn_like", lambda x: noise)
    monkeypatch.setattr(flow_decoder, "_times", lambda n, device: t)
    with torch.no_grad():
        terms = flow_decoder.losses(signal, condition, step=0, steps=1)
        u, at = (signal - condition) / 0.3, t.view(-1, 1, 1, 1)
        y = (1 - at) * u + at * noise_std * noise
        velocity = flow_decoder._flow_velocity(condition)(y, t, 0.0)
    assert terms["flow"].item() == pytest.approx(
        (0.3 * (velocity - (noise_std * noise - u))).square().mean().item(), rel=1e-5
    )


def test_a_network_of_zeros_loses_pi_over_two_on_white_noise() -> None:
    """E |v - a y|^2 = 1 / q with q = (1 - t)^2 + t^2 at k = 1, whose mean over t in [0, 1] is pi / 2."""
    flow_decoder = decoder(times="uniform")
    signal = 0.3 * torch.randn(4096, 2, 8, 8)
    with torch.no_grad():
        loss = flow_decoder.losses(signal, torch.zeros_like(signal), step=0, steps=1)["flow"].item()
    assert loss == pytest.approx(0.3**2 * math.pi / 2, rel=0.01)


def test_training_times_are_one_from_each_stratum_of_their_distribution() -> None:
    flow_decoder = decoder(time_mean=0.5, time_std=0.8)
    t = flow_decoder._times(1000, CPU)
    assert (t.diff() >= 0).all()
    normal = (torch.logit(t.double()) - 0.5) / 0.8
    strata = (torch.special.ndtr(normal) * 1000).floor()
    assert (strata - torch.arange(1000)).abs().max() <= 1
    t = decoder(times="uniform")._times(1000, CPU)
    assert torch.equal((t * 1000).floor(), torch.arange(1000.0))


def test_the_first_sample_in_one_step_is_the_condition() -> None:
    flow_decoder, condition = decoder(noise_std=0.7), torch.randn(3, 2, 8, 8)
    with torch.no_grad():
        assert torch.allclose(flow_decoder.sample(condition, steps=1), condition, atol=1e-6)
        assert torch.equal(flow_decoder.sample(condition, steps=0), condition)
        many = flow_decoder.sample(condition, steps=200)
    assert (many - condition).std().item() == pytest.approx(0.3 * flow_decoder.noise.std().item(), rel=0.02)


@pytest.mark.parametrize("variance", [1.0, 0.25, 3.0])
@pytest.mark.parametrize("noise_std", [1.0, 0.5])
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_the_sampler_solves_the_linear_flow_of_gaussians(variance: float, noise_std: float, solver: str) -> None:
    """The exact flow takes N(0, k^2) at t = 1 to N(0, variance) at t = 0 by y_0 = y_1 sqrt(variance) / k."""
    flow_decoder = decoder(noise_std=noise_std, solver=solver)
    flow_decoder.net = GaussianField(variance, noise_std)  # type: ignore[assignment]
    condition = torch.randn(2, 2, 8, 8)
    exact = condition + 0.3 * math.sqrt(variance) * flow_decoder.noise
    errors = [(flow_decoder.sample(condition, steps=n) - exact).square().mean().sqrt().item() for n in (32, 64)]
    assert errors[1] < (0.02 if solver == "euler" else 1e-3)
    assert math.log2(errors[0] / errors[1]) > (0.75 if solver == "euler" else 1.75)  # the order, or a happy symmetry


def test_sampling_is_deterministic_and_independent_of_the_batch(signal: SignalSpec, sample: Sample) -> None:
    tokenizer, x = (
        build(resolve("diffusion-decoder", signal, {"width": 8, "diffusion_decoder": {"width": 8}})),
        sample(signal),
    )
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start([x])
    awake(tokenizer)
    tokenizer.losses(x, group="model", step=0, steps=4)
    tokenizer.after_step(step=0, steps=4)
    tokenizer.eval()
    with torch.no_grad():
        latents = tokenizer.encode(x)
        torch.manual_seed(1)
        whole = tokenizer.decode(latents)
        torch.manual_seed(2)
        assert torch.equal(tokenizer.decode(latents), whole)
        assert latents.values is not None
        parts = [tokenizer.decode(Latents(values=value.unsqueeze(0))) for value in latents.values]
        points = {name: decode(latents) for name, decode in tokenizer.operating_points().items()}
        condition = tokenizer._condition(latents)
    assert torch.allclose(torch.cat(parts), whole, atol=1e-5)
    assert list(points) == ["steps_0", "steps_1", "steps_2", "steps_4", "steps_8"]
    assert torch.equal(points["steps_8"], whole)
    assert tokenizer.read_at("steps_1", latents) is latents  # any number of steps reads all of them
    assert torch.equal(points["steps_0"], condition)
    assert not torch.allclose(points["steps_1"], whole, atol=1e-3)


@pytest.mark.parametrize(
    "bottleneck",
    [{"kind": "kl"}, {"kind": "vq", "codebook_size": 16}, {"kind": "fsq", "levels": [4, 4, 4, 4]}],
    ids=["kl", "vq", "fsq"],
)
@pytest.mark.parametrize("backbone", ["conv", "patch", "vit"])
def test_its_loss_alone_trains_the_whole_tokenizer(
    bottleneck: dict[str, Any], backbone: str, image: SignalSpec, sample: Sample
) -> None:
    options = {"bottleneck": bottleneck, "backbone": {"kind": backbone}, "losses": {"l2": 0.0}}
    tokenizer, x = build(resolve("diffusion-decoder", image, options)), sample(image)
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start([x])
    awake(tokenizer)
    losses = tokenizer.losses(x, group="model", step=0, steps=10)
    assert "l2" not in losses
    losses["loss"].backward()
    for name, parameter in tokenizer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for part in (tokenizer.project_in, tokenizer.project_out, tokenizer.diffusion_decoder):
        assert part is not None
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())


def test_the_residuals_deviation_follows_the_batches() -> None:
    flow_decoder = FlowDecoder(FlowDecoderConfig(width=8), IMAGE)
    for step in range(30):
        flow_decoder.losses(0.25 * torch.randn(16, 2, 8, 8), torch.zeros(16, 2, 8, 8), step=step, steps=300)
        flow_decoder.after_step(step=step, steps=300)
    assert flow_decoder.scale.item() == pytest.approx(0.25, rel=0.02)
    flow_decoder.eval()
    flow_decoder.losses(torch.ones(4, 2, 8, 8), torch.zeros(4, 2, 8, 8), step=0, steps=300)
    flow_decoder.after_step(step=0, steps=300)
    assert flow_decoder.scale.item() == pytest.approx(0.25, rel=0.02)


@pytest.mark.parametrize("student_steps", [1, 2, 4])
@pytest.mark.parametrize("variance", [1.0, 0.25])
def test_a_student_is_taught_the_mean_velocity_of_the_flow(student_steps: int, variance: float) -> None:
    """For Gaussians the flow from t to s multiplies y by sqrt(Var y_s / Var y_t)."""
    flow_decoder = decoder(distill_start=0.5, student_steps=student_steps, teacher_steps=800)
    flow_decoder.net = GaussianField(variance, 1.0)  # type: ignore[assignment]
    clean, noise = math.sqrt(variance) * torch.randn(60, 2, 4, 4), torch.randn(60, 2, 4, 4)
    assert flow_decoder.student is not None
    error, t = flow_decoder._student_error(flow_decoder.student, clean, noise, torch.zeros_like(clean))
    groups = student_steps.bit_length()
    count = torch.tensor([2.0**power for power in range(groups)]).repeat_interleave(60 // groups)
    assert ((1 - t) * count % 1 == 0).all()
    assert t.min() == (1 if student_steps == 1 else 1 / student_steps)
    at, count = t.view(-1, 1, 1, 1), count.view(-1, 1, 1, 1)

    def deviation(time: Tensor) -> Tensor:
        return ((1 - time) ** 2 * variance + time**2).sqrt()

    y = (1 - at) * clean + at * noise
    mean_velocity = y * (1 - deviation(at - 1 / count) / deviation(at)) * count
    skip, gain, _ = flow_decoder._coefficients(t, y)
    assert torch.allclose(-error, (mean_velocity - skip * y) / gain, atol=0.03)  # the student still gives zeros


def test_a_student_starts_as_the_flow_and_leaves_it_alone() -> None:
    flow_decoder = decoder(distill_start=0.5).train()
    assert flow_decoder.student is not None
    assert flow_decoder.net is not None
    awake(flow_decoder.net)
    signal, condition = torch.randn(2, 4, 2, 8, 8)
    for step in range(5):
        assert set(flow_decoder.losses(signal, condition, step=step, steps=10)) == {"flow"}
        flow_decoder.after_step(step=step, steps=10)
    student = flow_decoder.student.state_dict()
    assert all(torch.equal(value, student[name]) for name, value in flow_decoder.net.state_dict().items())
    with torch.no_grad():
        assert torch.allclose(
            flow_decoder.sample(condition, steps=1), sampled_by_flow(flow_decoder, condition, steps=1), atol=1e-5
        )
    condition.requires_grad_()
    losses = flow_decoder.losses(signal, condition, step=5, steps=10)
    losses["distillation"].backward()
    assert condition.grad is None
    assert all(p.grad is None for p in flow_decoder.net.parameters())
    assert all(p.grad is not None for p in flow_decoder.student.parameters())


def test_a_stripped_decoder_keeps_the_student_alone(image: SignalSpec, sample: Sample) -> None:
    config, x = resolve("few-step-decoder", image, {"width": 8, "diffusion_decoder": {"width": 8}}), sample(image)
    tokenizer = build(config)
    assert isinstance(tokenizer, ComposedTokenizer)
    awake(tokenizer)
    tokenizer.eval()
    with torch.no_grad():
        before = tokenizer.decode(tokenizer.encode(x))
        tokenizer.drop_training_modules()
        assert torch.equal(tokenizer.decode(tokenizer.encode(x)), before)
    assert not any(name.startswith("diffusion_decoder.net.") for name in tokenizer.state_dict())
    again = build(config)
    again.drop_training_modules()
    again.load_state_dict(tokenizer.state_dict())
    with pytest.raises(ValueError, match="can't be trained any further"):
        tokenizer.losses(x, group="model", step=0, steps=1)
    assert config.schedule_milestones() == (0.0, 0.5)
    plain = resolve("diffusion-decoder", image, {})
    assert plain.schedule_milestones() == (0.0,)
    half = resolve("diffusion-decoder", image, {"diffusion_decoder": {"steps": 4}})
    none = resolve("kl-vae", image, {}).estimate_flops()
    assert plain.estimate_flops() - none == 2 * (half.estimate_flops() - none)


class Images:
    """Forty smooth images."""

    def __len__(self) -> int:
        return 40

    def batch(self, indices: np.ndarray, device: torch.device) -> Tensor:
        values = torch.randn(40, 2, 2, 2, generator=torch.Generator().manual_seed(1))[torch.from_numpy(indices)]
        return torch.tanh(nn.functional.interpolate(values, size=(8, 8), mode="bilinear"))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [3, 5, 8])
def test_training_resumes_to_the_same_bits_across_the_switch(stop: int, tmp_path: Path) -> None:
    options = {"width": 8, "diffusion_decoder": {"width": 8, "multipliers": [1], "teacher_steps": 2}}
    config = resolve("few-step-decoder", IMAGE, {**options, "training": {"steps": 10, "batch_size": 4, "lr": 1e-2}})
    results = []
    for name, polls in (("whole", None), ("parts", stop)):
        folder = tmp_path / name
        folder.mkdir()
        if polls:
            left = iter(range(polls - 1))
            torch.manual_seed(0)
            with pytest.raises(InterruptedTrainingError):
                train(
                    build(config),
                    Images(),
                    config.training,
                    seed=1,
                    folder=folder,
                    device=CPU,
                    stop=lambda left=left: next(left, None) is None,  # type: ignore[misc]
                )
        torch.manual_seed(0)
        tokenizer = build(config)
        report = train(tokenizer, Images(), config.training, seed=1, folder=folder, device=CPU)
        results.append((tokenizer.state_dict(), report))
    (whole, first), (parts, second) = results
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert first.curve == second.curve
    assert first.flops == second.flops
    assert "distillation" in first.losses


@pytest.mark.slow
def test_a_student_comes_closer_to_many_steps_than_the_flow_in_as_few() -> None:
    """On grain that no latent holds one step of the flow gives its mean, none; a student's gives grain."""
    options = {"width": 8, "downsample": 4, "channels": 2, "diffusion_decoder": {"width": 16, "multipliers": [1]}}
    tokenizer = build(resolve("few-step-decoder", IMAGE, options))
    assert isinstance(tokenizer, ComposedTokenizer)
    flow_decoder = tokenizer.diffusion_decoder
    assert isinstance(flow_decoder, FlowDecoder)
    (images, held_out), steps = (0.5 * torch.randn(576, 2, 8, 8)).split([512, 64]), 100
    tokenizer.on_train_start(images.split(64))
    optimiser = AdamW(tokenizer.param_groups()["model"], lr=3e-3)
    for step in range(steps):
        batch = images[torch.randint(len(images), (16,))]
        optimiser.zero_grad()
        tokenizer.losses(batch, group="model", step=step, steps=steps)["loss"].backward()
        optimiser.step()
        tokenizer.after_step(step=step, steps=steps)
    tokenizer.eval()
    with torch.no_grad():
        condition = tokenizer._condition(tokenizer.encode(held_out))
        many = sampled_by_flow(flow_decoder, condition, steps=8)
        for few in (1, 2):
            student = (flow_decoder.sample(condition, steps=few) - many).square().mean()
            flow = (sampled_by_flow(flow_decoder, condition, steps=few) - many).square().mean()
            assert student < 0.5 * flow


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "diffusion_decoder: steps must be at least 1"),
        ({"student_steps": 3}, "student_steps must be a power of two"),
        ({"teacher_steps": 7}, "teacher_steps must be a multiple of student_steps, 2"),
        ({"distill_start": 0.8}, r"distill_start must lie in \[0, 0.7\]"),
        ({"noise_std": 0.0}, "noise_std must be positive"),
        ({"multipliers": []}, "multipliers must be"),
        ({"stride": 1}, "stride must be at least 2"),
        ({"step": 4}, "did you mean 'steps'"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str, image: SignalSpec) -> None:
    with pytest.raises(UserError, match=message):
        resolve("diffusion-decoder", image, {"diffusion_decoder": options})


def test_levels_end_where_nothing_is_left_to_divide() -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(6, 9))
    levels = FlowDecoderConfig(multipliers=(1, 2, 2, 2)).levels(signal)
    assert [level.shape for level in levels] == [(3, 9)]
    flow_decoder = FlowDecoderConfig(width=8, patch=3, stride=3).build(signal)
    assert flow_decoder.sample(torch.zeros(1, 3, 6, 9)).shape == (1, 3, 6, 9)


def test_the_integrator_is_exact_on_straight_lines() -> None:
    y = torch.randn(3, 2)
    start = torch.tensor([1.0, 0.5, 0.75])
    end = integrate(lambda y, t, step_size: torch.ones_like(y), y, steps=3, start=start, span=0.5)
    assert torch.allclose(end, y - 0.5)
