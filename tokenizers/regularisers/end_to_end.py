"""End-to-end training with a flow (B14): REPA-E, Leng et al. 2025 (arXiv 2504.10483), section 3.

Shape legend: B batch, N positions, C channels, E features, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..auxiliary.base import LossTerms, TrainingStep
from ..auxiliary.config import TokenizerParts
from ..backbones.attention import AxialEmbedding, Block
from ..backbones.time import TimeEmbedding, stratified_times
from .end_to_end_config import EndToEndConfig
from .features import FeaturePredictor
from .prior_in_the_loop import moments

_HEAD_WIDTH = 16
_TIME_FEATURES = 64
# The optimiser does not see a loss's scale, but the clipping of the joint gradient does.
_FLOW_WEIGHT = 0.05


class EndToEnd(FeaturePredictor):
    """0.05 x |v(sg[z_t], t) - (e - sg[z])|^2 + weight x (1 - mean cos(P h(z_t), f)), z normalised per channel.

    z_t = (1 - t) z + t e with e from N(0, I) and t uniform. The first loss trains the flow alone: a flow's error is
    least for latents that tell nothing, which is why its gradient must not reach the encoder (their section 3.1).
    Latents that are not a grid are aligned by their mean over positions.
    """

    def __init__(self, config: EndToEndConfig, tokenizer: TokenizerParts) -> None:
        spec, grid = tokenizer.spec, tokenizer.spec.grid
        on_grid = grid.topology == "grid"
        super().__init__(config.target, spec, grid.shape if on_grid else (1,) * spec.signal.modality.rank)
        self.weight, self.on_grid = config.weight, on_grid
        shape = None if grid.topology == "set" else grid.shape
        self.flow = LatentFlow(config, grid.channels, shape)
        self.project = nn.Linear(config.width, self.target.channels)

    def losses(self, training_step: TrainingStep) -> LossTerms:
        values = training_step.bottleneck_output.latents
        mean, deviation = moments(values)
        z = ((values - mean) / deviation).flatten(2).mT
        t, noise = stratified_times(len(z), z.device), torch.randn_like(z)
        stopped = z.detach()
        velocity, _ = self.flow(path(stopped, noise, t), t)
        flow = (velocity - (noise - stopped)).square().mean()
        _, states = self.flow(path(z, noise, t), t)
        states = states if self.on_grid else states.mean(1, keepdim=True)
        target = self.normalised(training_step.signal).flatten(1, -2)
        cosine = F.cosine_similarity(self.project(states), target, dim=-1).mean()
        losses = {"flow_in_the_loop": _FLOW_WEIGHT * flow, "flow_alignment": self.weight * (1 - cosine)}
        return LossTerms(losses=losses, logs={"flow_cosine": cosine.detach()})


class LatentFlow(nn.Module):
    """A transformer over positions that predicts a velocity; it starts by predicting 0.

    `shape` is the latents' grid, or None for a set, whose positions have no place.
    """

    def __init__(self, config: EndToEndConfig, channels: int, shape: tuple[int, ...] | None) -> None:
        super().__init__()
        width = config.width
        self.depth = config.depth
        self.embed = nn.Linear(channels, width)
        self.places = None if shape is None else AxialEmbedding(shape, width, std=0.1)
        self.time = TimeEmbedding(width, features=_TIME_FEATURES)
        self.blocks = nn.ModuleList(Block(width, width // _HEAD_WIDTH) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, channels)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, N, C]` at times `[B]` to velocities `[B, N, C]`, and the states after `depth` blocks `[B, N, D]`."""
        x = self.embed(z) + self.time(t).unsqueeze(1)
        states = x = x if self.places is None else x + self.places()
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            states = x if number == self.depth else states
        return self.head(self.norm(x)), states


def path(z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """(1 - t) z + t noise, with times `[B]` of `[B, N, C]`."""
    return torch.lerp(z, noise, t.view(-1, 1, 1))
