"""Space to depth against torch's own, and its inverse in every rank."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from latentbench.tokenizers.backbones.patch import depth_to_space, space_to_depth


@pytest.mark.parametrize("factors", [(3,), (2, 4), (2, 1, 3)])
def test_depth_to_space_undoes_space_to_depth(factors: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *(4 * factor for factor in factors))
    deep = space_to_depth(x, factors)
    assert deep.shape == (2, 3 * torch.tensor(factors).prod().item(), *(4,) * len(factors))
    assert torch.equal(depth_to_space(deep, factors), x)


def test_images_agree_with_pixel_unshuffle() -> None:
    x = torch.randn(2, 3, 8, 8)
    theirs = F.pixel_unshuffle(x, 2).unflatten(1, (3, 4)).transpose(1, 2).flatten(1, 2)
    assert torch.equal(space_to_depth(x, (2, 2)), theirs)
    assert torch.equal(depth_to_space(theirs, (2, 2)), x)
