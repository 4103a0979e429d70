"""The convolutional backbone: the identity blocks it starts with, memory format, and what reaches what."""

from __future__ import annotations

import pytest
import torch

from latentbench.tokenizers.backbones.conv import ResidualBlock
from latentbench.tokenizers.backbones.conv_config import ConvConfig
from latentbench.tokenizers.spec import Modality, SignalSpec


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_residual_block_starts_as_the_identity(rank: int) -> None:
    x = torch.randn(2, 12, *(4,) * rank)
    assert torch.equal(ResidualBlock(12, rank, ConvConfig(groups=8))(x), x)


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
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvConfig(**options)  # type: ignore[arg-type]
