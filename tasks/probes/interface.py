"""What a probe is and what it reads.

Shape legend: N samples, B batch, C channels, *signal and *grid the axes of a signal and a latent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ...results.metric import Metric
from ...tokenizers.interface import Latents, Tokenizer, TrainableTokenizer
from ...tokenizers.spec import LatentSpec, SignalSpec
from ..config import Precision
from ..distances import Reference
from ..interface import Dataset, FeatureNet, Indices
from ..latents import LatentStore
from ..precision import set_precision
from .config import ProbeConfig

T = TypeVar("T", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class ProbeInput:
    """A trained tokenizer with its data, its stored latents, and the nets with the validation split's features.

    `untrained()` gives the tokenizer as it was before training, training-only modules included; None where there is
    none. `samples` limits the validation samples that are read (0: all). `precision` is what `tokenizer` and `nets`
    compute in.
    """

    tokenizer: Tokenizer
    data: Dataset
    latents: LatentStore
    device: torch.device
    seed: int = 0
    samples: int = 0
    batch_size: int = 64
    nets: Mapping[str, FeatureNet] = field(default_factory=dict)
    references: Mapping[str, Reference] = field(default_factory=dict)
    untrained: Callable[[], TrainableTokenizer] | None = None
    precision: Precision = "float32"

    @property
    def signal(self) -> SignalSpec:
        """What one sample looks like."""
        return self.data.signal

    @property
    def spec(self) -> LatentSpec:
        """The latents' shape and rate."""
        return self.tokenizer.spec

    @property
    def total(self) -> int:
        """How many validation samples are read."""
        return min(self.samples or len(self.data.val), len(self.data.val))

    @property
    def readable_nets(self) -> dict[str, FeatureNet]:
        """The nets that read what is decoded as it is: those of waveforms would read spectrograms through a vocoder."""
        plain = self.signal.mel is None
        return {name: net for name, net in self.nets.items() if plain or net.reads == "signal"}

    def signals(self) -> Iterator[tuple[Indices, Tensor]]:
        """The validation samples in order, as indices `[B]` and signals `[B, C, *signal]`."""
        for start in range(0, self.total, self.batch_size):
            indices = np.arange(start, min(start + self.batch_size, self.total))
            yield indices, self.data.val.batch(indices, self.device)

    def decode(self, latents: Latents) -> Tensor:
        """Latents to signals in [-1, 1]."""
        return self.tokenizer.decode(latents).float().clamp(-1, 1)

    def as_evaluated(self, tokenizer: T) -> T:
        """A tokenizer that the probe has built, on the device and computing in `precision`, as the others do."""
        return set_precision(tokenizer.to(self.device).eval(), self.precision, self.device)

    def has_values(self) -> bool:
        """Whether the tokenizer's latents hold values, and not codes alone."""
        return all(moments is not None for moments in self.latents.moments)

    def changed(self, latents: Latents, change: Callable[[Tensor, int], Tensor]) -> Latents:
        """`latents` with the values of each grid as `change(values, number of the grid)`, and without codes."""
        levels = [
            replace(level, values=change(level.values, number), codes=None, rest=())
            for number, level in enumerate(latents.levels)
            if level.values is not None
        ]
        return replace(levels[0], rest=tuple(levels[1:]))


class Probe(ABC):
    """One group of measurements, as its configuration declares."""

    def __init__(self, config: ProbeConfig) -> None:
        self.config = config

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        """Why it makes no sense on this tokenizer and these data, in one line; None when it does."""
        return None

    @abstractmethod
    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        """The group's metrics. Called only where nothing speaks against it."""


def channels(vector: Tensor, like: Tensor) -> Tensor:
    """A vector `[C]` as something that broadcasts over `like` `[B, C, *grid]`."""
    return vector.to(like.device, like.dtype).view(1, -1, *[1] * (like.ndim - 2))
