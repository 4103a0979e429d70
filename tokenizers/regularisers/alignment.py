"""Representation alignment (B6): VA-VAE, Yao et al. 2025 (arXiv 2501.01423), equations 3 to 7.

Shape legend: B batch, C channels of the latents, E those of the target, *grid the axes of a latent, N its positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..auxiliary.adversary import gradient_ratio, whole_gradient
from ..auxiliary.base import LossTerms, TrainingStep
from ..auxiliary.config import TokenizerParts
from .alignment_config import AlignmentConfig
from .features import FeaturePredictor

# At most about this many positions of a sample are compared with each other, evenly spaced.
_COMPARED = 256


class Alignment(FeaturePredictor):
    """weight x (mean of max(0, 1 - margin - cos(P z, f)) + structure x `structure_loss`).

    f are the frozen net's features, averaged onto the latent grid and normalised by their mean and deviation over the
    training split, a thousand samples of it; z the latents, P the projection. Where the latents are not a grid, their
    mean over positions is compared with the features' mean over the signal. With `adaptive` the sum is scaled so that
    its gradient at the features is as long as the fidelity's.
    """

    def __init__(self, config: AlignmentConfig, tokenizer: TokenizerParts) -> None:
        spec = tokenizer.spec
        grid = spec.grid.shape if spec.grid.topology == "grid" else (1,) * spec.signal.modality.rank
        super().__init__(config.target, spec, grid)
        self.config = config
        channels, features = spec.grid.channels, self.target.channels
        self.project: nn.Module = nn.Linear(channels, features)
        if config.hidden:
            self.project = nn.Sequential(
                nn.Linear(channels, config.hidden), nn.GELU(), nn.Linear(config.hidden, features)
            )

    def losses(self, training_step: TrainingStep) -> LossTerms:
        values = training_step.bottleneck_output.latents
        z = values.movedim(1, -1)
        if len(self.places) != values.ndim - 2 or values.shape[2:] != self.places:
            z = z.flatten(1, -2).mean(1).view(len(values), *self.places, -1)
        target = self.normalised(training_step.signal)
        cosine = F.cosine_similarity(self.project(z), target, dim=-1)
        loss = (1 - self.config.margin - cosine).clamp_min(0).mean()
        if self.config.structure:
            loss = loss + self.config.structure * structure_loss(z, target, slack=self.config.slack)
        logs = {"alignment_cosine": cosine.mean().detach()}
        if self.config.adaptive and training_step.features.requires_grad:
            logs["alignment_factor"] = adaptive_factor(training_step, loss)
            loss = logs["alignment_factor"] * loss
        return LossTerms(losses={"alignment": self.config.weight * loss}, logs=logs)


def adaptive_factor(training_step: TrainingStep, loss: Tensor) -> Tensor:
    """|gradient of the fidelity| / |gradient of `loss`| at what the bottleneck reads, at most 10^4 (equation 7).

    The paper takes both at the encoder's last layer, of which any backbone has another; its output has no such choice.
    """
    terms = (training_step.fidelity, loss)
    fidelity, own = (torch.autograd.grad(term, training_step.features, retain_graph=True)[0] for term in terms)
    return gradient_ratio(whole_gradient(fidelity), whole_gradient(own))


def structure_loss(z: Tensor, target: Tensor, *, slack: float) -> Tensor:
    """Mean over pairs of positions of max(0, |cos(z, z') - cos(f, f')| - slack), equation 5: `[B, *grid, C and E]`."""
    cosines = []
    for rows in (z, target):
        unit = F.normalize(rows.flatten(1, -2), dim=-1)
        unit = unit[:, :: -(-unit.shape[1] // _COMPARED)]
        cosines.append(unit @ unit.mT)
    return ((cosines[0] - cosines[1]).abs() - slack).clamp_min(0).mean()
