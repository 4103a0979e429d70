"""What a metric of reconstructions is (one value per sample, or one per frame of a clip), and a score of samples.

Shape legend: B batch, C channels, T frames, N samples, D feature length, *signal the axes of a signal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...results.errors import UserError
from ...results.metric import Metric
from ...tokenizers.spec import SignalSpec
from ..distances import Reference
from ..interface import FeatureNet
from .config import PairMetricConfig, ScoreConfig


class PairMetric(ABC):
    """Compares a reconstruction with its original, as its configuration declares. It holds no state."""

    def __init__(self, config: PairMetricConfig) -> None:
        self.config = config

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
        config = self.config
        per_sample = torch.nanmean(values.double(), dim=1) if values.ndim == 2 else values.double()
        return Metric.from_samples(
            config.kind,
            per_sample.tolist(),
            direction=config.direction,
            unit=config.unit,
            protocol=self.protocol(signal),
            role=config.role,
            shown="first" if signal.modality in config.leads else "default",
        )


@dataclass(frozen=True, kw_only=True)
class SampleSet:
    """Samples as a score sees them: their `features` `[N, D]` under one `net`, and the data's.

    `reference` is what distances compare with; `splits` holds both splits' references by (net,
    split). `note` joins the protocols.
    """

    net: FeatureNet
    features: Tensor
    reference: Reference
    splits: Mapping[tuple[str, str], Reference]
    note: str = ""
    seed: int = 0

    @property
    def protocol(self) -> str:
        """The net's protocol, the reference and the note."""
        return "; ".join(filter(None, (self.net.protocol, f"reference: {self.reference.title}", self.note)))


class Score(ABC):
    """Measures a set of samples, as its configuration declares."""

    def __init__(self, config: ScoreConfig) -> None:
        self.config = config

    def unsupported_reason(self, net: FeatureNet) -> str | None:
        """Why it can't be measured with this loaded net, which holds less than it may; None when it can."""
        return None

    @abstractmethod
    def measure(self, samples: SampleSet) -> tuple[list[Metric], dict[str, Any]]:
        """The score's metrics, and plain facts worth keeping beside them."""


def where_finite(values: Tensor, *signals: Tensor) -> Tensor:
    """`values` `[B]` or `[B, T]`, NaN for samples of which one of `signals` `[B, ...]` is not finite: a metric of them
    is undefined, and rounded to uint8 they would pass for black."""
    finite = torch.stack([x.detach().isfinite().flatten(1).all(1) for x in signals]).all(0).to(values.device)
    return values.masked_fill(~(finite if values.ndim == 1 else finite[:, None]), torch.nan)


def check_waves(name: str, x: Tensor, y: Tensor) -> None:
    """Raises UserError where the two are no waveforms `[B, C, N]` of one shape."""
    if x.shape != y.shape or x.ndim != 3:
        raise UserError(f"{name}: waveforms must be [B, C, N] of one shape, got {list(x.shape)} and {list(y.shape)}")


def per_position(values: Tensor) -> list[float]:
    """Values per frame `[N, T]` to their mean at each position in the clip, `T` numbers: good first frames and bad
    later ones show here and nowhere else."""
    return [float(x) for x in torch.nanmean(values.double(), dim=0)]
