"""Transforms of a signal that have a counterpart on a grid of latents. Each is a pair of functions.

Shape legend: B batch, C channels, *signal and *grid the axes of a signal and a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ..spec import Modality
from .spectral import fourier_shift


@dataclass(frozen=True)
class Transform:
    """`signal` acts on `[B, C, *signal]`, `latent` on `[B, C, *grid]`.

    An encoder E is equivariant if latent(E(x)) = E(signal(x)).
    """

    signal: Callable[[Tensor], Tensor]
    latent: Callable[[Tensor], Tensor]


def draw(
    kind: str,
    modality: Modality,
    signal: Sequence[int],
    grid: Sequence[int],
    *,
    whole: bool,
    fourier: bool = False,
) -> Transform:
    """A random transform of the kind for signals and latents of these shapes, from torch's global generator.

    "rotate" turns by 90, 180 or 270 degrees, only by 180 where height and width differ in size or downsampling. "shift"
    is circular along the last axis (images, frames: both axes), uniform over all lengths, with `whole` over whole
    latent positions; `fourier` is of `shift`. The others are the same every time.
    """
    if kind == "rotate":
        square = signal[-1] == signal[-2] and grid[-1] == grid[-2]
        return turn(1 + int(torch.randint(3, ())) if square else 2)
    if kind != "shift":
        return fixed(kind, modality)
    axes = 1 if modality.is_audio else 2
    lengths = []
    for size, positions in zip(signal[-axes:], grid[-axes:], strict=True):
        factor = size // positions
        step = factor if whole else 1
        lengths.append((step * int(torch.randint(size // step, ())), factor))
    return shift(lengths, fourier=fourier)


def fixed(kind: str, modality: Modality) -> Transform:
    """The one transform of the kinds "flip", "scale" and "reverse"."""
    if kind == "flip":
        act: Callable[[Tensor], Tensor] = partial(torch.flip, dims=(-1,))
    elif kind == "reverse":
        act = partial(torch.flip, dims=(2 + modality.axes.index("time"),))
    elif kind == "scale":
        act = halve
    else:
        raise ValueError(f"no transform {kind!r}")
    return Transform(act, act)


def turn(quarters: int) -> Transform:
    """Rotation of the last two axes by `quarters` times 90 degrees."""
    act = partial(torch.rot90, k=quarters, dims=(-2, -1))
    return Transform(act, act)


def shift(lengths: Sequence[tuple[int, int]], *, fourier: bool = False) -> Transform:
    """A circular shift of the last axes: for each (length in elements of the signal, elements per latent position).

    A shift by a fraction of a latent position blends two neighbours linearly, or with `fourier` turns the phases of the
    latents' frequencies, which loses none of them but the highest.
    """

    def signal(x: Tensor) -> Tensor:
        for axis, (length, _) in enumerate(lengths, start=-len(lengths)):
            x = x.roll(length, axis)
        return x

    def latent(z: Tensor) -> Tensor:
        for axis, (length, factor) in enumerate(lengths, start=-len(lengths)):
            if fourier:
                z = fourier_shift(z, length / factor, axis)
                continue
            whole, rest = divmod(length, factor)
            z = z.roll(whole, axis)
            if rest:
                z = torch.lerp(z, z.roll(1, axis), rest / factor)
        return z

    return Transform(signal, latent)


def halve(x: Tensor) -> Tensor:
    """Half the height and width by averaging 2x2, of waveforms half the length: `[B, C, (T,) H, W]` to
    `[B, C, (T,) H / 2, W / 2]`."""
    if x.ndim == 3:
        return F.avg_pool1d(x, 2)
    return F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, (1, 2, 2))
