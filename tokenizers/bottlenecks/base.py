"""What a bottleneck is to the tokenizer that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..interface import Latents
from ..spec import LatentSpec
from .config import BottleneckConfig


@dataclass(frozen=True, kw_only=True)
class BottleneckOutput:
    """A training pass: `values` `[B, outputs, *grid]` for the decoder, with the gradient's path to the features.

    `unexpanded` are the latents `[B, C, *grid]` where the values are expanded from them, None where they are the same.
    `losses` are scalars that are added to the objective as they are, `logs` scalars that are only logged.
    """

    values: Tensor
    unexpanded: Tensor | None = None
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    logs: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def latents(self) -> Tensor:
        """What a prior would model, `[B, C, *grid]`, with the gradient's path to the features."""
        return self.values if self.unexpanded is None else self.unexpanded


class Bottleneck(nn.Module):
    """Turns features `[B, inputs, *grid]` into latents, and latents into what the decoder reads. Runs in float32.

    Constructed by `BottleneckConfig.build` for latents of `spec`; `features` are the backbone's channels. `whiten` says
    whether it is best started on features of unit variance; nearest-code search is not, as it minimises distances.
    """

    whiten: ClassVar[bool] = True

    def __init__(self, config: BottleneckConfig, spec: LatentSpec, *, features: int) -> None:
        super().__init__()

    def forward(self, features: Tensor) -> BottleneckOutput:
        """The training pass (stochastic where the method is)."""
        raise NotImplementedError

    def encode(self, features: Tensor) -> Latents:
        """Features to latents, deterministic: a posterior's mode, the nearest codes."""
        raise NotImplementedError

    def lookup(self, codes: Tensor) -> Tensor:
        """`[B, H, *grid]` codes to values `[B, C, *grid]` (discrete bottlenecks)."""
        raise NotImplementedError(f"{type(self).__name__} has continuous latents and no codes")

    def expand(self, latents: Latents) -> Tensor:
        """What the decoder reads, `[B, outputs, *grid]`: `values`, or the codes' values when they are None."""
        if latents.values is not None:
            return latents.values
        if latents.codes is None:
            raise ValueError("latents without values and without codes")
        return self.lookup(latents.codes)

    def operating_points(self, decode: Callable[[Latents], Tensor]) -> dict[str, Callable[[Latents], Tensor]]:
        """Further ways to decode the same latents (see `Tokenizer.operating_points`); `decode` is the tokenizer's."""
        return {}

    def read_at(self, point: str, latents: Latents) -> Latents | None:
        """What a point of its own decodes of `latents` (see `Tokenizer.read_at`); None of another's."""
        return None

    def on_train_start(self, features: Iterable[Tensor]) -> None:
        """Data-dependent start; each pass over `features` runs the encoder once over the training split."""

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        """Upkeep after the optimiser's step that is no gradient step."""
