"""Configuration of the convolutional backbone of neural audio codecs. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

from .. import cost
from ..cost import Cost
from ..geometry import Layout, grid_shape
from ..spec import Modality, SignalSpec
from .config import BackboneConfig, PieceGeometry
from .stages import split_factor

# Kernels of the first and the last convolution, of the one before the latents, and of a residual unit's second.
OUTER, INNER, MIX = 7, 3, 1


@dataclass(frozen=True, kw_only=True)
class SEANetConfig(BackboneConfig):
    """The convolutional autoencoder of neural audio codecs: SEANet (Tagliasacchi et al. 2020) as in EnCodec and DAC.

    Waveforms only. Stage i has `width` x 2^i channels: residual units with `dilations`, then a convolution that strides
    with a kernel of twice its stride; the decoder is the mirror image with transposed convolutions. `strides` are
    those of the stages from the signal to the latents; by default `downsample` in few, ascending factors of at most
    `stride`. A residual unit is a convolution of `kernel` samples to 1/`compress` of the channels and a pointwise one
    back. `activation` is "snake" (x + sin²(αx)/α with a learned α per channel, Ziyin et al. 2020, as in DAC) or "elu"
    (EnCodec). With `causal` no latent and no output sample depends on later samples. `lstm` counts recurrent layers
    around the bottleneck on either side. Weight norm (Salimans and Kingma 2016) on every convolution but the last.
    """

    kind: ClassVar[str] = "seanet"
    version: ClassVar[int] = 1
    encoder: ClassVar[str | type] = "seanet:SEANetEncoder"
    decoder: ClassVar[str | type] = "seanet:SEANetDecoder"

    width: int = 16
    strides: tuple[int, ...] | None = None
    stride: int = 8
    dilations: tuple[int, ...] = (1, 3, 9)
    kernel: int = 7
    compress: int = 1
    activation: Literal["snake", "elu"] = "snake"
    causal: bool = False
    lstm: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "kernel", "compress"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.width % self.compress:
            raise ValueError(f"compress must divide width, {self.width}")
        if self.kernel % 2 == 0:
            raise ValueError("kernel must be odd")
        if self.stride < 2:
            raise ValueError("stride must be at least 2")
        if self.strides is not None and (not self.strides or min(self.strides) < 2):
            raise ValueError("strides must be one or more whole numbers >= 2")
        if any(d < 1 for d in self.dilations):
            raise ValueError("dilations must be whole numbers >= 1")
        if self.lstm < 0:
            raise ValueError("lstm must be at least 0")

    def stage_strides(self, downsample: tuple[int, ...]) -> tuple[int, ...]:
        """Strides from the signal to the latents."""
        return self.strides if self.strides is not None else split_factor(downsample[0], self.stride)

    def widths(self, downsample: tuple[int, ...]) -> tuple[int, ...]:
        """Channels before the first stage and after each."""
        return tuple(self.width * 2**i for i in range(len(self.stage_strides(downsample)) + 1))

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        if signal.modality is not Modality.WAVEFORM:
            return f"'seanet' is for waveforms, not {signal.modality}; 'conv' and 'vit' are for all"
        return None

    def layout(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Layout:
        if self.strides is not None and math.prod(self.strides) != downsample[0]:
            product = " x ".join(map(str, self.strides))
            raise ValueError(f"strides {product} = {math.prod(self.strides)} do not give downsample {downsample[0]}")
        return Layout(shape=grid_shape(signal, downsample))

    def features(self, signal: SignalSpec, downsample: tuple[int, ...]) -> int:
        return self.widths(downsample)[-1]

    def receptive_field(self, downsample: tuple[int, ...]) -> int:
        """Samples that one latent sees, without `lstm` (with it a latent sees all that came before)."""
        units = sum((self.kernel - 1) * d for d in self.dilations)
        field, step = OUTER, 1
        for stride in self.stage_strides(downsample):
            field += step * (units + 2 * stride - 1)
            step *= stride
        return field + step * (INNER - 1)

    def decoder_reach(self, downsample: tuple[int, ...]) -> int:
        """Latent positions that one decoded sample sees, without `lstm`, rounded up."""
        units = sum((self.kernel - 1) * d for d in self.dilations)
        reach, step = Fraction(OUTER - 1), 1
        for stride in reversed(self.stage_strides(downsample)):
            reach += Fraction(1, step)  # a transposed convolution reads two positions
            step *= stride
            reach += Fraction(units, step)
        return 1 + math.ceil(reach + Fraction(OUTER - 1, step))

    def piece_geometry(self, signal: SignalSpec, downsample: tuple[int, ...]) -> PieceGeometry:
        step = downsample[0]
        if self.causal:
            return PieceGeometry(first=step)
        if self.lstm:
            raise ValueError("with lstm a latent sees all that came before it; causal = true carries that along")
        encoder = math.ceil(self.receptive_field(downsample) / step)
        return PieceGeometry(first=step, encoder=encoder, decoder=self.decoder_reach(downsample))

    def encoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        widths, size = self.widths(downsample), signal.shape[0]
        total = self._normed(signal.channels, widths[0], OUTER, size)
        for stride, inner, outer in zip(self.stage_strides(downsample), widths[:-1], widths[1:], strict=True):
            total += self._units(inner, size) + self._activated(inner)
            size //= stride
            total += self._normed(inner, outer, 2 * stride, size)
        return (
            total
            + self._recurrent(widths[-1], size)
            + self._activated(widths[-1])
            + self._normed(widths[-1], widths[-1], INNER, size)
        )

    def decoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        widths, size = self.widths(downsample), grid_shape(signal, downsample)[0]
        total = self._normed(widths[-1], widths[-1], OUTER, size) + self._recurrent(widths[-1], size)
        strides = self.stage_strides(downsample)
        for stride, inner, outer in zip(reversed(strides), widths[:0:-1], widths[-2::-1], strict=True):
            # a transposed convolution: its work is per input, its weights' norms are per input channel
            weights = inner * outer * 2 * stride
            total += self._activated(inner) + Cost(parameters=weights + outer + inner, flops=2.0 * weights * size)
            size *= stride
            total += self._units(outer, size)
        return total + self._activated(widths[0]) + cost.conv(widths[0], signal.channels, (OUTER,), (size,))

    def _units(self, width: int, size: int) -> Cost:
        """The residual units of a stage."""
        inner, total = width // self.compress, Cost()
        for _ in self.dilations:
            total += self._activated(width) + self._normed(width, inner, self.kernel, size)
            total += self._activated(inner) + self._normed(inner, width, MIX, size)
        return total

    def _normed(self, inputs: int, outputs: int, kernel: int, size: int) -> Cost:
        """A convolution and its weights' norms."""
        return cost.conv(inputs, outputs, (kernel,), (size,)) + Cost(parameters=outputs)

    def _activated(self, width: int) -> Cost:
        return Cost(parameters=width if self.activation == "snake" else 0)

    def _recurrent(self, width: int, size: int) -> Cost:
        weights = 8 * width * width
        return Cost(parameters=self.lstm * (weights + 8 * width), flops=2.0 * self.lstm * weights * size)
