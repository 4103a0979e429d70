"""The layout in memory of what convolutions of rank 2 and 3 read: channels last, or contiguous with channels first.

Both give the same numbers to rounding. On a CPU, and in half precision on a GPU, convolutions compute with channels
last, in float32 on a GPU with channels first: what has the other layout is copied at each of them, forwards and
backwards (NVIDIA, "Convolutional Layers User's Guide", Tensor Layouts; torch's `cudnn_conv_suggest_memory_format`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}  # by rank
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)

Chosen = Literal["auto", "channels_last", "contiguous"]


class Layout(nn.Module):
    """Gives `[B, C, *grid]` of `rank` axes the layout of the convolutions behind it; others stay as they are.

    Until `set_format` decides, that is channels last, or with `channels_last = None` whatever the tensor has."""

    def __init__(self, rank: int, *, channels_last: bool | None = True) -> None:
        super().__init__()
        self.rank, self.channels_last = rank, channels_last

    def forward(self, x: Tensor) -> Tensor:
        """The same values."""
        if self.rank not in CHANNELS_LAST or self.channels_last is None:
            return x
        return x.contiguous(memory_format=CHANNELS_LAST[self.rank] if self.channels_last else torch.contiguous_format)


class GroupNorm(nn.GroupNorm):
    """Group norm whose output has its input's layout, as it has anyway on a CPU: torch's own for GPUs gives contiguous
    tensors whatever it gets (pytorch issue 111824)."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, *grid]` to the same shape."""
        normed = super().forward(x)
        last = CHANNELS_LAST.get(x.ndim - 2)
        return normed.contiguous(memory_format=last) if last and x.is_contiguous(memory_format=last) else normed


def resolved(chosen: Chosen, device: torch.device, *, bfloat16: bool) -> Literal["channels_last", "contiguous"] | None:
    """The layout that `chosen` means on the device; None where each part keeps its own, as it was measured on CPUs."""
    if chosen != "auto":
        return chosen
    if device.type != "cuda":
        return None
    return "channels_last" if bfloat16 else "contiguous"


def set_format(model: nn.Module, layout: Literal["channels_last", "contiguous"]) -> None:
    """Have the model's convolutions of rank 2 and 3 compute in that layout; parameters stay the same objects.

    Parts with a true `own_layout` lay out by themselves what they read, and stay as they are.
    """
    for module in _parts(model):
        if isinstance(module, Layout):
            module.channels_last = layout == "channels_last"
    for weight in _weights(model):
        last = CHANNELS_LAST[weight.ndim - 2]
        weight.data = weight.data.contiguous(
            memory_format=last if layout == "channels_last" else torch.contiguous_format
        )


def format_of(model: nn.Module) -> str:
    """The layout of the model's convolutions of rank 2 and 3: "channels_last", "contiguous", "both" where they differ,
    "" where either name fits all of them, or there are none."""
    layouts = set()
    for weight in _weights(model):
        last, first = weight.is_contiguous(memory_format=CHANNELS_LAST[weight.ndim - 2]), weight.is_contiguous()
        if last != first:
            layouts.add("channels_last" if last else "contiguous")
    return "both" if len(layouts) > 1 else "".join(layouts)


def to_channels_last(module: nn.Module, rank: int) -> nn.Module:
    """`module` with channels last in memory where convolutions of that rank have such a layout."""
    return module.to(memory_format=CHANNELS_LAST[rank]) if rank in CHANNELS_LAST else module  # type: ignore[call-overload]


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    if not getattr(module, "own_layout", False):
        yield module
        for child in module.children():
            yield from _parts(child)


def _weights(model: nn.Module) -> Iterator[nn.Parameter]:
    for module in _parts(model):
        if isinstance(module, _CONVOLUTIONS) and isinstance(module.weight, nn.Parameter):  # else computed from others
            yield module.weight
