"""The Inception network of FID, inference only and fast on a CPU.

It is InceptionV3 as TensorFlow released it on 2015-12-05, which differs from torchvision's: average pools leave the
padding out of their mean, and the last block pools by maximum. Against a plain port three things are changed that
change no number: batch norm is folded into the convolutions, memory is channels last, and the 1x1 convolutions of one
block that read the same input are one convolution. (A 1x1 convolution commutes with an average pool, so the pool
branch takes part: it is convolved first, then pooled over its few channels.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...tokenizers.frozen_convs import conv
from ...tokenizers.spec import SignalSpec
from ...tokenizers.weights import Tensors, digest
from .config import SPATIAL_CHANNELS, InceptionConfig, InceptionSpatialConfig
from .frozen import FrozenNet, fold_batch_norm, to_rgb, to_uint8_levels
from .resize import tf1_matrix, tf1_resize

_BEFORE_MIXED_6D = 6  # of the blocks


class _Folded:
    """Convolutions of a weights file with their batch norm folded in, by name."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors

    def weights(self, name: str) -> tuple[Tensor, Tensor]:
        part = {key: self.tensors[f"{name}.bn.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}
        return fold_batch_norm(
            self.tensors[f"{name}.conv.weight"],
            gamma=part["weight"],
            beta=part["bias"],
            mean=part["running_mean"],
            var=part["running_var"],
            eps=1e-3,
        )

    def conv(self, name: str, stride: int = 1, same: bool = True) -> nn.Module:
        """One convolution; `same` keeps the size (its kernels are odd)."""
        weight, bias = self.weights(name)
        return conv(weight, bias, stride=stride, padding=tuple(k // 2 for k in weight.shape[2:]) if same else 0)

    def joint(self, *names: str) -> nn.Module:
        """1x1 convolutions of one input as one, their outputs side by side."""
        weights, biases = zip(*(self.weights(name) for name in names), strict=True)
        return conv(torch.cat(weights), torch.cat(biases))


class _Chain(nn.Sequential):
    """Convolutions in a row, each with its ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = F.relu_(layer(x))
        return x


def _mean_pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _Branches(nn.Module):
    """The blocks that keep the size: a 1x1 branch, two chains that start with a 1x1, and a mean-pool branch.

    The chains' first convolutions and the pool branch's only one are joined with the 1x1 branch's.
    """

    def __init__(self, net: _Folded, block: str, first: tuple[str, str], chains: tuple[list[str], list[str]]) -> None:
        super().__init__()
        names = [f"{block}.{name}" for name in ("branch1x1", *first, "branch_pool")]
        self.widths = [net.tensors[f"{name}.conv.weight"].shape[0] for name in names]
        self.joint = net.joint(*names)
        self.chains = nn.ModuleList(_Chain(*(net.conv(f"{block}.{name}") for name in chain)) for chain in chains)

    def forward(self, x: Tensor) -> Tensor:
        x = self.joint(x)
        convolved, pooled = x.split([sum(self.widths[:3]), self.widths[3]], 1)
        direct, one, two = F.relu(convolved).split(self.widths[:3], 1)
        return torch.cat([direct, self.chains[0](one), self.chains[1](two), F.relu_(_mean_pool(pooled))], 1)


class _Shrink(nn.Module):
    """The blocks that halve the size: two chains that end with stride 2, beside a maximum pool."""

    def __init__(self, net: _Folded, block: str, chains: tuple[list[str], list[str]]) -> None:
        super().__init__()

        def chain(names: list[str]) -> _Chain:
            *inner, last = (f"{block}.{name}" for name in names)
            return _Chain(*(net.conv(name) for name in inner), net.conv(last, stride=2, same=False))

        self.chains = nn.ModuleList(chain(names) for names in chains)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.chains[0](x), self.chains[1](x), F.max_pool2d(x, 3, stride=2)], 1)


class _Spread(nn.Module):
    """The last two blocks: both chains end in a 1x3 and a 3x1 side by side; the last block pools by maximum."""

    def __init__(self, net: _Folded, block: str, *, maximum: bool) -> None:
        super().__init__()
        names = [f"{block}.{name}" for name in ("branch1x1", "branch3x3_1", "branch3x3dbl_1")]
        self.maximum = maximum
        self.joint = net.joint(*names)
        self.widths = [net.tensors[f"{name}.conv.weight"].shape[0] for name in names]
        self.pool = net.conv(f"{block}.branch_pool")
        self.deep = net.conv(f"{block}.branch3x3dbl_2")
        self.ends = nn.ModuleList(
            net.conv(f"{block}.{name}")
            for name in ("branch3x3_2a", "branch3x3_2b", "branch3x3dbl_3a", "branch3x3dbl_3b")
        )

    def forward(self, x: Tensor) -> Tensor:
        direct, one, two = F.relu_(self.joint(x)).split(self.widths, 1)
        two = F.relu_(self.deep(two))
        ends = [F.relu_(end(source)) for end, source in zip(self.ends, (one, one, two, two), strict=True)]
        pooled = self.pool(F.max_pool2d(x, 3, stride=1, padding=1)) if self.maximum else _mean_pool(self.pool(x))
        return torch.cat([direct, *ends, F.relu_(pooled)], 1)


class InceptionNet(FrozenNet):
    """2048-d pool features of FID's Inception, for images of `signal`'s size (other sizes work, a little slower).

    `classifier` `[classes, 2048]` is there for weights files that carry one: it makes logits of features.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, config: InceptionConfig | InceptionSpatialConfig, signal: SignalSpec, tensors: Tensors) -> None:
        super().__init__(config, signal, note=f"; weights {digest(tensors, ignore=('fc.',))}")
        net = _Folded(tensors)
        self.stem = _Chain(
            net.conv("Conv2d_1a_3x3", stride=2, same=False),
            net.conv("Conv2d_2a_3x3", same=False),
            net.conv("Conv2d_2b_3x3"),
        )
        self.stem2 = _Chain(net.conv("Conv2d_3b_1x1"), net.conv("Conv2d_4a_3x3", same=False))
        five = (["branch5x5_2"], ["branch3x3dbl_2", "branch3x3dbl_3"])
        seven = (["branch7x7_2", "branch7x7_3"], [f"branch7x7dbl_{i}" for i in (2, 3, 4, 5)])
        self.blocks = nn.Sequential(
            *(_Branches(net, f"Mixed_5{x}", ("branch5x5_1", "branch3x3dbl_1"), five) for x in "bcd"),
            _Shrink(net, "Mixed_6a", (["branch3x3"], [f"branch3x3dbl_{i}" for i in (1, 2, 3)])),
            *(_Branches(net, f"Mixed_6{x}", ("branch7x7_1", "branch7x7dbl_1"), seven) for x in "bcde"),
            _Shrink(net, "Mixed_7a", (["branch3x3_1", "branch3x3_2"], [f"branch7x7x3_{i}" for i in (1, 2, 3, 4)])),
            _Spread(net, "Mixed_7b", maximum=False),
            _Spread(net, "Mixed_7c", maximum=True),
        )
        weight = tensors.get("fc.weight")
        self.classifier = weight if weight is not None and bool((weight != weight[:1]).any()) else None
        self.register_buffer("rows", tf1_matrix(signal.shape[0], 299), persistent=False)
        self.register_buffer("columns", tf1_matrix(signal.shape[1], 299), persistent=False)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, 1 or 3, H, W]` in [-1, 1] to `[B, 2048]`."""
        return self.maps(signal).mean((2, 3))

    def maps(self, signal: Tensor) -> Tensor:
        """What the blocks make of `[B, 1 or 3, H, W]`: `[B, channels, height, width]`."""
        rows, columns = self.rows, self.columns
        if signal.shape[2:] != (rows.shape[1], columns.shape[1]):
            rows, columns = (tf1_matrix(size, 299).to(signal.device) for size in signal.shape[2:])
        x = to_rgb(tf1_resize(to_uint8_levels(signal), rows, columns))
        x = ((x - 128) / 128).contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(self.stem(x), 3, stride=2)
        x = F.max_pool2d(self.stem2(x), 3, stride=2)
        maps: Tensor = self.blocks(x)
        return maps


class InceptionSpatialNet(InceptionNet):
    """Where things are, of which the pool keeps nothing: 7 channels of a layer with 17 x 17 positions, the features of
    sFID. TensorFlow calls it mixed_6/conv:0, which is the 1x1 branch of the block that ports call Mixed_6d, after its
    ReLU."""

    def __init__(self, config: InceptionSpatialConfig, signal: SignalSpec, tensors: Tensors) -> None:
        super().__init__(config, signal, tensors)
        self.blocks = nn.Sequential(*list(self.blocks)[:_BEFORE_MIXED_6D])
        weight, bias = _Folded(tensors).weights("Mixed_6d.branch1x1")
        self.branch = conv(weight[:SPATIAL_CHANNELS], bias[:SPATIAL_CHANNELS])

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, 1 or 3, H, W]` in [-1, 1] to `[B, 2023]`: row, column, channel, as ADM's files have them."""
        return F.relu_(self.branch(self.maps(signal))).permute(0, 2, 3, 1).flatten(1)
