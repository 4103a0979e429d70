"""What the pretrained nets share: frozen convolutions with batch norm folded in, and their inputs' first steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...tokenizers.spec import SignalSpec
from ..interface import FeatureNet
from .config import NetConfig

_CONV: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_FORMAT = {4: torch.channels_last, 5: torch.channels_last_3d}


class FrozenNet(FeatureNet):
    """A feature net as its configuration describes it; `note` joins the protocol: which weights, what they met."""

    def __init__(self, config: NetConfig, signal: SignalSpec, *, note: str = "") -> None:
        super().__init__()
        self.name, self.dim, self.reads = config.kind, config.dim, config.reads
        self.protocol = config.protocol + note
        self.blind_to, self.at_once = config.blind_to, config.at_once(signal)


def fold_batch_norm(
    weight: Tensor, *, gamma: Tensor | None, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals `weight` followed by batch norm in evaluation.

    `weight` is `[out, in, *kernel]`; `gamma` None stands for ones. Computed in float64, returned in float32.
    """
    scale = (var.double() + eps).rsqrt()
    if gamma is not None:
        scale = scale * gamma.double()
    bias = beta.double() - mean.double() * scale
    folded = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
    return folded.float(), bias.float()


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


def to_rgb(x: Tensor) -> Tensor:
    """Grey `[B, 1, ...]` repeated to three channels; colour as it is."""
    return x.expand(-1, 3, *x.shape[2:]) if x.shape[1] == 1 else x


def to_uint8_levels(x: Tensor) -> Tensor:
    """[-1, 1] to the whole numbers 0..255 in float32: what an 8-bit file of the picture would hold (round, clamp)."""
    return ((x.float() + 1) * 127.5).round_().clamp_(0, 255)


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
