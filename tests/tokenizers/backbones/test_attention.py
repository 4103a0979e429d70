"""Attention against its formula, blocks, and positions on grids of any rank."""

from __future__ import annotations

import math

import pytest
import torch

from latentbench.tokenizers.backbones.attention import (
    MLP,
    Attention,
    AxialEmbedding,
    Block,
    TransformerEncoder,
    coordinates,
    positions_of,
    rotary_angles,
    rotate,
)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_the_formula(causal: bool) -> None:
    layer = Attention(12, 3, causal=causal)
    x = torch.randn(2, 5, 12)
    query, key, value = (part.view(2, 5, 3, 4).transpose(1, 2) for part in layer.qkv(x).split(12, dim=-1))
    logits = query @ key.transpose(-1, -2) / math.sqrt(4)
    if causal:
        logits = logits.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
    expected = layer.out((logits.softmax(-1) @ value).transpose(1, 2).reshape(2, 5, 12))
    torch.testing.assert_close(layer(x), expected)


def test_a_block_is_two_residual_branches() -> None:
    block, x = Block(8, 2, inner=12), torch.randn(2, 5, 8)
    middle = x + block.attention(block.norm1(x))
    torch.testing.assert_close(block(x), middle + block.mlp(block.norm2(middle)))
    assert block.mlp.up.out_features == 12
    assert MLP(8).up.out_features == 32


def test_the_encoder_sees_all_positions_and_has_none_of_its_own() -> None:
    net, x, order = TransformerEncoder(8, 2, 2, 16).eval(), torch.randn(1, 6, 8), torch.randperm(6)
    torch.testing.assert_close(net(x[:, order]), net(x)[:, order])
    changed = x.clone()
    changed[0, 3] += torch.randn(8)
    assert ((net(changed) - net(x)).abs().amax(-1) > 1e-6).all()
    assert net(x).std(-1).mean().item() == pytest.approx(1, abs=0.1)


def test_rotary_logits_depend_on_the_offset_alone() -> None:
    cos, sin = rotary_angles((6, 5), 12)
    query, key = torch.randn(12), torch.randn(12)
    place = {tuple(p): i for i, p in enumerate(coordinates((6, 5)).tolist())}

    def logit(a: tuple[int, int], b: tuple[int, int]) -> float:
        turned = [rotate(v[None], (cos[place[p]], sin[place[p]]))[0] for v, p in ((query, a), (key, b))]
        return float(turned[0] @ turned[1])

    assert logit((3, 3), (1, 2)) == pytest.approx(logit((5, 4), (3, 3)), abs=1e-4)
    assert abs(logit((3, 3), (1, 2)) - logit((3, 3), (2, 1))) > 1e-3


def test_positions_are_added_or_angles_never_both() -> None:
    learned, rotary = (positions_of(kind, (2, 3), 8, 2, unplaced=2) for kind in ("learned", "rotary"))
    assert learned().shape == (6, 8)
    assert learned.angles() is None
    assert rotary() is None
    assert not rotary.state_dict()
    x = torch.randn(1, 2, 8, 4)
    torch.testing.assert_close(rotate(x, rotary.angles())[..., 6:, :], x[..., 6:, :])  # no position, no turn
    torch.testing.assert_close(rotate(x, rotary.angles())[..., 2:5, :], rotate(x[..., 2:5, :], rotary.angles(2, 5)))


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 2)])
def test_learned_positions_are_all_different_and_in_raster_order(shape: tuple[int, ...]) -> None:
    axes, count = AxialEmbedding(shape, 32), math.prod(shape)
    table = axes()
    assert table.shape == (count, 32)
    assert (torch.cdist(table, table) + torch.eye(count)).min() > 1e-3
    assert coordinates(shape)[-1].tolist() == [size - 1 for size in shape]
    assert coordinates(shape)[1].tolist() == [0] * (len(shape) - 1) + [1]
    torch.testing.assert_close(table, sum(axis[coordinates(shape)[:, i]] for i, axis in enumerate(axes.axes)))
