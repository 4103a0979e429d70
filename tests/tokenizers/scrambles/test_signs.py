from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.scrambles.base import words
from latentbench.tokenizers.scrambles.signs_config import SignsConfig
from latentbench.tokenizers.spec import LatentSpec


def test_the_words_are_those_of_splitmix64() -> None:
    # The first outputs for the seed 1234567 that reference implementations print.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    got = words(torch.tensor([1234567]), 3)[0].tolist()
    assert [word % 2**64 for word in got] == expected


@pytest.mark.parametrize(("per", "axes"), [("sample", (1, 2, 3)), ("channel", (2, 3)), ("value", ())])
def test_signs_are_drawn_for_their_part_and_undone(per: Any, axes: tuple[int, ...], continuous: LatentSpec) -> None:
    scramble = SignsConfig(per=per).build(continuous)
    x = torch.randn(4000, 5, 4, 6)
    turned = scramble.scramble(Latents(values=x), 1)
    signs = turned.values / x
    assert torch.equal(signs.abs(), torch.ones_like(x))
    if axes:
        assert torch.equal(signs.amax(axes), signs.amin(axes))  # one sign
        signs = signs.amax(axes)
    each = signs.reshape(4000, -1)
    assert each.mean(0).abs().max() < 5 / 4000**0.5  # half of them of each kind, in every place
    if each.shape[1] > 1:
        assert abs(torch.corrcoef(each.t())[0, 1]) < 5 / 4000**0.5  # and independent
    assert torch.equal(scramble.undo(turned, 1).values, x)


def test_the_key_depends_on_the_sample_alone(continuous: LatentSpec, fine: Latents) -> None:
    scramble = SignsConfig().build(continuous)
    whole = scramble.scramble(fine, 1)
    part = scramble.scramble(replace(fine, values=fine.values[2:4], scale=None), 1)
    assert torch.equal(part.key, whole.key[2:4])
    assert len(whole.key.unique()) == 6
    other = SignsConfig(seed=1).build(continuous).scramble(fine, 1)
    assert not torch.equal(other.key, whole.key)


def test_a_sample_without_a_key_is_decoded_as_it_is(continuous: LatentSpec, fine: Latents) -> None:
    scramble = SignsConfig(per="value").build(continuous)
    drawn = Latents(values=fine.values)
    assert torch.equal(scramble.undo(drawn, 1).values, fine.values)
