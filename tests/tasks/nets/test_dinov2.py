"""DINOv2's transformer against torch's own layers, and its resized positions against what bicubic does to a ramp."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from latentbench.tasks.nets.dinov2 import DinoV2
from latentbench.tokenizers.weights import Tensors

Make = Callable[..., Tensors]


@pytest.fixture
def tensors() -> Make:
    """`(width=, depth=, side=)`: random tensors under the released names, with `side` x `side` positions."""

    def make(width: int = 128, depth: int = 2, side: int = 3) -> Tensors:
        generator = torch.Generator().manual_seed(0)
        shapes = shapes_of(width, depth, side)
        values = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
        return Tensors(Path("dinov2.pth"), values)

    return make


def shapes_of(width: int, depth: int, side: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a released file."""
    block = {
        **{f"norm{i}.{part}": (width,) for i in (1, 2) for part in ("weight", "bias")},
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "ls1.gamma": (width,),
        "ls2.gamma": (width,),
        "mlp.fc1.weight": (4 * width, width),
        "mlp.fc1.bias": (4 * width,),
        "mlp.fc2.weight": (width, 4 * width),
        "mlp.fc2.bias": (width,),
    }
    return {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + side**2, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        **{f"blocks.{i}.{name}": shape for i in range(depth) for name, shape in block.items()},
        "norm.weight": (width,),
        "norm.bias": (width,),
    }


def torch_layers(tensors: Tensors, width: int, depth: int) -> nn.Module:
    """The same net of torch's encoder layers: a scale per channel is part of the projection before it."""
    layers = []
    for i in range(depth):
        of = {name.removeprefix(f"blocks.{i}."): t for name, t in tensors.items() if name.startswith(f"blocks.{i}.")}
        layer = nn.TransformerEncoderLayer(
            width, width // 64, 4 * width, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
        )
        one, two = of["ls1.gamma"], of["ls2.gamma"]
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": of["attn.qkv.weight"],
                "self_attn.in_proj_bias": of["attn.qkv.bias"],
                "self_attn.out_proj.weight": of["attn.proj.weight"] * one[:, None],
                "self_attn.out_proj.bias": of["attn.proj.bias"] * one,
                "linear1.weight": of["mlp.fc1.weight"],
                "linear1.bias": of["mlp.fc1.bias"],
                "linear2.weight": of["mlp.fc2.weight"] * two[:, None],
                "linear2.bias": of["mlp.fc2.bias"] * two,
                **{f"norm{n}.{part}": of[f"norm{n}.{part}"] for n in (1, 2) for part in ("weight", "bias")},
            }
        )
        layers.append(layer)
    return nn.Sequential(*layers).eval()


@torch.no_grad()
def test_it_equals_torchs_layers(tensors: Make) -> None:
    given = tensors()
    x = torch.randn(2, 3, 42, 42)
    patches = x.unfold(2, 14, 14).unfold(3, 14, 14)  # [B, 3, rows, columns, 14, 14]
    weight, bias = given["patch_embed.proj.weight"], given["patch_embed.proj.bias"]
    tokens = torch.einsum("bcrsij,dcij->brsd", patches, weight).flatten(1, 2) + bias
    tokens = torch.cat([given["cls_token"].expand(2, -1, -1), tokens], 1) + given["pos_embed"]
    expected = torch_layers(given, 128, 2)(tokens)[:, 0]
    expected = nn.functional.layer_norm(expected, (128,), given["norm.weight"], given["norm.bias"], 1e-6)
    torch.testing.assert_close(DinoV2(given)(x), expected, atol=1e-5, rtol=1e-4)
    assert float(expected.std(0).mean()) > 1e-3


@torch.no_grad()
def test_resized_positions_keep_the_authors_offset(tensors: Make) -> None:
    """A ramp stays nearly one: at (i + 1/2) 37/16.1 - 1/2, which at i = 13 is 0.19 off (i + 1/2) 37/16 - 1/2."""
    given = tensors(width=64, depth=1, side=37)
    ramp = torch.arange(37.0).repeat_interleave(37)  # grows with the row
    given["pos_embed"] = torch.cat([torch.zeros(1), ramp])[None, :, None].expand(1, -1, 64)
    positions = DinoV2(given).positions(16, 16)
    assert positions.shape == (1, 257, 64)
    rows = positions[0, 1:, 0].view(16, 16)
    inner = torch.arange(2.0, 14.0)
    # torch's cubic (a = -3/4) bends a ramp by up to 0.05.
    torch.testing.assert_close(rows[2:14, 5], (inner + 0.5) * 37 / 16.1 - 0.5, atol=0.06, rtol=0)
    torch.testing.assert_close(rows, rows[:, :1].expand(-1, 16), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("width", "depth", "millions"), [(384, 12, 22.06), (768, 12, 86.58), (1024, 24, 304.37)])
def test_the_released_sizes(width: int, depth: int, millions: float) -> None:
    """The parameters that the authors' table has: 21 M, 86 M and 300 M."""
    numbers = [torch.Size(shape).numel() for shape in shapes_of(width, depth, 37).values()]
    assert sum(numbers) / 1e6 == pytest.approx(millions, abs=0.01)
