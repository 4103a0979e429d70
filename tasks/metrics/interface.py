"""What a metric of reconstructions is: one value per sample, or one per frame of a clip, and how to sum them up.

Shape legend: B batch, C channels, T frames, *signal the axes of a signal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...results.metric import Direction, Metric
from ...tokenizers.spec import Modality, SignalSpec


class PairMetric(ABC):
    """Compares a reconstruction with its original. One subclass a metric; it holds no state.

    `modalities` are those it is defined for; `reads` says whether it takes the modality's own signal or, for
    spectrograms, the waveform. `version` counts up whenever a number would change.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    direction: ClassVar[Direction]
    unit: ClassVar[str] = ""
    modalities: ClassVar[frozenset[Modality]]
    reads: ClassVar[Literal["signal", "waveform"]] = "signal"

    @abstractmethod
    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        """Both `[B, C, *signal]` in [-1, 1] to `[B]`, or `[B, T]` for a clip; NaN where the metric is undefined."""

    @abstractmethod
    def protocol(self, signal: SignalSpec) -> str:
        """One line with whatever must agree before two values may be compared."""

    def summary(self, values: Tensor, signal: SignalSpec) -> Metric:
        """The values of a whole split, `[N]` or `[N, T]`, as one metric: the mean over samples with its interval.

        A clip counts once, by the mean over those of its frames for which the metric is defined, since frames of one
        clip are not independent.
        """
        per_sample = torch.nanmean(values.double(), dim=1) if values.ndim == 2 else values.double()
        return Metric.from_samples(
            self.name, per_sample.tolist(), direction=self.direction, unit=self.unit, protocol=self.protocol(signal)
        )


def per_position(values: Tensor) -> list[float]:
    """Values per frame `[N, T]` to their mean at each position in the clip, `T` numbers: good first frames and bad
    later ones show here and nowhere else."""
    return [float(x) for x in torch.nanmean(values.double(), dim=0)]
