from __future__ import annotations

import pytest
import torch
from scipy import stats

from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.scrambles.noise_channels_config import NoiseChannelsConfig
from latentbench.tokenizers.spec import LatentSpec


def test_the_channels_are_standard_normal_and_dropped_again(continuous: LatentSpec) -> None:
    config = NoiseChannelsConfig(channels=2)
    assert [grid.channels for grid in config.spec(continuous).grids] == [5, 7]
    scramble = config.build(continuous)
    x = torch.randn(300, 5, 4, 6)
    grown = scramble.scramble(Latents(values=x), 1).values
    assert grown.shape == (300, 7, 4, 6)
    assert torch.equal(grown[:, :5], x)
    noise = grown[:, 5:].flatten()
    assert stats.kstest(noise.numpy(), "norm").pvalue > 0.01
    assert abs(torch.corrcoef(grown[:, 5:, 0, :2].flatten(1).t()).triu(1)).max() < 0.25
    assert torch.equal(scramble.undo(Latents(values=grown), 1).values, x)


def test_the_noise_of_a_sample_repeats(continuous: LatentSpec, fine: Latents) -> None:
    scramble = NoiseChannelsConfig().build(continuous)
    whole = scramble.scramble(fine, 1)
    alone = scramble.scramble(Latents(values=fine.values[3:4]), 1)
    assert torch.equal(alone.values[0], whole.values[3])
    assert not torch.equal(whole.values[3, 5:], whole.values[4, 5:])
    torch.testing.assert_close(whole.scale[:, 5:], fine.scale.mean(1, keepdim=True).expand(-1, 4, -1, -1))


def test_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        NoiseChannelsConfig(channels=0)
