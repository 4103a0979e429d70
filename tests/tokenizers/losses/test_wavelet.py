"""The Haar transform against a matrix of its definition, and the loss's symmetries."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from latentbench.tokenizers.losses.wavelet import haar
from latentbench.tokenizers.losses.wavelet_config import DWTConfig
from latentbench.tokenizers.spec import Modality, SignalSpec

LOSS = DWTConfig().build(SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 8, 8)))


def test_sub_bands_are_those_of_separable_filters() -> None:
    x = torch.randn(2, 3, 4, 6, 8, dtype=torch.float64)
    filters = {"L": torch.tensor([1.0, 1.0]) / math.sqrt(2), "H": torch.tensor([1.0, -1.0]) / math.sqrt(2)}
    bands = haar(x)
    assert bands.shape == (2, 24, 2, 3, 4)
    for band, (t, h, w) in enumerate(itertools.product("LH", repeat=3)):
        kernel = torch.einsum("t,h,w->thw", filters[t], filters[h], filters[w]).double()
        kernel = kernel.expand(3, 1, 2, 2, 2)
        expected = torch.nn.functional.conv3d(x, kernel, stride=2, groups=3)
        torch.testing.assert_close(bands[:, 3 * band : 3 * band + 3], expected)


def test_the_transform_keeps_the_energy() -> None:
    x = torch.randn(2, 3, 4, 6, 8)
    torch.testing.assert_close(haar(x).square().sum(), x.square().sum())


def test_odd_axes_repeat_their_last_element() -> None:
    x = torch.randn(1, 1, 3, 5, 7)
    longer = torch.nn.functional.pad(x, (0, 1, 0, 1, 0, 1), mode="replicate")
    assert torch.equal(haar(x), haar(longer))


def test_the_loss_of_a_constant_difference_is_in_one_band() -> None:
    x = torch.randn(2, 3, 4, 8, 8)
    # LLL of a constant c is c x 2^1.5, the other seven are zero.
    torch.testing.assert_close(LOSS(x + 0.5, x), torch.full((2,), 0.5 * 2**1.5 / 8))
    assert LOSS(x, x).tolist() == [0.0, 0.0]


def test_flicker_costs_as_much_as_brightness() -> None:
    x, flicker = torch.zeros(1, 1, 4, 4, 4), torch.tensor([0.5, -0.5, 0.5, -0.5]).view(1, 1, 4, 1, 1)
    assert LOSS(x + flicker, x).item() == pytest.approx(LOSS(x + 0.5, x).item())
