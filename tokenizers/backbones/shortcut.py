"""A linear shortcut around an autoencoder: patches to latents and back, started at the patches' PCA.

The encoder's and the decoder's own outputs start at zero, so training begins at the best linear autoencoder of the same
rank and learns what is nonlinear. The idea of a shortcut from space to channels is DC-AE's (Chen et al. 2024, arXiv
2410.10733, residual autoencoding), which averages channels; this one projects on principal components.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ..bottlenecks.linear import per_position, principal_components
from ..spec import SignalSpec
from .config import BackboneConfig
from .patch import depth_to_space, space_to_depth

# Enough to know the covariance of patches of a few hundred elements.
SAMPLES = 4096


class Shortcut(nn.Module):
    """A linear autoencoder in parallel to a backbone's: its outputs are added to the backbone's, at either end."""

    def encode(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` to `[B, latents, *grid]`, float32."""
        raise NotImplementedError

    def decode(self, values: Tensor) -> Tensor:
        """`[B, latents, *grid]` to `[B, C, *signal]`, float32."""
        raise NotImplementedError

    def on_train_start(self, signals: Iterable[Tensor], *, whiten: bool) -> None:
        """Starts it at PCA; with `whiten` every latent has unit variance, else distances are kept."""
        raise NotImplementedError


class LinearShortcut(Shortcut):
    """`[B, C, *signal]` to `[B, latents, *grid]` and back: one matrix each way per patch of the downsampling's size."""

    def __init__(self, config: BackboneConfig, signal: SignalSpec, downsample: tuple[int, ...], latents: int) -> None:
        super().__init__()
        self.factors = downsample
        elements = signal.channels * math.prod(downsample)
        self.down = nn.Linear(elements, latents)
        self.up = nn.Linear(latents, elements)

    def patches(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` to one patch per position, `[B, elements, *grid]`."""
        return space_to_depth(signal, self.factors)

    def encode(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` to `[B, latents, *grid]`, float32."""
        with torch.autocast(signal.device.type, enabled=False):
            return per_position(self.down, self.patches(signal.float()))

    def decode(self, values: Tensor) -> Tensor:
        """`[B, latents, *grid]` to `[B, C, *signal]`, float32."""
        with torch.autocast(values.device.type, enabled=False):
            return depth_to_space(per_position(self.up, values.float()), self.factors)

    @torch.no_grad()
    def on_train_start(self, signals: Iterable[Tensor], *, whiten: bool) -> None:
        """Sets both matrices to the PCA of the first `SAMPLES` signals' patches.

        With `whiten` every latent has unit variance; else all are divided by one number, so that distances between
        latents stay those between patches. Latents beyond the patch's rank start at zero.
        """
        rank = min(self.down.out_features, self.down.in_features)
        patches = (self.patches(x.float()) for x in first(signals, SAMPLES))
        mean, components, variances = principal_components(patches, rank)
        deviations = variances.clamp_min(1e-12 * max(float(variances[0]), 1e-12)).sqrt()
        if not whiten:
            deviations = torch.full_like(deviations, float(variances.mean().sqrt().clamp_min(1e-6)))
        for parameter in self.parameters():
            parameter.zero_()
        scaled = components / deviations.unsqueeze(1)
        self.down.weight[:rank] = scaled.to(self.down.weight.dtype)
        self.down.bias[:rank] = -(scaled @ mean).to(self.down.bias.dtype)
        self.up.weight[:, :rank] = (components * deviations.unsqueeze(1)).T.to(self.up.weight.dtype)
        self.up.bias.copy_(mean)


def first(batches: Iterable[Tensor], count: int) -> Iterator[Tensor]:
    """Batches until they hold `count` samples."""
    for batch in batches:
        yield batch
        count -= len(batch)
        if count <= 0:
            return
