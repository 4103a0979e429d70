"""Discriminators of neural codecs: by period, and by band of a complex spectrum (DAC, Kumar et al. 2023).

Shape legend: B batch, C channels, N samples, T frames, F frequency bins, P period.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from .discriminators import SLOPE, Discriminator, Judgement, STFTDiscriminator

PERIODS = (2, 3, 5, 7, 11)
# Parts of the spectrum that each have a net of their own, as shares of the bins (DAC's code, `BANDS`).
BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))
# Widths of a period net's layers, as multiples of the first.
_WIDTHS = (1, 4, 16, 32, 32)


class PeriodDiscriminator(Discriminator):
    """Judges every P-th sample together, for each of `PERIODS` (multi-period, HiFi-GAN, Kong et al. 2020, section 2.3).

    A waveform is folded to `[N / P, P]`, its end mirrored to fill the last row; convolutions of 5 x 1 stride by 3 along
    the samples, so that no two phases of a period mix. Widths are 1, 4, 16, 32, 32 times `width` (HiFi-GAN: 32).
    """

    def __init__(self, *, channels: int, width: int, periods: Sequence[int] = PERIODS) -> None:
        super().__init__()
        self.periods = tuple(periods)
        self.nets = nn.ModuleList(_PeriodNet(channels, width) for _ in self.periods)

    def forward(self, signal: Tensor) -> Judgement:
        """`[B, C, N]` to a map of logits `[B, 1, rows, P]` per period."""
        return _judged([net(fold(signal, period)) for net, period in zip(self.nets, self.periods, strict=True)])


def fold(signal: Tensor, period: int) -> Tensor:
    """`[B, C, N]` to `[B, C, ⌈N / P⌉, P]`, the end mirrored to fill the last row."""
    missing = -signal.shape[-1] % period
    if missing:
        signal = F.pad(signal, (0, missing), "reflect")
    return signal.unflatten(-1, (-1, period))


class _PeriodNet(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [channels, *(width * factor for factor in _WIDTHS)]
        last = len(_WIDTHS) - 1
        convs = [
            nn.Conv2d(inputs, outputs, (5, 1), (3 if i < last else 1, 1), padding=(2, 0))
            for i, (inputs, outputs) in enumerate(pairwise(widths))
        ]
        convs.append(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))
        self.layers = nn.ModuleList(weight_norm(conv) for conv in convs)

    def forward(self, x: Tensor) -> list[Tensor]:
        return _outputs(self.layers, x)


class BandDiscriminator(STFTDiscriminator):
    """Judges waveforms by complex spectra at several resolutions, band by band (DAC, section 3.3).

    As `STFTDiscriminator`, but each resolution is split into the five `BANDS`, each with a net of its own: a 3 x 9
    convolution, `layers` more that stride over every second bin, one of 3 x 3; their outputs are joined along the
    frequencies for the logits.
    """

    def __init__(self, length: int, *, channels: int, width: int, layers: int, windows: Sequence[int]) -> None:
        super().__init__(length, channels=channels, width=width, layers=layers, windows=windows)
        self.nets = nn.ModuleList(_BandNet(2 * channels, width, layers, window) for window in self.windows)


class _BandNet(nn.Module):
    """`[B, C, T, F]` to the outputs of its bands' layers, the last of them the logits `[B, 1, T, bins]`."""

    def __init__(self, channels: int, width: int, layers: int, window: int) -> None:
        super().__init__()
        bins = window // 2 + 1
        edges = [(int(low * bins), int(high * bins)) for low, high in BANDS]
        # a short window's band may be empty
        self.edges = [(low, high) for low, high in edges if high > low]
        self.bands = nn.ModuleList(nn.ModuleList(_band(channels, width, layers)) for _ in self.edges)
        self.last = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs, ends = [], []
        for (low, high), layers in zip(self.edges, self.bands, strict=True):
            y = x[..., low:high]
            for layer in layers:  # type: ignore[attr-defined]
                y = F.leaky_relu(layer(y), SLOPE)
                outputs.append(y)
            ends.append(y)
        return [*outputs, self.last(torch.cat(ends, dim=-1))]


def _band(channels: int, width: int, layers: int) -> list[nn.Module]:
    convs = [nn.Conv2d(channels, width, (3, 9), padding=(1, 4))]
    convs += [nn.Conv2d(width, width, (3, 9), (1, 2), padding=(1, 4)) for _ in range(layers)]
    convs.append(nn.Conv2d(width, width, 3, padding=1))
    return [weight_norm(conv) for conv in convs]


class CodecDiscriminator(Discriminator):
    """Those by period and by band together, as DAC has them (section 3.3)."""

    def __init__(self, length: int, *, channels: int, width: int, layers: int, windows: Sequence[int]) -> None:
        super().__init__()
        self.period = PeriodDiscriminator(channels=channels, width=width)
        self.band = BandDiscriminator(length, channels=channels, width=width, layers=layers, windows=windows)

    def forward(self, signal: Tensor) -> Judgement:
        """`[B, C, N]` to the logits and features of both."""
        first, second = self.period(signal), self.band(signal)
        return Judgement(logits=first.logits + second.logits, features=first.features + second.features)


def _outputs(layers: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """The outputs of all layers, leaky but for the last."""
    outputs = []
    for layer in layers[:-1]:
        x = F.leaky_relu(layer(x), SLOPE)
        outputs.append(x)
    return [*outputs, layers[-1](x)]


def _judged(nets: Sequence[list[Tensor]]) -> Judgement:
    """Each net's outputs: all but the last are features, the last its logits."""
    return Judgement(
        logits=tuple(outputs[-1] for outputs in nets),
        features=tuple(feature for outputs in nets for feature in outputs[:-1]),
    )
