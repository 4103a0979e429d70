"""DINOv2's vision transformer (Oquab et al. 2023, arXiv 2304.07193), inference only, of a released state dict.

torch-fidelity would fetch the authors' code for it. Shape legend: B images, D width, N patches of 14 x 14 pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...tokenizers.weights import Tensors

_HEAD = 64  # channels of an attention head, in every size of the net
_OFFSET = 0.1  # the authors' guard against a rounding error, which shifts all positions a little


class DinoV2(nn.Module):
    """Images `[B, 3, H, W]`, normalised and with sides that are multiples of 14, to the class token's `[B, D]`.

    Raises RuntimeError or KeyError when the tensors are those of another net.
    """

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        width, channels, patch, _ = tensors["patch_embed.proj.weight"].shape
        depth = sum(name.endswith(".norm1.weight") for name in tensors)
        with torch.device("meta"):
            self.cls_token = nn.Parameter(torch.empty(1, 1, width))
            self.pos_embed = nn.Parameter(torch.empty(tensors["pos_embed"].shape))
            self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(channels, width, patch, stride=patch)})
            self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
            self.norm = nn.LayerNorm(width, eps=1e-6)
        # Training alone masks patches.
        self.load_state_dict({k: v.float() for k, v in tensors.items() if k != "mask_token"}, assign=True)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        grid = self.patch_embed["proj"](x)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), grid.flatten(2).transpose(1, 2)], 1)
        tokens = tokens + self.positions(grid.shape[2], grid.shape[3])
        for block in self.blocks:
            tokens = block(tokens)
        normalised: Tensor = self.norm(tokens)
        return normalised[:, 0]

    def positions(self, height: int, width: int) -> Tensor:
        """The position embedding `[1, 1 + N, D]` of a grid: the square one that was trained, resized bicubically."""
        side = math.isqrt(self.pos_embed.shape[1] - 1)
        if (height, width) == (side, side):
            return self.pos_embed
        square = self.pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        scale = ((height + _OFFSET) / side, (width + _OFFSET) / side)
        resized = F.interpolate(square, scale_factor=scale, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], 1)


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))


class _Block(nn.Module):
    """Attention and a two-layer net, each behind a layer norm and scaled per channel before it is added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // _HEAD
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.ls1, self.ls2 = _Scale(width), _Scale(width)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 1 + N, D]` to the same."""
        q, k, v = self.attn["qkv"](self.norm1(x)).unflatten(-1, (3, self.heads, _HEAD)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.ls1.gamma * self.attn["proj"](seen)
        return x + self.ls2.gamma * self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
