"""Residual vector quantisation, quantiser dropout (RVQ, A7): Zeghidour et al. 2021 (arXiv 2107.03312), algorithm 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..interface import Latents, number_of
from ..spec import LatentSpec
from .base import Bottleneck, BottleneckOutput
from .quantise import straight_through
from .rvq_config import RVQConfig
from .vq import VQ


class RVQ(Bottleneck):
    """Stages of VQ, each on what those before it left over: r_1 = x, r_{i+1} = r_i - sg[e_i], values = sum of e_i.

    The losses are those of `VQ`, summed over the stages, each on its own residual. The gradient passes from the values
    to x once and unchanged, however many stages there are. In training, with probability `dropout`, a batch uses the
    first n stages alone, n uniform in 1..levels, so that every prefix of the codes decodes.
    """

    whiten: ClassVar[bool] = False
    stage: ClassVar[type[VQ]] = VQ

    def __init__(self, config: RVQConfig, spec: LatentSpec, *, features: int) -> None:
        super().__init__(config, spec, features=features)
        self.dropout = config.dropout
        self.stages = nn.ModuleList(self.stage(config, spec, features=features) for _ in range(config.levels))

    def forward(self, features: Tensor) -> BottleneckOutput:
        residual = features
        losses: dict[str, Tensor] = {}
        for stage in self._quantisers()[: self._depth()]:
            quantised = stage(residual)
            residual = residual - quantised.values.detach()
            for name, loss in quantised.losses.items():
                losses[name] = losses[name] + loss if name in losses else loss
        return BottleneckOutput(values=straight_through(features, (features - residual).detach()), losses=losses)

    def encode(self, features: Tensor) -> Latents:
        codes, residual = [], features
        for stage in self._quantisers():
            latents = stage.encode(residual)
            assert latents.codes is not None
            assert latents.values is not None
            codes.append(latents.codes)
            residual = residual - latents.values
        chosen = torch.cat(codes, dim=1)
        return Latents(values=self.lookup(chosen), codes=chosen)

    def lookup(self, codes: Tensor) -> Tensor:
        """`[B, h, *grid]` codes of the first h stages, 1 <= h <= levels, to values `[B, C, *grid]`.

        Raises ValueError for more heads than stages, or none.
        """
        if not 1 <= codes.shape[1] <= len(self.stages):
            raise ValueError(f"codes of 1 to {len(self.stages)} stages expected, got {codes.shape[1]}")
        values = [stage.lookup(head) for stage, head in zip(self._quantisers(), codes.split(1, dim=1), strict=False)]
        return torch.stack(values).sum(0)

    def operating_points(self, decode: Callable[[Latents], Tensor]) -> dict[str, Callable[[Latents], Tensor]]:
        """ "depth_1" to "depth_<levels>": the codes of the first stages alone, each a bitrate of the same model."""
        return {f"depth_{depth}": partial(_at_depth, decode, depth) for depth in range(1, len(self.stages) + 1)}

    def read_at(self, point: str, latents: Latents) -> Latents | None:
        """The codes of a depth's stages."""
        depth = number_of(point, "depth")
        if depth is None or latents.codes is None:
            return None
        return latents if depth == latents.codes.shape[1] else _to_depth(depth, latents)

    @torch.no_grad()
    def on_train_start(self, features: Iterable[Tensor]) -> None:
        """Each stage starts on the residuals of those before it, of the features that the first stage asked for."""
        residuals: list[Tensor] = []

        def seen() -> Iterator[Tensor]:
            for batch in features:
                residuals.append(batch)
                yield batch

        stages = self._quantisers()
        stages[0].on_train_start(seen())
        for before, stage in pairwise(stages):
            residuals = [batch - before.lookup(_codes(before, batch)) for batch in residuals]
            stage.on_train_start(residuals)

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        for stage in self._quantisers():
            stage.after_step(step=step, steps=steps)

    def _quantisers(self) -> list[VQ]:
        return [stage for stage in self.stages if isinstance(stage, VQ)]

    def _depth(self) -> int:
        """Stages of this pass. Drawn on the CPU, where the number is needed: no accelerator is waited for."""
        levels = len(self.stages)
        if not self.training or self.dropout == 0 or float(torch.rand(())) >= self.dropout:
            return levels
        return 1 + int(torch.randint(levels, ()))


def _at_depth(decode: Callable[[Latents], Tensor], depth: int, latents: Latents) -> Tensor:
    return decode(_to_depth(depth, latents))


def _to_depth(depth: int, latents: Latents) -> Latents:
    if latents.codes is None:
        raise ValueError("a depth is a number of codes, and these latents have none")
    return Latents(codes=latents.codes[:, :depth], lengths=latents.lengths)


def _codes(stage: VQ, features: Tensor) -> Tensor:
    codes = stage.encode(features).codes
    assert codes is not None
    return codes
