"""The base of the losses' configurations, and their registry. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..part import Part
from ..registry import Registry
from ..spec import Modality


@dataclass(frozen=True, kw_only=True)
class WeightedPart(Part):
    """A part of the training loss with its weight (0: off). `modalities` are those it is defined on."""

    modalities: ClassVar[tuple[Modality, ...]] = tuple(Modality)

    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError("weight must not be negative")

    def weights(self) -> tuple[str, ...]:
        """Names of the weights files that it needs."""
        return ()


@dataclass(frozen=True, kw_only=True)
class LossConfig(WeightedPart):
    """One loss of the objective. `build(signal)` gives its `Loss` for signals of that specification."""


LOSSES = Registry(
    "loss",
    "latentbench.losses",
    {
        "l1": "tokenizers.losses.regression_config:L1Config",
        "l2": "tokenizers.losses.regression_config:L2Config",
        "huber": "tokenizers.losses.regression_config:HuberConfig",
        "logit_laplace": "tokenizers.losses.logit_laplace_config:LogitLaplaceConfig",
        "dwt": "tokenizers.losses.wavelet_config:DWTConfig",
        "lpips": "tokenizers.losses.lpips_config:LPIPSConfig",
        "stft": "tokenizers.losses.stft_config:STFTConfig",
        "mel": "tokenizers.losses.stft_config:MelConfig",
        "mel_scales": "tokenizers.losses.mel_scales_config:MelScalesConfig",
    },
    base=LossConfig,
)
