"""The convolutional autoencoder of neural audio codecs, after EnCodec and DAC.

SEANet (Tagliasacchi et al. 2020, arXiv 2009.02095); EnCodec (Défossez et al. 2022, arXiv 2210.13438, section 3.1);
DAC (Kumar et al. 2023, arXiv 2306.06546, section 3.1). Nothing but `lstm` reaches further than the receptive field,
so that a long sound can be coded in pieces.

Shape legend: B batch, C channels, N samples, T latent steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from ..spec import SignalSpec
from .carry import Carrier
from .seanet_config import INNER, MIX, OUTER, SEANetConfig


class Snake(nn.Module):
    """x + sin²(αx) / α with an α per channel, 1 at the start (Ziyin et al. 2020, arXiv 2006.08195, eq. 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, N]` to the same shape."""
        return x + (self.alpha * x).sin().square() / (self.alpha + 1e-9)


class PaddedConv(nn.Module, Carrier):
    """A convolution whose output has the input's size divided by `stride`; `causal`: all padding lies in the past.

    One that `carries` all of the signal (no residual connection runs around it) starts with weights that keep its
    variance; torch's own start takes two thirds of it at each, and a bottleneck that rounds would see zeros.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        causal: bool = False,
        normed: bool = True,
        carries: bool = False,
    ) -> None:
        super().__init__()
        conv = nn.Conv1d(inputs, outputs, kernel, stride, dilation=dilation)
        if carries:
            nn.init.normal_(conv.weight, std=(inputs * kernel) ** -0.5)
        self.conv = weight_norm(conv) if normed else conv
        total = (kernel - 1) * dilation + 1 - stride
        self.padding = (total, 0) if causal else (total // 2, total - total // 2)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, N]` to `[B, outputs, N / stride]`."""
        x = F.pad(x, self.padding) if self.carried is None else torch.cat([self.carried, x], dim=-1)
        if self.carry is not None:
            self.carry.value = x[..., x.shape[-1] - self.padding[0] :].clone()
        return self.conv(x)


class PaddedTranspose(nn.Module, Carrier):
    """A transposed convolution, kernel twice the stride, to `stride` times the size; `causal`: no step sees a later."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, causal: bool) -> None:
        super().__init__()
        conv = nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride)
        nn.init.normal_(conv.weight, std=(2 * inputs) ** -0.5)  # two inputs reach an output
        self.conv = weight_norm(conv)
        self.stride = stride
        self.first = 0 if causal else stride // 2

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` to `[B, outputs, T x stride]`."""
        size, first = self.stride * x.shape[-1], self.first
        if self.carried is not None:
            x, first = torch.cat([self.carried, x], dim=-1), first + self.stride
        if self.carry is not None:
            self.carry.value = x[..., -1:].clone()
        return self.conv(x)[..., first : first + size]


class ResidualUnit(nn.Module):
    """Activation, a dilated convolution, activation, a pointwise one, added to the input (DAC, section 3.1)."""

    def __init__(self, config: SEANetConfig, width: int, dilation: int) -> None:
        super().__init__()
        inner = width // config.compress
        self.layers = nn.Sequential(
            _activation(config, width),
            PaddedConv(width, inner, config.kernel, dilation=dilation, causal=config.causal),
            _activation(config, inner),
            PaddedConv(inner, width, MIX),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, N]` to the same shape."""
        return x + self.layers(x)


class Recurrent(nn.Module, Carrier):
    """LSTM layers over time with a residual connection (EnCodec, section 3.1)."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, T]` to the same shape."""
        after, state = self.lstm(x.transpose(1, 2), self.carried)
        if self.carry is not None:
            self.carry.value = state
        return x + after.transpose(1, 2)


class SEANetEncoder(nn.Module):
    """`[B, C, N]` to `[B, features, T]`."""

    def __init__(self, config: SEANetConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        super().__init__()
        widths, causal = config.widths(downsample), config.causal
        layers: list[nn.Module] = [PaddedConv(signal.channels, widths[0], OUTER, causal=causal, carries=True)]
        for stride, inner, outer in zip(config.stage_strides(downsample), widths[:-1], widths[1:], strict=True):
            layers += [ResidualUnit(config, inner, dilation) for dilation in config.dilations]
            layers.append(_activation(config, inner))
            layers.append(PaddedConv(inner, outer, 2 * stride, stride=stride, causal=causal, carries=True))
        if config.lstm:
            layers.append(Recurrent(widths[-1], config.lstm))
        layers.append(_activation(config, widths[-1]))
        layers.append(PaddedConv(widths[-1], widths[-1], INNER, causal=causal, carries=True))
        self.layers = nn.Sequential(*layers)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, C, N]` to `[B, features, T]`."""
        return self.layers(signal)


class SEANetDecoder(nn.Module):
    """`[B, features, T]` to `[B, C, N]`: the encoder's stages in reverse."""

    def __init__(self, config: SEANetConfig, signal: SignalSpec, downsample: tuple[int, ...]) -> None:
        super().__init__()
        widths, causal = config.widths(downsample), config.causal
        layers: list[nn.Module] = [PaddedConv(widths[-1], widths[-1], OUTER, causal=causal, carries=True)]
        if config.lstm:
            layers.append(Recurrent(widths[-1], config.lstm))
        strides = config.stage_strides(downsample)
        for stride, inner, outer in zip(reversed(strides), widths[:0:-1], widths[-2::-1], strict=True):
            layers.append(_activation(config, inner))
            layers.append(PaddedTranspose(inner, outer, stride=stride, causal=causal))
            layers += [ResidualUnit(config, outer, dilation) for dilation in config.dilations]
        layers.append(_activation(config, widths[0]))
        # without weight norm: the adaptive weight of an adversary takes gradients at its weights
        layers.append(PaddedConv(widths[0], signal.channels, OUTER, causal=causal, normed=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, features, T]` to `[B, C, N]`."""
        return self.layers(features)


def _activation(config: SEANetConfig, channels: int) -> nn.Module:
    return Snake(channels) if config.activation == "snake" else nn.ELU()
