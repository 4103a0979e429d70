"""Discriminators: nets that tell signals from reconstructions, for signals of rank 1 to 3.

Shape legend: B batch, C channels, N samples, T frames, F frequency bins, *signal the axes of a signal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from .. import ranks
from ..memory_format import Layout, to_channels_last

_CONV: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
# Widths grow from layer to layer up to this many times the first.
_WIDEST = 8
SLOPE = 0.2


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """`logits`, one tensor `[B, 1, ...]` per scale, higher for real; `features`, the hidden layers' outputs."""

    logits: tuple[Tensor, ...]
    features: tuple[Tensor, ...]


class Discriminator(nn.Module):
    """Judges signals `[B, C, *signal]`, float32. Nothing is normalised over positions: patches are independent."""

    def forward(self, signal: Tensor) -> Judgement:
        """`[B, C, *signal]` to logits and features."""
        raise NotImplementedError


class PatchDiscriminator(Discriminator):
    """Judges overlapping patches (PatchGAN, Isola et al. 2017, appendix 6.1.2): one logit per patch.

    `layers` strided convolutions, one with stride 1, and one for the logits; stride 2 and kernel 4 per axis (waveforms
    4 and 8), but stride 1 on an axis that is shorter than two strides. Three layers see 70 positions, as in the paper.
    Weight norm (Salimans and Kingma 2016) replaces the paper's batch norm, by which a patch's logit would depend on
    everything else in the batch.
    """

    def __init__(self, shape: Sequence[int], *, channels: int, width: int, layers: int) -> None:
        super().__init__()
        rank = len(shape)
        stride, sizes = (4 if rank == 1 else 2), list(shape)
        self.kernel, self.strides = 2 * stride, list[tuple[int, ...]]()
        for _ in range(layers):
            strides = tuple(stride if size >= 2 * stride else 1 for size in sizes)
            sizes = [size // s for size, s in zip(sizes, strides, strict=True)]
            self.strides.append(strides)
        self.strides += [(1,) * rank] * 2
        widths = [channels, *(width * min(2**i, _WIDEST) for i in range(layers + 1)), 1]
        self.layers = nn.ModuleList(
            _PatchConv(widths[i], widths[i + 1], self.kernel, strides) for i, strides in enumerate(self.strides)
        )
        self.layout = Layout(rank)
        to_channels_last(self, rank)

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Signal positions per axis that one logit sees (fewer at the edges)."""
        return tuple(
            1 + sum((self.kernel - 1) * math.prod(axis[:i]) for i in range(len(axis)))
            for axis in zip(*self.strides, strict=True)
        )

    def forward(self, signal: Tensor) -> Judgement:
        """`[B, C, *signal]` to one map of logits `[B, 1, *patches]`."""
        x, features = self.layout(signal), []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return Judgement(logits=(self.layers[-1](x),), features=tuple(features))


class _PatchConv(nn.Module):
    """A convolution with an even kernel whose output has the input's size divided by the stride, rounded down."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: Sequence[int]) -> None:
        super().__init__()
        padding = tuple((kernel - s) // 2 for s in stride)
        self.conv = weight_norm(_CONV[len(stride)](inputs, outputs, kernel, tuple(stride), padding))  # type: ignore[arg-type]
        # On an axis of stride 1 an even kernel needs one more element at the end; F.pad counts axes from the last.
        self.extra = [n for s in reversed(stride) for n in (0, (kernel - s) % 2)]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.extra) if any(self.extra) else x)


class TemporalDiscriminator(PatchDiscriminator):
    """Judges overlapping patches of the differences between consecutive frames of a clip.

    What is the same in all frames can't be seen, so that flicker and motion alone decide, beside a discriminator or a
    loss that judges the frames themselves (as video GANs split the two: Clark et al. 2019, arXiv 1907.06571, 3.2).
    """

    def __init__(self, shape: Sequence[int], *, channels: int, width: int, layers: int) -> None:
        super().__init__((shape[0] - 1, *shape[1:]), channels=channels, width=width, layers=layers)

    def forward(self, signal: Tensor) -> Judgement:
        """`[B, C, T, H, W]` to one map of logits `[B, 1, *patches]` of T - 1 differences."""
        return super().forward(signal.diff(dim=2))


class StyleDiscriminator(Discriminator):
    """Judges whole signals: residual blocks after StyleGAN2 (Karras et al. 2020, fig. 7), one logit per sample.

    Each block halves (waveforms: quarters) every axis longer than 4 and doubles the width. The last convolution also
    reads one channel with the mean deviation over the batch (Karras et al. 2018, section 3), which reveals a batch of
    similar reconstructions. Average pooling replaces the paper's blur, and the usual initialisation its equalised
    learning rates.
    """

    def __init__(self, shape: Sequence[int], *, channels: int, width: int, layers: int | None) -> None:
        super().__init__()
        rank, sizes = len(shape), list(shape)
        self.enter = _CONV[rank](channels, width, 1)
        self.blocks = nn.ModuleList()
        inner = width
        while max(sizes) > 4 if layers is None else len(self.blocks) < layers:
            factors = [min(4 if rank == 1 else 2, size) if size > 4 else 1 for size in sizes]
            outer, inner = inner, min(2 * inner, _WIDEST * width)
            self.blocks.append(_StyleBlock(outer, inner, factors))
            sizes = [size // factor for size, factor in zip(sizes, factors, strict=True)]
        self.last = _CONV[rank](inner + 1, inner, 3, padding=1)
        self.dense = nn.Linear(inner * math.prod(sizes), inner)
        self.judge = nn.Linear(inner, 1)
        self.layout = Layout(rank)
        to_channels_last(self, rank)

    def forward(self, signal: Tensor) -> Judgement:
        """`[B, C, *signal]` to logits `[B, 1]`."""
        x, features = F.leaky_relu(self.enter(self.layout(signal)), SLOPE), []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        x = F.leaky_relu(self.last(torch.cat([x, deviation_map(x)], dim=1)), SLOPE)
        x = F.leaky_relu(self.dense(x.flatten(1)), SLOPE)
        return Judgement(logits=(self.judge(x),), features=(*features, x))


class _StyleBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors, conv = tuple(factors), _CONV[len(factors)]
        self.conv1, self.conv2 = conv(inputs, inputs, 3, padding=1), conv(inputs, outputs, 3, padding=1)
        self.skip = conv(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pool = _POOL[len(self.factors)]
        h = pool(F.leaky_relu(self.conv1(x), SLOPE), self.factors)
        h = F.leaky_relu(self.conv2(h), SLOPE)
        return (h + self.skip(pool(x, self.factors))) * math.sqrt(0.5)


def deviation_map(x: Tensor) -> Tensor:
    """`[B, C, *grid]` to `[B, 1, *grid]`, constant: the deviation over the batch, averaged over all elements."""
    # The tiny number keeps the root's gradient finite where all samples are alike.
    deviation = (ranks.gathered(x).var(0, correction=0) + 1e-8).sqrt().mean()
    return deviation.expand(x.shape[0], 1, *x.shape[2:])


class STFTDiscriminator(Discriminator):
    """Judges waveforms by complex spectra at several resolutions, a net and a map of logits for each.

    After EnCodec's MS-STFT discriminator (Défossez et al. 2022, section 3.4 and fig. 2): real and imaginary parts as
    channels, a convolution of 3 frames x 9 bins, `layers` more that stride over every second bin and dilate over 1, 2,
    4, ... frames, then two of 3 x 3; weight norm. Hops are a quarter of the window; spectra are divided by the window's
    norm, so that noise of unit variance has unit power in every bin.
    """

    def __init__(self, length: int, *, channels: int, width: int, layers: int, windows: Sequence[int]) -> None:
        super().__init__()
        self.windows = tuple(dict.fromkeys(_fit(window, length) for window in windows))
        self.nets = nn.ModuleList(_SpectrumNet(2 * channels, width, layers) for _ in self.windows)
        for window in self.windows:
            hann = torch.hann_window(window)
            self.register_buffer(f"hann{window}", hann / hann.square().sum().sqrt(), persistent=False)
        to_channels_last(self, 2)

    def forward(self, signal: Tensor) -> Judgement:
        """`[B, C, N]` to a map of logits `[B, 1, T, F / 2^layers]` per window."""
        logits: list[Tensor] = []
        features: list[Tensor] = []
        for window, net in zip(self.windows, self.nets, strict=True):
            *before, last = net(self.spectrum(signal, window))
            logits.append(last)
            features += before
        return Judgement(logits=tuple(logits), features=tuple(features))

    def spectrum(self, signal: Tensor, window: int) -> Tensor:
        """`[B, C, N]` to real and imaginary parts, `[B, 2 C, T, F]`."""
        spectrum = torch.stft(
            signal.flatten(0, 1),
            window,
            window // 4,
            window=self.get_buffer(f"hann{window}"),
            pad_mode="constant",
            return_complex=True,
        )
        parts = torch.view_as_real(spectrum).permute(0, 3, 2, 1)
        return parts.reshape(len(signal), -1, *parts.shape[2:])


class _SpectrumNet(nn.Module):
    """`[B, C, T, F]` to the outputs of its layers, the last of them the logits."""

    own_layout = True  # channels last, always: its weights are computed from others

    def __init__(self, channels: int, width: int, layers: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(channels, width, (3, 9), padding=(1, 4))]
        for i in range(layers):
            dilation = (2**i, 1)
            convs.append(nn.Conv2d(width, width, (3, 9), (1, 2), padding=(2**i, 4), dilation=dilation))
        convs.append(nn.Conv2d(width, width, 3, padding=1))
        convs.append(nn.Conv2d(width, 1, 3, padding=1))
        self.layers = nn.ModuleList(weight_norm(conv) for conv in convs)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, outputs = x.contiguous(memory_format=torch.channels_last), []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), SLOPE)
            outputs.append(x)
        return [*outputs, self.layers[-1](x)]


def _fit(window: int, length: int) -> int:
    while window > length:
        window //= 2
    return window
