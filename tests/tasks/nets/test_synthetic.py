"""Synthetic pictures: the same every time, in range, smooth as natural ones are, of any rank and size."""

from __future__ import annotations

import pytest
import torch

from latentbench.tasks.nets.synthetic import synthetic


def test_synthetic_pictures_are_the_same_every_time_and_fill_the_range() -> None:
    a, b = synthetic(64, 3, (16, 16)), synthetic(64, 3, (16, 16))
    assert torch.equal(a, b)
    assert a.abs().max() <= 1
    assert 0.1 < a.std() < 0.7
    neighbours = (a[..., 1:] - a[..., :-1]).square().mean() / (2 * a.var())
    assert neighbours < 0.5  # white noise has 1


@pytest.mark.parametrize(("channels", "shape"), [(1, (4, 4)), (2, (5, 31)), (3, (1, 8, 8)), (3, (8, 16, 12))])
def test_any_rank_and_size(channels: int, shape: tuple[int, ...]) -> None:
    pictures = synthetic(16, channels, shape)
    assert pictures.shape == (16, channels, *shape)
    assert pictures.isfinite().all()


def test_channels_have_most_in_common() -> None:
    pictures = synthetic(256, 3, (16, 16))
    centred = pictures - pictures.mean((2, 3), keepdim=True)
    alike = torch.nn.functional.cosine_similarity(centred[:, 0].flatten(1), centred[:, 1].flatten(1))
    assert 0.5 < alike.mean() < 0.99
