"""Two grids of codes, coarse and fine, after VQ-VAE-2 (A9): Razavi et al. 2019 (arXiv 1906.00446), section 3.1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..interface import Latents
from ..spec import LatentSpec
from .base import Bottleneck, BottleneckOutput
from .vq import VQ
from .vq_vae_2_config import VQVAE2Config

_CONV: dict[int, tuple[Any, Any]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


class VQVAE2(Bottleneck):
    """A coarse grid of codes, and a fine one for what the coarse one leaves over.

    top = VQ(down(x)), bottom = VQ(x - sg[up(top)]), and the decoder reads up(top) + bottom. `down` and `up` are linear,
    learned with everything else, and start as averaging and copying. The losses are those of both quantisers, summed.
    The paper quantises the bottom from features next to the decoded top, we from what the top leaves over.
    """

    whiten: ClassVar[bool] = False

    def __init__(self, config: VQVAE2Config, spec: LatentSpec, *, features: int) -> None:
        super().__init__(config, spec, features=features)
        channels, factors = spec.grid.channels, config.factors(spec.grids[-1].shape)
        down, up = _CONV[len(factors)]
        self.down = down(channels, channels, factors, factors)
        self.up = up(channels, channels, factors, factors)
        self.top = VQ(config, spec, features=features)
        self.bottom = VQ(config, spec, features=features)
        with torch.no_grad():
            copy = torch.eye(channels).view(channels, channels, *(1,) * len(factors))
            self.down.weight.copy_(copy.expand_as(self.down.weight) / self.down.weight[0, 0].numel())
            self.up.weight.copy_(copy.expand_as(self.up.weight))
            for layer in (self.down, self.up):
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> BottleneckOutput:
        top = self.top(self.down(features))
        coarse = self.up(top.values)
        bottom = self.bottom(features - coarse.detach())
        losses = {name: loss + bottom.losses[name] for name, loss in top.losses.items()}
        return BottleneckOutput(values=coarse + bottom.values, losses=losses)

    def encode(self, features: Tensor) -> Latents:
        top = self.top.encode(self.down(features))
        bottom = self.bottom.encode(features - self.up(top.values))
        return Latents(values=top.values, codes=top.codes, rest=(bottom,))

    def expand(self, latents: Latents) -> Tensor:
        """Both grids, by their values or their codes, as `[B, C, *grid]` on the fine grid."""
        if len(latents.levels) != 2:
            raise ValueError(f"latents of two grids expected, got {len(latents.levels)}")
        top, bottom = latents.levels
        fine: Tensor = self.up(self.top.expand(top)) + self.bottom.expand(bottom)
        return fine

    @torch.no_grad()
    def on_train_start(self, features: Iterable[Tensor]) -> None:
        batches: list[Tensor] = []

        def coarse() -> Iterator[Tensor]:
            for batch in features:
                batches.append(batch)
                yield self.down(batch)

        self.top.on_train_start(coarse())
        self.bottom.on_train_start(batch - self.up(self.top.encode(self.down(batch)).values) for batch in batches)

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        self.top.after_step(step=step, steps=steps)
        self.bottom.after_step(step=step, steps=steps)
