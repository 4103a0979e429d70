"""A fixed wavelet scattering of images, clips and sounds: a feature net that needs neither weights nor training.

Each map of `tokenizers.scattering` is reduced to its mean and standard deviation. The numbers are whitened by a fixed
projection: the principal components over synthetic 1/f pictures, the same for all data sets.

Shape legend: B samples, R numbers before whitening.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ...tokenizers.mel import LogMel
from ...tokenizers.scattering import Scattering, audible
from ...tokenizers.spec import Modality, SignalSpec
from ...tokenizers.target_sizes import mel_front_end, picture_shape
from .config import ScatteringConfig
from .frozen import FrozenNet
from .synthetic import synthetic

# The share of the greatest component's variance that is added to each before its root divides.
_SHRINK = 0.001


class ScatteringNet(FrozenNet):
    """Scattering of any signal, whitened to 96 numbers. See the module."""

    centre: Tensor
    projection: Tensor

    def __init__(self, config: ScatteringConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        self.log_mel = LogMel(mel_front_end(signal)) if signal.modality is Modality.WAVEFORM else None
        self.mel = self.log_mel.spec if self.log_mel is not None else signal.mel
        self.scattering = Scattering(signal.modality, signal.channels)
        centre, projection = whitening(signal.modality, signal.channels, picture_shape(signal), config.dim)
        self.register_buffer("centre", centre)
        self.register_buffer("projection", projection)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, C, *shape]` in [-1, 1] (log-mel for spectrograms) to `[B, 96]`."""
        pictures = signal.float() if self.log_mel is None else self.log_mel(signal.float())
        if self.mel is not None:
            pictures = audible(pictures, self.mel)
        return (self.scattering(pictures) - self.centre) @ self.projection


@lru_cache(maxsize=32)
@torch.no_grad()
def whitening(modality: Modality, channels: int, shape: tuple[int, ...], dim: int) -> tuple[Tensor, Tensor]:
    """The centre `[R]` and the projection `[R, dim]` onto the principal components of synthetic pictures of `shape`.

    Large shapes are cut to 32 positions an axis (8 in time), so that one projection serves all of them. Components
    with less than a thousandth of the greatest variance are not blown up to its size. Where R < dim the last columns
    are zeros.
    """
    video = modality is Modality.VIDEO
    cut = tuple(min(n, most) for n, most in zip(shape, (8, 32, 32) if video else (32, 32), strict=True))
    pictures = synthetic(384 if video else 1024, channels, cut)
    scattering = Scattering(modality, channels)
    numbers = torch.cat([scattering(part) for part in pictures.split(32)]).double()
    spread = numbers.std(0) + 1e-3
    values, vectors = torch.linalg.eigh(torch.cov(((numbers - numbers.mean(0)) / spread).T))
    values, vectors = values.flip(0)[:dim].clamp_min(0), vectors.flip(1)[:, :dim]
    projection = vectors / (values + _SHRINK * values[0]).sqrt() / spread[:, None]
    return numbers.mean(0).float(), F.pad(projection, (0, dim - projection.shape[1])).float()
