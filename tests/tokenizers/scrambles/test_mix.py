from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.scrambles.mix import orthogonal
from latentbench.tokenizers.scrambles.mix_config import ChannelMixConfig, PositionMixConfig
from latentbench.tokenizers.spec import LatentSpec

KINDS = pytest.mark.parametrize("config", [PositionMixConfig(), ChannelMixConfig()], ids=lambda config: config.kind)


@KINDS
def test_values_come_back_to_the_bit(config: Any, continuous: LatentSpec) -> None:
    scramble = config.build(continuous)
    x = torch.randn(4000, 5, 4, 6) * torch.tensor([0.3, 0.5, 1.0, 2.0, 5.0]).view(5, 1, 1)
    mixed = scramble.scramble(Latents(values=x), 1)
    assert torch.equal(scramble.undo(mixed, 1).values, x)
    assert (mixed.values - x).abs().mean() > 1
    # What a prior sees is stored in float32: it comes back to rounding.
    stored = scramble.undo(Latents(values=mixed.values.float()), 1).values
    torch.testing.assert_close(stored, x, atol=3e-5, rtol=0)


@pytest.mark.parametrize(("config", "axis"), [(PositionMixConfig(), 2), (ChannelMixConfig(), 1)])
def test_it_mixes_one_axis_and_keeps_lengths_along_it(config: Any, axis: int, continuous: LatentSpec) -> None:
    scramble = config.build(continuous)
    x = torch.randn(50, 5, 4, 6)
    mixed = scramble.scramble(Latents(values=x), 1).values.flatten(2)
    before = x.double().flatten(2)
    torch.testing.assert_close(mixed.square().sum(axis), before.square().sum(axis))
    assert (mixed.square().sum(3 - axis) - before.square().sum(3 - axis)).abs().mean() > 1


@KINDS
def test_deviations_are_those_of_a_mixed_posterior(config: Any, continuous: LatentSpec, fine: Latents) -> None:
    scramble = config.build(continuous)
    mixed = scramble.scramble(fine, 1)
    drawn = fine.values[:1] + fine.scale[:1] * torch.randn(20_000, *fine.values.shape[1:])
    spread = scramble.scramble(Latents(values=drawn), 1).values.std(0)
    torch.testing.assert_close(spread.float(), mixed.scale[0], rtol=0.03, atol=0)
    variance = mixed.scale.double().square().flatten(1).sum(1)
    torch.testing.assert_close(variance, fine.scale.double().square().flatten(1).sum(1))


def test_the_matrix_is_orthogonal_and_uniform() -> None:
    q = orthogonal(40, 3)
    torch.testing.assert_close(q @ q.t(), torch.eye(40, dtype=torch.float64))
    # A uniform one has no preferred sign on its diagonal, which QR's own convention gives.
    signs = sum(float(orthogonal(2, seed)[0, 0].sign()) for seed in range(400))
    assert abs(signs) < 80


def test_codes_and_too_many_positions_are_refused(continuous: LatentSpec, discrete: LatentSpec) -> None:
    assert "sees codes" in str(PositionMixConfig().unsupported_reason(discrete))
    assert "sees codes" in str(ChannelMixConfig().unsupported_reason(discrete))
    large = replace(continuous, grids=(replace(continuous.grids[0], shape=(64, 64)),))
    assert "at most 2048 positions, and these latents have 4096" in str(PositionMixConfig().unsupported_reason(large))
    assert ChannelMixConfig().unsupported_reason(large) is None
