"""The convolutional backbone: the identity blocks it starts with, memory format, and what reaches what."""

from __future__ import annotations

import pytest
import torch

from latentbench.tokenizers.backbones.conv import FactorisedConv, ResidualBlock
from latentbench.tokenizers.backbones.conv_config import ConvConfig, middle_channels
from latentbench.tokenizers.spec import Modality, SignalSpec


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_residual_block_starts_as_the_identity(rank: int) -> None:
    x = torch.randn(2, 12, *(4,) * rank)
    assert torch.equal(ResidualBlock(12, rank, ConvConfig(groups=8))(x), x)


def test_a_factorised_block_starts_as_the_identity_and_learns_in_both_halves() -> None:
    x = torch.randn(2, 12, 3, 4, 4)
    block = ResidualBlock(12, 3, ConvConfig(groups=4, factorised=True))
    assert torch.equal(block(x), x)
    block(x).square().mean().backward()
    frames, _, time = block.conv2
    assert time.weight.grad.abs().max() > 0
    assert frames.weight.abs().max() > 0  # so that its gradient is none only in the first step


def test_a_factorised_convolution_is_one_of_frames_and_one_along_time() -> None:
    x = torch.randn(2, 3, 6, 8, 8)
    layer = FactorisedConv(3, 5, (3, 3, 3), (2, 2, 2), causal=False)
    frames, _, time = layer
    middle = [torch.nn.functional.conv2d(x[:, :, t], frames.weight[:, :, 0], frames.bias, 2, 1) for t in range(6)]
    rows = torch.nn.functional.silu(torch.stack(middle, dim=-1)).permute(0, 2, 3, 1, 4).flatten(0, 2)
    expected = torch.nn.functional.conv1d(rows, time.weight[..., 0, 0], time.bias, 2, 1)
    torch.testing.assert_close(layer(x), expected.view(2, 4, 4, 5, 3).permute(0, 3, 4, 1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 16), (32, 32), (16, 128)])
def test_a_factorised_convolution_has_the_weights_of_the_whole(inputs: int, outputs: int) -> None:
    """By the paper's formula: no more, and with one channel more between they would be more."""
    middle, whole = middle_channels(inputs, outputs, (3, 3, 3)), 27 * inputs * outputs
    assert middle * (9 * inputs + 3 * outputs) <= whole < (middle + 1) * (9 * inputs + 3 * outputs)


@pytest.mark.parametrize("stem", [1, 2, 4, 8])
def test_any_stem_reaches_the_same_grid(stem: int) -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
    config = ConvConfig(width=4, groups=2, stem=stem)
    encoder, decoder = config.build_encoder(signal, (8, 8)), config.build_decoder(signal, (8, 8))
    features = encoder(torch.randn(1, 3, 16, 16))
    assert features.shape == (1, config.features(signal, (8, 8)), 2, 2)
    assert decoder(features).shape == (1, 3, 16, 16)


def test_images_stay_channels_last() -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
    config = ConvConfig(width=4)
    features = config.build_encoder(signal, (4, 4))(torch.randn(2, 3, 16, 16))
    assert features.is_contiguous(memory_format=torch.channels_last)
    decoded = config.build_decoder(signal, (4, 4))(features)
    assert decoded.is_contiguous(memory_format=torch.channels_last)


def test_latents_keep_the_signals_grid() -> None:
    """A change in one corner moves that corner's features most: positions of the latent are places of the signal."""
    signal = SignalSpec(modality=Modality.IMAGE, channels=1, shape=(32, 32))
    encoder = ConvConfig(width=8).build_encoder(signal, (4, 4))
    x = torch.randn(1, 1, 32, 32)
    y = x.clone()
    y[..., 24:, :8] += 1.0
    with torch.no_grad():
        change = (encoder(y) - encoder(x)).square().sum(1)[0]
    assert change[6:, :2].mean() > 20 * change[:4, 4:].mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"blocks": -1}, "blocks must be at least 0"),
        ({"stride": 1}, "stride must be at least 2"),
        ({"multipliers": ()}, "multipliers must be"),
        ({"framewise": True, "factorised": True}, "framewise has no convolution along time: leave out factorised"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvConfig(**options)  # type: ignore[arg-type]
