"""Frozen convolutions of given weights, padded as TensorFlow pads, and the input that sound nets share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .spec import SignalSpec

_CONV: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_FORMAT = {4: torch.channels_last, 5: torch.channels_last_3d}


def conv(
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    groups: int = 1,
) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    """The frozen convolution of given weights (its rank is the kernel's), channels last."""
    layer = nn.utils.skip_init(
        _CONV[weight.dim()],
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=stride,
        padding=padding,
        groups=groups,
        bias=bias is not None,
    )
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    if weight.dim() in _FORMAT:
        layer = layer.to(memory_format=_FORMAT[weight.dim()])
    return layer.requires_grad_(False)


def pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """`[B, C, *shape]` padded with zeros as TensorFlow's "SAME" does: the odd one out goes to the far side."""
    pads: list[int] = []
    for size, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads) if any(pads) else x


class SameConv(nn.Module):
    """The frozen convolution of given weights after `pad_same`."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, stride: int | tuple[int, ...] = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.kernel = tuple(weight.shape[2:])
        self.stride = (stride,) * len(self.kernel) if isinstance(stride, int) else stride
        self.conv = conv(weight, bias, stride=stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, *shape]` to `[B, C', *ceil(shape / stride)]`."""
        return self.conv(pad_same(x, self.kernel, self.stride))


class MonoAt16k(nn.Module):
    """A waveform `[B, C, N]` at the signal's rate to `[B, N']`, mono (mean of the channels), 16 kHz."""

    rate = 16_000

    def __init__(self, signal: SignalSpec) -> None:
        super().__init__()
        from torchaudio.transforms import Resample

        source = signal.mel.sample_rate if signal.mel is not None else round(signal.rate or self.rate)
        self.resample = Resample(source, self.rate) if source != self.rate else nn.Identity()
        self.note = f"; resampled from {source} Hz" if source != self.rate else ""

    def forward(self, waveform: Tensor) -> Tensor:
        """See the class."""
        return self.resample(waveform.float().mean(1))
