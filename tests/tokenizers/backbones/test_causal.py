"""Clips of k steps and a frame more through the causal convolutional backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from latentbench.results.errors import UserError
from latentbench.tokenizers.backbones.causal import CausalConv, FrameNorm
from latentbench.tokenizers.backbones.conv_config import ConvConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

CAUSAL = {"kind": "conv", "causal": True, "width": 8}


def clip(frames: int, height: int = 16, width: int = 24) -> SignalSpec:
    """Clips at 8 frames a second."""
    return SignalSpec(modality=Modality.VIDEO, channels=3, shape=(frames, height, width), rate=8.0)


def halves(frames: int, downsample: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """Both halves, with weights that are not zero anywhere."""
    torch.manual_seed(0)
    config = ConvConfig(width=8, causal=True)
    pair = [build(clip(frames), downsample) for build in (config.build_encoder, config.build_decoder)]
    for half in pair:
        for weight in half.parameters():
            nn.init.normal_(weight, std=0.2)
    return pair[0].eval(), pair[1].eval()


@pytest.mark.parametrize(("frames", "step", "latents"), [(17, 4, 5), (9, 2, 5), (1, 4, 1), (13, 3, 5), (5, 1, 5)])
@torch.no_grad()
def test_the_first_frame_has_a_latent_of_its_own(frames: int, step: int, latents: int) -> None:
    encoder, decoder = halves(frames, (step, 4, 8))
    z = encoder(torch.randn(2, 3, frames, 16, 24))
    assert z.shape[2:] == (latents, 4, 3)
    assert ConvConfig(causal=True).layout(clip(frames), (step, 4, 8)).shape == (latents, 4, 3)
    assert decoder(z).shape == (2, 3, frames, 16, 24)


@torch.no_grad()
def test_no_latent_sees_a_later_frame_and_none_is_blind() -> None:
    encoder, _ = halves(17, (4, 4, 4))
    x = torch.randn(1, 3, 17, 16, 24)
    z = encoder(x)
    for i in range(5):
        other = x.clone()
        other[:, :, 1 + 4 * i :] = torch.randn_like(other[:, :, 1 + 4 * i :])
        torch.testing.assert_close(encoder(other)[:, :, : i + 1], z[:, :, : i + 1])
        other = x.clone()
        other[:, :, 4 * i] += 1
        assert float((encoder(other) - z)[:, :, i].abs().max()) > 1e-3
    torch.testing.assert_close(encoder(x[:, :, :1]), z[:, :, :1])  # a picture is a clip of one frame


@torch.no_grad()
def test_no_frame_sees_a_later_latent() -> None:
    _, decoder = halves(17, (4, 4, 4))
    z = torch.randn(1, 16, 5, 4, 6)
    x = decoder(z)
    for i in range(1, 5):
        other = z.clone()
        other[:, :, i:] = torch.randn_like(other[:, :, i:])
        change = (decoder(other) - x).abs().amax((0, 1, 3, 4))
        assert float(change[: 4 * i - 3].max()) < 1e-5
        assert float(change[4 * i - 3 :].min()) > 1e-3


def test_pieces_of_the_backbone_are_what_they_say() -> None:
    torch.manual_seed(0)
    layer = CausalConv(2, 3, (5, 3, 3), (2, 1, 1))
    x = torch.randn(1, 2, 5, 4, 4)
    padded = torch.nn.functional.pad(torch.cat([x[:, :, :1]] * 4 + [x], dim=2), (1, 1, 1, 1))
    expected = torch.nn.functional.conv3d(padded, layer.weight, layer.bias, stride=(2, 1, 1))
    torch.testing.assert_close(layer(x), expected)
    norm = FrameNorm(2, 4, eps=1e-6)
    y = torch.randn(2, 4, 3, 5, 5) * 3 + 1
    frames = torch.stack([nn.functional.group_norm(frame, 2, eps=1e-6) for frame in y.unbind(2)], dim=2)
    torch.testing.assert_close(norm(y), frames)


@pytest.mark.parametrize("frames", [9, 17])
def test_cost_as_arithmetic_is_the_cost_as_counted(frames: int) -> None:
    config = resolve("kl-vae", clip(frames), {"backbone": CAUSAL, "downsample": [4, 4, 4], "channels": 4})
    tokenizer: Any = build(config)
    assert sum(p.numel() for p in tokenizer.parameters()) == config.estimate_parameters()
    x = torch.randn(1, 3, frames, 16, 24)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tokenizer.decode(tokenizer.encode(x))
    assert counter.get_total_flops() == pytest.approx(config.estimate_flops(), rel=0.02)


@torch.no_grad()
def test_training_begins_at_the_best_linear_autoencoder() -> None:
    """Of patches whose first is the first frame, repeated."""
    config = resolve("ae", clip(5, 8, 8), {"backbone": CAUSAL, "downsample": [4, 4, 4], "channels": 8})
    tokenizer: Any = build(config)
    torch.manual_seed(0)
    x = torch.randn(64, 3, 1, 8, 8).expand(-1, -1, 5, -1, -1) + 0.1 * torch.randn(64, 3, 5, 8, 8)
    tokenizer.on_train_start([x])
    decoded = tokenizer.decode(tokenizer.encode(x))
    assert decoded.shape == x.shape
    assert float((decoded - x).square().mean()) < float((x - x.mean(0)).square().mean()) * 0.9


def test_a_tsr_is_solved_on_the_grid_that_there_is() -> None:
    config = resolve("kl-vae", clip(17), {"backbone": CAUSAL, "downsample": [4, 4, 4], "tsr": 17 * 16 / 5})
    assert (config.spec.grid.shape, config.channels) == ((5, 4, 6), 3)


@pytest.mark.parametrize(
    ("signal", "downsample", "message"),
    [
        (clip(16), [4, 4, 4], "causal clips have 4k + 1 frames, and 16 are none; nearest: 13 or 17"),
        (clip(17, 18), [4, 4, 4], "downsample 4 does not divide the signal's height 18"),
        (SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16)), 4, "causal is for video, not image"),
    ],
)
def test_what_makes_no_sense_is_refused(signal: SignalSpec, downsample: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        resolve("kl-vae", signal, {"backbone": CAUSAL, "downsample": downsample, "channels": 4})
    assert message in str(error.value)


def test_masked_patches_have_to_tile_the_signal() -> None:
    with pytest.raises(UserError, match="its patches tile the signal, and these clips have a first frame by itself"):
        resolve("maetok", clip(9), {"backbone": CAUSAL, "downsample": [4, 4, 4]})


def test_without_it_nothing_has_changed() -> None:
    assert "causal" not in resolve("kl-vae", clip(8), {"downsample": 4, "channels": 4}).to_json()["backbone"]
