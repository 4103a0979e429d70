"""The priors' transformer: its cache, fixed positions, adaLN-zero."""

from __future__ import annotations

import math

import pytest
import torch

from latentbench.tasks.priors.transformer import Transformer, sincos
from latentbench.tokenizers.backbones.attention import Block, rotary_angles


@pytest.mark.parametrize("rotary", [False, True])
def test_cached_steps_equal_the_whole(rotary: bool) -> None:
    net = Transformer(16, 3, 2, causal=True).eval()
    cos, sin = rotary_angles((2, 4), 8)
    x = torch.randn(3, 8, 16)
    whole = net(x, rotary=(cos, sin) if rotary else None)
    cache = net.cache(3, 8)
    pieces = []
    for start, end in ((0, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8)):
        pieces.append(net(x[:, start:end], rotary=(cos[start:end], sin[start:end]) if rotary else None, cache=cache))
    torch.testing.assert_close(torch.cat(pieces, 1), whole)


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 2)])
def test_fixed_positions_are_all_different(shape: tuple[int, ...]) -> None:
    count, table = math.prod(shape), sincos(shape, 32)
    assert table.shape == (count, 32)
    assert (torch.cdist(table, table) + torch.eye(count)).min() > 1e-3


def test_adaln_zero_starts_as_the_identity() -> None:
    net = Transformer(16, 2, 2, causal=False, condition=16)
    x = torch.randn(2, 4, 16)
    torch.testing.assert_close(net(x, condition=torch.randn(2, 16)), x)
    block = Block(16, 2, causal=False, condition=16)
    assert not torch.allclose(block(x, condition=torch.randn(2, 16)), x)
