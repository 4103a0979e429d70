"""FSQ: every code once, symmetric levels, straight-through gradients, and an independent implementation."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from latentbench.tokenizers.bottlenecks.fsq import FSQ
from latentbench.tokenizers.bottlenecks.fsq_config import FSQConfig
from latentbench.tokenizers.spec import LatentSpec

Specify = Callable[[int], LatentSpec]

LEVELS = [(8, 6, 5), (2,), (3, 2, 4), (8, 5, 5, 5), (7,)]


@pytest.mark.parametrize("levels", LEVELS)
def test_codes_and_values_are_a_bijection(latent: Specify, levels: tuple[int, ...]) -> None:
    fsq = FSQ(FSQConfig(levels=levels), latent(len(levels)), features=len(levels))
    codes = torch.arange(math.prod(levels)).view(1, 1, -1)
    values = fsq.lookup(codes)
    assert values.shape == (1, len(levels), math.prod(levels))
    assert values.abs().max() <= 1
    assert len(values[0].T.unique(dim=0)) == math.prod(levels)
    # Features that the bound maps onto the levels: its inverse, at values scaled back to steps.
    steps = values * fsq.centre.view(1, -1, 1)
    features = torch.atanh((steps + fsq.offset.view(1, -1, 1)) / fsq.reach.view(1, -1, 1)) - fsq.shift.view(1, -1, 1)
    latents = fsq.encode(features)
    assert torch.equal(latents.codes, codes)  # type: ignore[arg-type]
    assert torch.equal(latents.values, values)  # type: ignore[arg-type]


@pytest.mark.parametrize("levels", LEVELS)
def test_every_level_is_reached(latent: Specify, levels: tuple[int, ...]) -> None:
    fsq = FSQ(FSQConfig(levels=levels), latent(len(levels)), features=len(levels))
    x = torch.linspace(-20, 20, 4001).expand(1, len(levels), -1)
    values = fsq.encode(x).values
    assert values is not None
    for channel, count in enumerate(levels):
        assert len(values[0, channel].unique()) == count
    assert (values.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("levels", LEVELS)
def test_zero_maps_to_zero(latent: Specify, levels: tuple[int, ...]) -> None:
    fsq = FSQ(FSQConfig(levels=levels), latent(len(levels)), features=len(levels))
    assert fsq.encode(torch.zeros(1, len(levels), 1)).values.abs().max() == 0  # type: ignore[union-attr]


def test_the_gradient_is_that_of_the_bound(latent: Specify) -> None:
    fsq = FSQ(FSQConfig(levels=(5, 7)), latent(2), features=2)
    x = torch.randn(2, 2, 9, requires_grad=True)
    fsq(x).values.sum().backward()
    reach, centre = fsq.reach.view(1, -1, 1), fsq.centre.view(1, -1, 1)
    torch.testing.assert_close(x.grad, reach * (1 - x.detach().tanh().square()) / centre)


def test_training_values_are_the_encoded_ones(latent: Specify) -> None:
    fsq = FSQ(FSQConfig(), latent(3), features=3)
    x = torch.randn(4, 3, 6)
    torch.testing.assert_close(fsq(x).values, fsq.encode(x).values)


@pytest.mark.parametrize("levels", [(8, 6, 5), (5, 5, 3), (4, 4)])
def test_an_independent_library_gives_the_same_codes_and_gradients(latent: Specify, levels: tuple[int, ...]) -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    theirs = library.FSQ(levels=list(levels))
    x, gradient = 2 * torch.randn(4, len(levels), 50), torch.randn(4, len(levels), 50)
    y = x.clone().requires_grad_()
    x.requires_grad_()
    values, codes = theirs(y.movedim(1, -1))
    fsq = FSQ(FSQConfig(levels=levels), latent(len(levels)), features=len(levels))
    latents = fsq.encode(x)
    assert torch.equal(latents.codes[:, 0], codes.long())  # type: ignore[index]
    torch.testing.assert_close(latents.values.movedim(1, -1), values)  # type: ignore[union-attr]
    fsq(x).values.backward(gradient)
    values.backward(gradient.movedim(1, -1))
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("levels", [(), (8, 1), (2**16, 2**16)])
def test_impossible_levels(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="levels"):
        FSQConfig(levels=levels)
