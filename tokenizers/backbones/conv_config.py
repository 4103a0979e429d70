"""Configuration of the convolutional backbone. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from .. import cost
from ..cost import Cost
from ..geometry import Layout, grid_shape
from ..spec import Modality, SignalSpec
from .config import BackboneConfig, PieceGeometry
from .stages import Stage, plan_stages


@dataclass(frozen=True, kw_only=True)
class ConvConfig(BackboneConfig):
    """A convolutional residual autoencoder of any rank, the LDM autoencoder (Rombach et al. 2022) without attention.

    Stage i has `width` x `multipliers[i]` channels (the last repeats) and `blocks` residual blocks. The first
    convolution strides by up to `stem` per axis, so that nothing runs at full resolution (the largest lever on a CPU;
    1 turns that off), later stages by up to `stride`; by default 2 and 2, and 4 and 8 on a waveform. Downsampling
    factors need not be powers of two. Group norms have up to `groups` groups. With `shortcut` a linear map of patches
    runs around either half, started at their PCA, and the halves themselves start at zero: small budgets then end above
    the linear autoencoder instead of below it. `causal` is for clips of k + 1 frames, k a multiple of the downsampling
    in time: the first frame has a latent of its own, no latent sees a later frame, and norms are of every frame.
    `framewise` treats a clip as pictures: kernels of 1 in time, norms of every frame, a latent for each (downsampling 1
    in time). `factorised` makes each 3-d convolution of clips two, of frames and along time, with as many parameters.
    With `bands` "channels" the bands of a spectrogram are channels, and all convolutions are along time: there is one
    row of latents, and `downsample` (an int, or [bands, factor]) is that of time.
    """

    kind: ClassVar[str] = "conv"
    version: ClassVar[int] = 1
    encoder: ClassVar[str | type] = "conv:ConvEncoder"
    decoder: ClassVar[str | type] = "conv:ConvDecoder"
    causal_shortcut: ClassVar[str | type] = "causal:CausalShortcut"
    identity_defaults: ClassVar[frozenset[str]] = frozenset({"causal", "framewise", "factorised", "bands"})

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4)
    blocks: int = 1
    stem: int | None = None
    stride: int | None = None
    groups: int = 8
    shortcut: bool = True
    causal: bool = False
    framewise: bool = False
    factorised: bool = False
    bands: Literal["axis", "channels"] = "axis"

    def __post_init__(self) -> None:
        for name in ("width", "groups", "stem"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.blocks < 0:
            raise ValueError("blocks must be at least 0")
        if self.stride is not None and self.stride < 2:
            raise ValueError("stride must be at least 2")
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError("multipliers must be one or more whole numbers >= 1")
        if self.causal and self.framewise:
            raise ValueError("causal and framewise are two ways to treat time; choose one")
        if self.factorised and self.framewise:
            raise ValueError("framewise has no convolution along time: leave out factorised")

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        if self.bands == "channels" and signal.modality is not Modality.SPECTROGRAM:
            return f'bands = "channels" is for spectrograms, not {signal.modality}'
        of_clips = (name for name in ("causal", "framewise", "factorised") if getattr(self, name))
        if signal.modality is not Modality.VIDEO:
            return next((f"{name} is for video, not {signal.modality}" for name in of_clips), None)
        return None

    @property
    def by_frame(self) -> bool:
        """Whether norms are of every frame by itself."""
        return self.causal or self.framewise

    def kernel(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """`sizes` of a kernel, the first of them 1 where no frame sees another."""
        return (1, *sizes[1:]) if self.framewise else tuple(sizes)

    def factors(self, signal: SignalSpec, downsample: tuple[int, ...]) -> tuple[int, ...]:
        if self.bands == "axis":
            return downsample
        bands, time = downsample
        if bands not in (time, signal.shape[0]):
            raise ValueError(
                f'bands = "channels" leaves one row of latents: expected {time} or [{signal.shape[0]}, {time}], got '
                f"[{bands}, {time}]"
            )
        return signal.shape[0], time

    def seen(self, signal: SignalSpec, downsample: tuple[int, ...]) -> tuple[SignalSpec, tuple[int, ...]]:
        """The signal as the convolutions have it, and its downsampling: with bands as channels one along time."""
        if self.bands == "axis":
            return signal, downsample
        bands, frames = signal.shape
        along = replace(
            signal,
            modality=Modality.WAVEFORM,
            channels=bands * signal.channels,
            shape=(frames,),
            mel=None,
            source_shape=None,
        )
        return along, downsample[1:]

    def layout(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Layout:
        if self.framewise and downsample[0] != 1:
            raise ValueError(
                f"framewise gives every frame a latent of its own: downsample must be 1 in time, not {downsample[0]}"
            )
        if not self.causal:
            return super().layout(signal, downsample)
        frames, step = signal.shape[0], downsample[0]
        if (frames - 1) % step:
            low = (frames - 1) // step * step + 1
            raise ValueError(
                f"causal clips have {step}k + 1 frames, and {frames} are none; nearest: {low} or {low + step}"
            )
        after = replace(signal, shape=(max(step, frames - 1), *signal.shape[1:]))
        _, *sides = grid_shape(after, downsample)
        return Layout(shape=(1 + (frames - 1) // step, *sides))

    def piece_geometry(self, signal: SignalSpec, downsample: tuple[int, ...]) -> PieceGeometry:
        if not self.by_frame:
            raise ValueError("its norms are over all positions of a signal")
        return PieceGeometry(first=1)

    def has_shortcut(self) -> bool:
        return self.shortcut

    def build_shortcut(self, signal: SignalSpec, downsample: tuple[int, ...], latents: int) -> Any:
        target = self._resolve("causal_shortcut" if self.causal else "shortcut_target")
        return target(self, signal, downsample, latents)

    def shortcut_cost(self, signal: SignalSpec, downsample: tuple[int, ...], latents: int) -> Cost:
        patch, shape = math.prod(downsample) * signal.channels, self.layout(signal, downsample).shape
        return cost.pointwise(patch, latents, shape) + cost.pointwise(latents, patch, shape)

    def stages(self, signal: SignalSpec, downsample: tuple[int, ...]) -> tuple[Stage, ...]:
        """Strides, widths and grids, from the signal down to the latents; the first is the stem."""
        waveform = signal.modality.rank == 1
        along, factors = self.seen(signal, downsample)
        return plan_stages(
            along.shape,
            factors,
            widths=[self.width * m for m in self.multipliers],
            stem=self.stem if self.stem is not None else (4 if waveform else 2),
            stride=self.stride if self.stride is not None else (8 if waveform else 2),
        )

    def features(self, signal: SignalSpec, downsample: tuple[int, ...]) -> int:
        return self.stages(signal, downsample)[-1].width

    def encoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        along, _ = self.seen(signal, downsample)
        total, width, frames = Cost(), along.channels, along.shape[0]
        for stage in self.stages(signal, downsample):
            total += self._conv_cost(width, stage.width, stage.kernel, stage.shape, frames) + self._blocks_cost(stage)
            width, frames = stage.width, stage.shape[0]
        return total + cost.norm(width)

    def decoder_cost(self, signal: SignalSpec, downsample: tuple[int, ...]) -> Cost:
        stages, (along, _) = self.stages(signal, downsample), self.seen(signal, downsample)
        total = Cost()
        for stage, outer in zip(reversed(stages), (*reversed(stages[:-1]), None), strict=True):
            outputs = (outer.width if outer else along.channels) * math.prod(stage.stride)
            total += self._blocks_cost(stage)
            total += self._conv_cost(stage.width, outputs, (3,) * len(stage.shape), stage.shape, stage.shape[0])
        return total + cost.norm(stages[0].width)

    def _blocks_cost(self, stage: Stage) -> Cost:
        kernel, width = (3,) * len(stage.shape), stage.width
        half = cost.norm(width) + self._conv_cost(width, width, kernel, stage.shape, stage.shape[0])
        total = Cost()
        for _ in range(2 * self.blocks):
            total += half
        return total

    def _conv_cost(self, inputs: int, outputs: int, kernel: Sequence[int], shape: tuple[int, ...], frames: int) -> Cost:
        """A convolution to a grid of `shape`; a factorised one passes all of its input's `frames` first."""
        kernel = self.kernel(kernel)
        if not self.factorised:
            return cost.conv(inputs, outputs, kernel, shape)
        middle = middle_channels(inputs, outputs, kernel)
        of_frames = cost.conv(inputs, middle, kernel[1:], (frames, *shape[1:]))
        return of_frames + cost.conv(middle, outputs, kernel[:1], shape)


def middle_channels(inputs: int, outputs: int, kernel: Sequence[int]) -> int:
    """Channels between the two halves of a factorised 3-d convolution (Tran et al. 2018, section 3.5): the largest
    number with which they have no more weights than the whole."""
    time, area = kernel[0], math.prod(kernel[1:])
    return max(1, time * area * inputs * outputs // (area * inputs + time * outputs))
