from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.scrambles.positions_config import PositionsConfig
from latentbench.tokenizers.spec import LatentSpec


def test_all_parts_move_by_one_permutation(continuous: LatentSpec, fine: Latents) -> None:
    scramble = PositionsConfig().build(continuous)
    numbers = torch.arange(24).view(1, 1, 4, 6)
    moved = scramble.scramble(replace(fine, codes=numbers.expand(6, 2, 4, 6)), 1)
    order = moved.codes[0, 0].flatten()
    assert order.sort().values.tolist() == list(range(24))
    assert not torch.equal(order, torch.arange(24))
    assert torch.equal(moved.values.flatten(2), fine.values.flatten(2)[..., order])
    assert torch.equal(moved.scale.flatten(2), fine.scale.flatten(2)[..., order])
    back = scramble.undo(moved, 1)
    assert torch.equal(back.values, fine.values)
    assert torch.equal(back.codes[0, 0].flatten(), numbers.flatten())


def test_the_seed_and_the_level_choose_the_permutation(continuous: LatentSpec, fine: Latents) -> None:
    first, again, other = (PositionsConfig(seed=seed).build(continuous).scramble(fine, 1).values for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    same = LatentSpec(signal=continuous.signal, grids=continuous.grids[1:] * 2)
    scramble = PositionsConfig().build(same)
    assert not torch.equal(scramble.scramble(fine, 0).values, scramble.scramble(fine, 1).values)


def test_what_varies_in_length_or_has_no_order_is_refused(continuous: LatentSpec) -> None:
    def reason(**changes: object) -> str:
        grid = replace(continuous.grids[1], shape=(24,), **changes)
        return str(PositionsConfig().unsupported_reason(LatentSpec(signal=continuous.signal, grids=(grid,))))

    assert "vary in length" in reason(topology="sequence", variable=True)
    assert "sorted" in reason(topology="set")
    assert reason(topology="sequence") == "None"


@pytest.mark.parametrize("shape", [(24,), (2, 3, 4)])
def test_any_number_of_axes_will_do(continuous: LatentSpec, shape: tuple[int, ...]) -> None:
    grid = replace(continuous.grids[1], shape=shape)
    scramble = PositionsConfig().build(LatentSpec(signal=continuous.signal, grids=(grid,)))
    x = torch.randn(2, 5, *shape)
    assert torch.equal(scramble.undo(scramble.scramble(Latents(values=x), 0), 0).values, x)
