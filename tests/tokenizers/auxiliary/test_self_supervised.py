"""Features as tokens: who trains the encoder, when it stops, and what is left of it after the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentbench.bench.training import InterruptedTrainingError, train
from latentbench.results.errors import UserError
from latentbench.tokenizers.auxiliary.self_supervised import (
    SelfSupervised,
    Views,
    covariance_penalty,
    spread_hinge,
)
from latentbench.tokenizers.auxiliary.self_supervised_config import SelfSupervisedConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import SignalSpec

Sample = Callable[..., Tensor]
CPU = torch.device("cpu")


class Samples:
    def __init__(self, samples: Tensor) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, indices: object, device: torch.device) -> Tensor:
        return self.samples[torch.as_tensor(indices)]


def semantic(signal: SignalSpec, **training: object) -> tuple[ComposedTokenizer, TokenizerConfig]:
    config = resolve("semantic-vq", signal, {"width": 8, "codebook_size": 16, "training": training})
    tokenizer = build(config)
    assert isinstance(tokenizer, ComposedTokenizer)
    return tokenizer, config


def encoding(tokenizer: ComposedTokenizer) -> list[Tensor]:
    return [*tokenizer.encoder.parameters(), *tokenizer.project_in.parameters()]


def test_the_encoder_learns_from_the_self_supervised_loss_alone(signal: SignalSpec, sample: Sample) -> None:
    tokenizer, _ = semantic(signal)
    x = sample(signal, 4)
    tokenizer.on_train_start([x])

    def gradients(scale: float) -> list[Tensor]:
        tokenizer.objective.losses = [(kind, scale, loss) for kind, _, loss in tokenizer.objective.losses]
        tokenizer.zero_grad(set_to_none=True)
        torch.manual_seed(3)
        tokenizer.losses(x, group="model", step=0, steps=10)["loss"].backward()
        assert all(p.grad is not None for p in tokenizer.decoder.parameters())
        return [p.grad for p in encoding(tokenizer) if p.grad is not None]

    whole = gradients(1.0)
    assert len(whole) == len(encoding(tokenizer))
    assert any(g.abs().max() > 0 for g in whole)
    # A thousand times the reconstruction error, and not a bit of a difference.
    assert all(torch.equal(a, b) for a, b in zip(whole, gradients(1000.0), strict=True))


def test_nothing_reaches_the_frozen_encoder(signal: SignalSpec, sample: Sample) -> None:
    tokenizer, _ = semantic(signal)
    x = sample(signal, 4)
    tokenizer.on_train_start([x])
    losses = tokenizer.losses(x, group="model", step=5, steps=10)
    losses["loss"].backward()
    assert "self_supervised" not in losses
    assert all(p.grad is None for p in encoding(tokenizer))
    assert all(p.grad is not None for p in (*tokenizer.decoder.parameters(), *tokenizer.project_out.parameters()))


class Watched(ComposedTokenizer):
    """Notes the encoder's weights after every step."""

    def after_step(self, *, step: int, steps: int) -> None:
        super().after_step(step=step, steps=steps)
        self.__dict__.setdefault("history", []).append([p.detach().clone() for p in encoding(self)])


@pytest.mark.parametrize("interrupted", [False, True])
def test_frozen_weights_outlast_decay_average_and_interruption(
    interrupted: bool, image: SignalSpec, sample: Sample, tmp_path: Path
) -> None:
    config = semantic(image, steps=12, batch_size=4, weight_decay=0.5, ema=0.99)[1]
    source = Samples(sample(image, 8))

    def watched() -> Watched:
        torch.manual_seed(0)
        return Watched(config)

    model = watched()
    if interrupted:
        steps = iter(range(100))
        with pytest.raises(InterruptedTrainingError):
            train(model, source, config.training, seed=0, folder=tmp_path, device=CPU, stop=lambda: next(steps) == 8)
        first = model
        model = watched()
        model.__dict__["history"] = first.__dict__["history"]
    train(model, source, config.training, seed=0, folder=tmp_path, device=CPU)
    history = model.__dict__["history"]
    assert len(history) == 12
    assert not any(torch.equal(a, b) for a, b in zip(history[4], history[5], strict=True))
    for weights in (*history[6:], encoding(model)):
        assert all(torch.equal(a, b) for a, b in zip(weights, history[5], strict=True))
    assert "self_supervised" not in model.auxiliary_objectives


def test_a_single_step_trains_nothing_but_the_decoder(image: SignalSpec, sample: Sample, tmp_path: Path) -> None:
    tokenizer, config = semantic(image, steps=1, batch_size=4)
    before = [p.detach().clone() for p in encoding(tokenizer)]
    train(tokenizer, Samples(sample(image, 4)), config.training, seed=0, folder=tmp_path, device=CPU)
    assert all(torch.equal(a, b) for a, b in zip(before, encoding(tokenizer), strict=True))


def test_the_loss_is_vicreg_at_every_position(image: SignalSpec, sample: Sample) -> None:
    tokenizer, _ = semantic(image)
    x = sample(image, 6)
    tokenizer.on_train_start([x])
    regulariser = tokenizer.auxiliary_objectives["self_supervised"]
    assert isinstance(regulariser, SelfSupervised)
    views = [torch.randn(6, 3, 16, 24) for _ in range(2)]
    remaining = iter(views)
    regulariser.views = lambda signal: next(remaining)  # type: ignore[assignment]
    losses = tokenizer.losses(x, group="model", step=0, steps=10)
    embedded = [regulariser.expander(tokenizer.features(v).movedim(1, -1)).flatten(1, 2).detach() for v in views]
    a, b = embedded
    invariance = (a - b).square().mean()
    spread = covariance = torch.zeros(())
    for z in embedded:
        centred = z - z.mean(0)
        deviation = (centred.square().mean((0, 1)) + 1e-4).sqrt()
        spread = spread + torch.relu(1 - deviation).mean()
        matrix = torch.einsum("bnc,bnd->cd", centred, centred) / (6 * 24 - 1)
        covariance = covariance + (matrix - matrix.diag().diag()).square().sum() / 64
    torch.testing.assert_close(losses["self_supervised"], invariance + spread + 0.04 * covariance)


def test_covariances_of_one_position_are_torchs() -> None:
    z = torch.randn(30, 5, 1)
    matrix = torch.cov(z[..., 0].T)
    expected = (matrix.square().sum() - matrix.diagonal().square().sum()) / 5
    torch.testing.assert_close(covariance_penalty(z), expected)


def test_views_keep_the_geometry(signal: SignalSpec) -> None:
    x = torch.tanh(torch.randn(2, signal.channels, *signal.shape))
    config = SelfSupervisedConfig(mask=0.0, noise=0.0)
    per_channel = signal.channels > 1
    view = Views(config, (2,) * len(signal.shape), per_channel=per_channel)(x)
    for sample, other in zip(x, view, strict=True):
        for channel in range(signal.channels):
            pair = torch.stack([sample[channel].flatten(), other[channel].flatten()])
            assert torch.corrcoef(pair)[0, 1].item() == pytest.approx(1, abs=1e-4)
    assert not torch.allclose(view[0], x[0])
    hidden = Views(SelfSupervisedConfig(mask=0.5), (2,) * len(signal.shape), per_channel=per_channel)(x) == 0
    assert hidden.float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_the_hinge_counts_what_samples_share_as_nothing() -> None:
    z = 3 * torch.randn(64, 4, 2, 2)
    assert spread_hinge(z).item() == 0
    assert spread_hinge(0.5 * z / z.std()).item() == pytest.approx(0.5, abs=0.05)
    pattern = 3 * torch.randn(1, 4, 2, 2).expand(64, -1, -1, -1)
    assert spread_hinge(pattern).item() == pytest.approx(0.99, abs=0.001)


@pytest.mark.parametrize(
    ("recipe", "options", "more", "message"),
    [
        ("kl-vae", {}, {}, "backbone.shortcut must be false"),
        ("kl-vae", {}, {"backbone": {"shortcut": False}}, "no loss would train a KL bottleneck's variances"),
        ("semantic-vq", {"share": 1.0}, {}, "share must lie between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused(
    recipe: str, options: dict[str, object], more: dict[str, object], message: str, image: SignalSpec
) -> None:
    with pytest.raises(UserError, match=f"t.auxiliary.self_supervised: .*{message}"):
        resolve(recipe, image, {"auxiliary": {"self_supervised": options}, **more}, where="t")


@pytest.mark.slow
def test_what_features_decode_to_is_better_than_the_mean(
    fitted: Callable[..., ComposedTokenizer], quality: Callable[..., float], quality_of_mean: float
) -> None:
    assert quality(fitted("semantic-vq")) > quality_of_mean + 0.7
