"""The maps of a fixed wavelet scattering of images, clips and sounds, which needs neither weights nor training.

Modulus of Morlet wavelets, then of wavelets of that modulus (Mallat 2012, arXiv 1101.2286, eq. 20; Bruna & Mallat 2013,
arXiv 1203.1513, section 2). What the wavelets see are *planes*: an image's luminance and colour contrasts, a clip's
frames and the differences of frames apart in time, a sound's log-mel.

Shape legend: B samples, T frames (1 for images and sounds), P planes, K maps, L orientations, R numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .spec import MelSpec, Modality
from .target_sizes import FRAME_LAGS, WAVELETS, octaves

# The wavelet in pixels of its octave: 7 x 7, its frequency three quarters of the Nyquist frequency.
_RADIUS, _SIGMA, _FREQUENCY, _SLANT = 3, 0.9, 0.75 * math.pi, 0.5
# Under the root of a variance: a flat picture has no spread, and rounding must not be taken for some.
_FLAT = 1e-6
# Contrasts span orders of magnitude, so logarithms are taken, of the contrast plus this.
FAINT = 0.02
# Log-mel power (in decibels) under which a sound is as good as silent, and the range above it.
_QUIET_DB, _RANGE_DB = -30.0, 80.0


def morlet(orientation: float) -> Tensor:
    """The complex Morlet wavelet `[7, 7]` at an angle in radians: a Gaussian times a wave whose mean is taken off.

    ψ(u) = g(u) (exp(iξu₁) - κ) with Σψ = 0 and Σg = 1 (Bruna & Mallat 2013, section 2.1); u₁ runs along `orientation`
    and the Gaussian is twice as long across it.
    """
    axis = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    along = x * math.cos(orientation) + y * math.sin(orientation)
    across = y * math.cos(orientation) - x * math.sin(orientation)
    envelope = torch.exp(-(along**2 + (_SLANT * across) ** 2) / (2 * _SIGMA**2))
    envelope = envelope / envelope.sum()
    wave = torch.exp(1j * _FREQUENCY * along)
    return envelope * (wave - (envelope * wave).sum())


def contrasts(channels: int) -> Tensor:
    """`[C, C]`: the mean of the channels; then, for each later one, half the mean of those before minus half of it.

    For RGB: luminance, red - green, yellow - blue.
    """
    matrix = torch.zeros(channels, channels)
    matrix[0] = 1 / channels
    for i in range(1, channels):
        matrix[i, :i], matrix[i, i] = 0.5 / i, -0.5
    return matrix


def half(x: Tensor) -> Tensor:
    """`[N, K, H, W]` averaged over 2 x 2 pixels; at an odd side the last means are over fewer."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


class Scattering(nn.Module):
    """Scattering of pictures before whitening: `[B, C, *shape]` of 2 or 3 axes to `[B, R]`."""

    wavelets: Tensor
    mixing: Tensor

    def __init__(self, modality: Modality, channels: int) -> None:
        super().__init__()
        self.video = modality is Modality.VIDEO
        # A sound's frequencies are not alike, so it has four bands besides the whole.
        self.cells: tuple[tuple[int, int], ...] = ((1, 1), (4, 1)) if modality.is_audio else ((1, 1),)
        psi = torch.stack([morlet(math.pi * i / WAVELETS) for i in range(WAVELETS)])
        self.register_buffer("wavelets", torch.stack([psi.real, psi.imag], 1).flatten(0, 1)[:, None].float())
        self.register_buffer("mixing", contrasts(channels))

    def forward(self, pictures: Tensor) -> Tensor:
        """Mean and standard deviation of every map, over the whole and each band; all but the means of the
        planes, which have a sign, as logarithms."""
        planes = self.planes(pictures)
        b, t = planes.shape[:2]

        def average(maps: Tensor, cell: tuple[int, int]) -> Tensor:
            return F.adaptive_avg_pool2d(maps, cell).flatten(1).unflatten(0, (b, t)).mean(1)

        numbers: list[Tensor] = []
        for maps, signed in self.maps(planes.flatten(0, 1)):
            for cell in self.cells:
                mean = average(maps, cell)
                variance = average(maps.square(), cell) - mean.square()
                deviation = (variance.clamp_min(0) + _FLAT).sqrt()
                numbers += [mean if signed else (mean + FAINT).log(), (deviation + FAINT).log()]
        return torch.cat(numbers, 1)

    def planes(self, pictures: Tensor) -> Tensor:
        """`[B, T, P, H, W]`: contrasts of the channels; of clips also the luminance's differences over 1, 2 and 4
        frames (zeros where there is no later frame)."""
        planes = torch.einsum("pc,bc...->bp...", self.mixing, pictures)
        if not self.video:
            return planes[:, None]
        luminance = planes[:, 0]
        changes = torch.zeros_like(luminance)[:, None].repeat(1, len(FRAME_LAGS), 1, 1, 1)
        for i, lag in enumerate(FRAME_LAGS):
            changes[:, i, :-lag] = luminance[:, lag:] - luminance[:, :-lag]
        return torch.cat([planes, changes], 1).transpose(1, 2)

    def maps(self, planes: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """Maps `[N, K, H', W']` of planes `[N, P, H, W]`, and whether they have a sign.

        The planes; octave by octave the moduli of all of them, and the moduli of the luminance's moduli at every
        coarser octave; the planes below the coarsest octave.
        """
        count = octaves(*planes.shape[-2:])
        yield planes, True
        for octave in range(count):
            moduli = self.modulus(planes)
            yield moduli.flatten(1, 2), False
            envelope = moduli[:, 0]
            for _ in range(octave + 1, count):
                envelope = half(envelope)
                yield self.modulus(envelope).flatten(1, 2), False
            planes = half(planes)
        yield planes, True

    def modulus(self, x: Tensor) -> Tensor:
        """|x * ψ| for every orientation: `[N, K, H, W]` to `[N, K, L, H, W]`; beyond the edges x stays as at them."""
        n, k, h, w = x.shape
        padded = F.pad(x.reshape(n * k, 1, h, w), (_RADIUS,) * 4, "replicate")
        parts = F.conv2d(padded, self.wavelets).view(n, k, WAVELETS, 2, h, w)
        return (parts.square().sum(3) + 1e-12).sqrt()


def audible(log_mel: Tensor, mel: MelSpec) -> Tensor:
    """Log-mels in [-1, 1] with a soft floor of -30 dB, under which differences vanish, -30 to 50 dB as -1 to 1.

    Without it the empty bands above a low-pass, which nobody hears, would dominate a sound's features.
    """
    decibels = mel.floor_db + (log_mel + 1) / 2 * (mel.ceiling_db - mel.floor_db)
    above = 10 * torch.log10(1 + 10 ** ((decibels - _QUIET_DB) / 10))
    return 2 * above / _RANGE_DB - 1
