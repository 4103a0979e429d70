"""Features as tokens (A17): the encoder learns by VICReg alone and is frozen; the rest learns to decode its features.

VICReg is Bardes et al. 2021 (arXiv 2105.04906), equations 1 to 6, here at every position, as in VICRegL. The views keep
the geometry, so that positions correspond.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import ClassVar

import torch
from torch import Tensor, nn

from .. import ranks
from ..backbones.conv import pointwise
from ..corruptions.mask import Mask
from .base import AuxiliaryObjective, LossTerms, TrainedTokenizer, TrainingStep
from .config import TokenizerParts
from .self_supervised_config import SelfSupervisedConfig

# The paper's weights 25, 25, 1 of invariance, variance and covariance, divided by 25.
_COVARIANCE = 0.04


class SelfSupervised(AuxiliaryObjective):
    """VICReg on the features for the first `share` of the steps; then the encoder's weights stay as they are.

    The bottleneck reads the features without gradient, so no reconstruction error reaches the encoder. Once it is
    frozen its parameters have no gradient at all, and an optimiser skips those, weight decay included. The frozen
    weights are saved, and restored at the end in place of the training loop's moving average, which lags behind: the
    codebook was made for the features of the frozen encoder.
    """

    detaches_features: ClassVar[bool] = True
    frozen: Tensor

    def __init__(self, config: SelfSupervisedConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        self.config = config
        features = tokenizer.bottleneck.inputs(tokenizer.channels, tokenizer.features)
        self.expander = nn.Sequential(
            nn.Linear(features, 2 * config.embedding), nn.GELU(), nn.Linear(2 * config.embedding, config.embedding)
        )
        self.views = Views(config, tokenizer.downsample, per_channel=not tokenizer.signal.modality.is_audio)
        self.register_buffer("frozen", torch.tensor(False))
        for number, shape in enumerate(_shapes(tokenizer, features)):
            self.register_buffer(f"frozen_{number}", torch.zeros(shape))

    def losses(self, training_step: TrainingStep) -> LossTerms:
        """Invariance, variance and covariance of the views' embeddings while the encoder learns, then nothing."""
        if training_step.step >= self.freeze_at(training_step.steps):
            return LossTerms()
        first, second = (ranks.gathered(self._embedded(training_step)) for _ in range(2))
        invariance = (first - second).square().mean()
        variance = spread_hinge(first) + spread_hinge(second)
        covariance = covariance_penalty(first) + covariance_penalty(second)
        loss = invariance + variance + _COVARIANCE * covariance
        logs = {"invariance": invariance.detach(), "spread": variance.detach(), "covariance": covariance.detach()}
        return LossTerms(losses={"self_supervised": self.config.weight * loss}, logs=logs)

    def freeze_at(self, steps: int) -> int:
        """The first step at which the encoder is frozen; the last one at the latest."""
        return min(math.ceil(self.config.share * steps), steps - 1)

    @torch.no_grad()
    def after_step(self, tokenizer: TrainedTokenizer, *, step: int, steps: int) -> None:
        """Saves the encoder's weights after the last step that trains it."""
        if step + 1 == self.freeze_at(steps):
            self.frozen.fill_(True)
            for number, parameter in enumerate(_parameters(tokenizer)):
                self.get_buffer(f"frozen_{number}").copy_(parameter)

    @torch.no_grad()
    def on_train_end(self, tokenizer: TrainedTokenizer) -> None:
        """Restores the frozen encoder's weights in place of their average."""
        if self.frozen:
            for number, parameter in enumerate(_parameters(tokenizer)):
                parameter.copy_(self.get_buffer(f"frozen_{number}"))

    def _embedded(self, training_step: TrainingStep) -> Tensor:
        """The embeddings of a new view, `[B, embedding, *grid]`."""
        features = training_step.tokenizer.features(self.views(training_step.signal))
        return self.expander(features.movedim(1, -1)).movedim(-1, 1)


class Views:
    """Random copies of signals with the same geometry: x -> gain x + offset + noise, and patches hidden.

    Gains lie within jitter of 1 and offsets within jitter of 0, per channel of images and frames. A waveform gets no
    offset, which would be inaudible; on a spectrogram an offset is a gain.
    """

    def __init__(self, config: SelfSupervisedConfig, patch: Sequence[int], *, per_channel: bool) -> None:
        self.config = config
        self.per_channel = per_channel
        self.mask = Mask(patch, ratio=config.mask) if config.mask else None

    def __call__(self, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` to a view of the same shape."""
        shape = (len(signal), signal.shape[1] if self.per_channel else 1, *(1,) * (signal.ndim - 2))
        jitter = self.config.jitter
        gain = 1 + jitter * (2 * torch.rand(shape, device=signal.device) - 1)
        offset = jitter * (2 * torch.rand(shape, device=signal.device) - 1)
        view = gain * signal if signal.ndim == 3 else gain * signal + offset
        view = view + self.config.noise * torch.randn_like(signal)
        return view if self.mask is None else self.mask(view)


def spread_hinge(z: Tensor) -> Tensor:
    """Mean of max(0, 1 - s), s the root over positions of each channel's variance over the batch: `[B, C, *grid]`.

    VICReg's variance term (Bardes et al. 2021, equation 1). The variance is taken at each position, since a pattern
    that is the same for all samples holds no information.
    """
    variance = z.var(0, correction=0).flatten(1).mean(1)
    return (1 - (variance + 1e-4).sqrt()).clamp_min(0).mean()


def covariance_penalty(z: Tensor) -> Tensor:
    """Sum of the squared covariances of different channels, divided by the number of channels: `[B, C, *grid]`.

    VICReg's equation 4, with the batch mean subtracted at each position.
    """
    rows = (z - z.mean(0, keepdim=True)).movedim(1, -1).flatten(0, -2)
    covariance = rows.T @ rows / max(1, len(rows) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / len(covariance)


def _parameters(tokenizer: TrainedTokenizer) -> Iterator[nn.Parameter]:
    return chain(tokenizer.encoder.parameters(), tokenizer.project_in.parameters())


def _shapes(tokenizer: TokenizerParts, features: int) -> list[torch.Size]:
    """The shapes of the encoder's and its projection's parameters, without drawing weights."""
    with torch.device("meta"):
        parts = [tokenizer.backbone.build_encoder(tokenizer.signal, tokenizer.downsample)]
        if not tokenizer.bottleneck.projects:
            parts.append(pointwise(tokenizer.features, features, len(tokenizer.layout.shape)))
    return [parameter.shape for part in parts for parameter in part.parameters()]
