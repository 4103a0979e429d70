"""Causal next-latent regularisation (B13): CRT, Ramanujan et al. 2024 (arXiv 2412.16326), section 4.

Shape legend: B batch, N positions in raster order, C channels, *grid the axes of a latent.
"""

from __future__ import annotations

from torch import Tensor

from ..auxiliary.base import LossTerms, TrainingStep
from ..auxiliary.config import TokenizerParts
from .base import Regulariser
from .next_latent_config import NextLatentConfig
from .prior_in_the_loop import CausalPrior, moments


class NextLatent(Regulariser):
    """weight x mean over positions and channels of (f(z_1 ... z_(n-1)) - z_n)^2, z normalised per channel.

    A squared error, unlike the likelihood of `PriorInTheLoop`: no variance is predicted, codes need no softmax, and the
    decoder reads no noise. The batch's moments have their gradient, so that smaller latents gain nothing. Both what is
    read and what is predicted send a gradient to the encoder, of codes by the quantiser's straight-through path.
    """

    def __init__(self, config: NextLatentConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        self.weight, grid = config.weight, tokenizer.spec.grid
        self.net = CausalPrior(grid.channels, grid.channels, grid.shape, width=config.width, layers=config.layers)

    def losses(self, training_step: TrainingStep) -> LossTerms:
        error = self.unexplained(training_step.bottleneck_output.latents)
        return LossTerms(losses={"next_latent": self.weight * error}, logs={"unexplained": error.detach()})

    def unexplained(self, values: Tensor) -> Tensor:
        """The mean squared error of predicting the normalised latents `[B, C, *grid]`; 1 for predicting nothing."""
        mean, deviation = moments(values)
        z = ((values - mean) / deviation).flatten(2).mT
        return (self.net(z) - z).square().mean()
