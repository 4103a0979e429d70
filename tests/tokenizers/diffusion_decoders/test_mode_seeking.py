"""Mode-seeking post-training: the distance, who learns in it, and what the gradient passes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.diffusion_decoders.mode_seeking import log_energies, sample_distance
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
SMALL = {"width": 8, "diffusion_decoder": {"width": 8, "seek_start": 0.5, "seek_steps": 3, "seek_weight": 0.7}}


@pytest.mark.parametrize("shape", [(64,), (16, 24), (4, 16, 16)])
def test_energies_are_mean_squared_differences_in_blocks(shape: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *shape)
    first = log_energies(x)[0]
    block = tuple(slice(4, 8) if size > 4 else slice(None) for size in shape)
    energy = sum((x - x.roll(1, axis)).square() for axis in range(2, x.ndim))
    index = tuple(1 if size > 4 else 0 for size in shape)
    expected = (1e-3 + energy[(0, 1, *block)].mean()).log()  # type: ignore[index]
    torch.testing.assert_close(first[(0, 1, *index)], expected)
    assert len(log_energies(x)) == 3


def test_other_noise_of_the_same_texture_is_nearer_than_none() -> None:
    flat = torch.zeros(8, 3, 32, 32)
    texture, other = torch.randn(2, 8, 3, 32, 32) * 0.1
    assert sample_distance(texture, texture).item() == 0
    assert sample_distance(other, texture) < sample_distance(flat, texture)
    assert (other - texture).abs().mean() > (flat - texture).abs().mean()  # which the absolute error alone prefers


def test_the_encoder_is_frozen_and_the_sample_compared_once_it_has_begun(sample: Callable[..., Tensor]) -> None:
    tokenizer, x = build(resolve("flowmo", IMAGE, SMALL)), sample(IMAGE, 4)
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start([x])
    assert tokenizer.diffusion_decoder is not None
    for step, begun in ((4, False), (5, True)):
        tokenizer.zero_grad()
        losses = tokenizer.losses(x, group="model", step=step, steps=10)
        losses["loss"].backward()
        assert ("sample" in losses) == begun
        reached = [p.grad is not None for p in tokenizer.encoder.parameters()]
        assert reached == [not begun] * len(reached)
        assert all(p.grad is not None for p in tokenizer.decoder.parameters())
        assert all(p.grad is not None for p in tokenizer.diffusion_decoder.parameters())


@pytest.mark.parametrize("rule", ["loss", "ema"])
def test_the_bottleneck_is_frozen_too(rule: str, sample: Callable[..., Tensor]) -> None:
    """Neither a gradient, nor moving averages, nor replaced codes change a codebook once it has begun."""
    options = {"kind": "vq", "codebook_size": 16, "rule": rule, "reset_after": 0.01}
    tokenizer, x = build(resolve("flowmo", IMAGE, {**SMALL, "bottleneck": options})), sample(IMAGE, 4)
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start([x])
    for step, begun in ((4, False), (5, True), (6, True)):
        tokenizer.zero_grad()
        before = {name: value.clone() for name, value in tokenizer.bottleneck.state_dict().items()}
        losses = tokenizer.losses(x, group="model", step=step, steps=10)
        losses["loss"].backward()
        tokenizer.after_step(step=step, steps=10)
        assert losses["commitment"].item() > 0
        moved = [not torch.equal(value, before[name]) for name, value in tokenizer.bottleneck.state_dict().items()]
        assert any(moved) == (not begun and rule == "ema")
        assert all(p.grad is None for p in tokenizer.bottleneck.parameters() if begun or rule == "ema")
        assert all(p.grad is not None for p in tokenizer.decoder.parameters())


def test_objectives_that_would_move_the_frozen_encoder_are_refused() -> None:
    equivariance = {"equivariance": {"match": "latent", "guard": 1.0}}
    with pytest.raises(UserError, match="moves the encoder, which the diffusion decoder freezes in the end"):
        resolve("flowmo", IMAGE, {"regularisers": equivariance})
    assert resolve("diffusion-decoder", IMAGE, {"regularisers": equivariance}).regularisers
    features = {"backbone": {"shortcut": False}, "bottleneck": {"kind": "identity"}}
    with pytest.raises(UserError, match="share ends after the diffusion decoder's seek_start"):
        resolve("flowmo", IMAGE, {**features, "auxiliary": {"self_supervised": {"share": 0.8}}})
    assert resolve("flowmo", IMAGE, {**features, "auxiliary": {"self_supervised": {"share": 0.6}}}).auxiliary


def test_the_gradient_passes_every_step_of_the_sampler(sample: Callable[..., Tensor]) -> None:
    tokenizer = build(resolve("flowmo", IMAGE, SMALL))
    assert isinstance(tokenizer, ComposedTokenizer)
    decoder, condition = tokenizer.diffusion_decoder, sample(IMAGE, 2)
    assert decoder is not None
    with torch.no_grad():
        for parameter in decoder.net.out.parameters():  # type: ignore[union-attr]
            parameter.normal_(std=0.1)
    outputs: list[Tensor] = []
    decoder.net.register_forward_hook(lambda module, inputs, output: outputs.append(output))  # type: ignore[union-attr,operator]
    drawn = decoder._seek(condition)  # type: ignore[operator]
    assert len(outputs) == 3
    for gradient in torch.autograd.grad(sample_distance(drawn, condition), outputs):
        assert gradient.norm().item() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seek_start": 1.0}, r"seek_start must lie in \[0, 1\)"),
        ({"seek_start": 0.5, "distill_start": 0.5}, "one decoder can't be trained both ways"),
        ({"seek_steps": 0}, "seek_steps must be at least 1"),
        ({"seek_weight": 0.0}, "seek_weight must be positive"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"diffusion_decoder: .*{message}"):
        resolve("diffusion-decoder", IMAGE, {"diffusion_decoder": options})


def test_without_it_the_options_are_in_no_key() -> None:
    data = resolve("diffusion-decoder", IMAGE, {}).to_json()["diffusion_decoder"]
    assert not [name for name in data if name.startswith("seek")]
    assert resolve("flowmo", IMAGE, {}).schedule_milestones() == (0.0, 0.7)
