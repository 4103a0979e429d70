"""The KL-regularised Gaussian bottleneck (KL-VAE, A3): Kingma and Welling 2013 (arXiv 1312.6114), appendix B."""

from __future__ import annotations

import torch
from torch import Tensor

from ..interface import Latents
from ..spec import LatentSpec
from .base import Bottleneck, BottleneckOutput
from .kl_config import KLConfig

# As in LDM's autoencoder: beyond these a float32 variance or its inverse is of no use.
LOGVAR_RANGE = (-30.0, 20.0)


def kl_to_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, I)) in nats, summed over all but the batch: `[B, ...]` to `[B]`.

    KL = 1/2 sum (mean^2 + exp(logvar) - 1 - logvar).
    """
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1)


class KL(Bottleneck):
    """Reads mean and log-variance less `initial_logvar`, `[B, 2C, *grid]`; gives a sample in training, else the mean.

    The loss is beta x KL / elements, with the KL summed over a sample and `elements` those of the signal: the objective
    is likewise a mean over the signal's elements, so beta weighs sum against sum.
    """

    def __init__(self, config: KLConfig, spec: LatentSpec, *, features: int) -> None:
        super().__init__(config, spec, features=features)
        self.beta = config.beta
        self.initial_logvar = config.initial_logvar
        self.elements = spec.signal.elements

    def forward(self, features: Tensor) -> BottleneckOutput:
        mean, logvar = self._moments(features)
        sample = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
        kl = kl_to_standard_normal(mean, logvar).mean()
        return BottleneckOutput(
            values=sample, losses={"kl": self.beta / self.elements * kl}, logs={"kl_nats": kl.detach()}
        )

    def encode(self, features: Tensor) -> Latents:
        mean, logvar = self._moments(features)
        return Latents(values=mean, scale=(0.5 * logvar).exp())

    def _moments(self, features: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = features.chunk(2, dim=1)
        return mean, (logvar + self.initial_logvar).clamp(*LOGVAR_RANGE)
