"""Configurations of the loss terms of an objective. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from ..part import Part
from ..registry import Registry
from ..spec import Modality, SignalSpec

if TYPE_CHECKING:
    from .terms import Term

LOSSES = Registry(
    "loss",
    "latentbench.losses",
    {
        "l1": "tokenizers.losses.config:L1Config",
        "l2": "tokenizers.losses.config:L2Config",
        "huber": "tokenizers.losses.config:HuberConfig",
        "logit_laplace": "tokenizers.losses.config:LogitLaplaceConfig",
        "dwt": "tokenizers.losses.config:DWTConfig",
        "lpips": "tokenizers.losses.config:LPIPSConfig",
        "stft": "tokenizers.losses.config:STFTConfig",
        "mel": "tokenizers.losses.config:MelConfig",
    },
)


@dataclass(frozen=True, kw_only=True)
class TermConfig(Part):
    """One loss term with its weight (0: off). `modalities` are those it is defined on."""

    modalities: ClassVar[tuple[Modality, ...]] = tuple(Modality)

    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError("weight must not be negative")

    def build(self, signal: SignalSpec) -> Term:
        """A function of reconstruction and signal, `[B, C, *signal]` each, that gives one loss per sample, `[B]`."""
        raise NotImplementedError

    def weights(self) -> tuple[str, ...]:
        """Names of the weights files that it needs."""
        return ()


@dataclass(frozen=True, kw_only=True)
class L1Config(TermConfig):
    """Mean absolute error over a sample's elements."""

    kind: ClassVar[str] = "l1"
    version: ClassVar[int] = 1

    def build(self, signal: SignalSpec) -> Term:
        from .terms import l1

        return l1


@dataclass(frozen=True, kw_only=True)
class L2Config(TermConfig):
    """Mean squared error over a sample's elements."""

    kind: ClassVar[str] = "l2"
    version: ClassVar[int] = 1

    def build(self, signal: SignalSpec) -> Term:
        from .terms import l2

        return l2


@dataclass(frozen=True, kw_only=True)
class LPIPSConfig(TermConfig):
    """Learned perceptual distance on AlexNet features (Zhang et al. 2018), the mean over frames for video."""

    kind: ClassVar[str] = "lpips"
    version: ClassVar[int] = 1
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.IMAGE, Modality.VIDEO)

    def build(self, signal: SignalSpec) -> Term:
        from .terms import Perceptual

        return Perceptual()

    def weights(self) -> tuple[str, ...]:
        return ("alexnet_lpips",)


@dataclass(frozen=True, kw_only=True)
class STFTConfig(TermConfig):
    """Multi-resolution STFT distance (Yamamoto et al. 2020)."""

    kind: ClassVar[str] = "stft"
    version: ClassVar[int] = 1
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.WAVEFORM,)

    def build(self, signal: SignalSpec) -> Term:
        from .stft import multi_resolution_stft

        return multi_resolution_stft


@dataclass(frozen=True, kw_only=True)
class MelConfig(TermConfig):
    """Log-mel distance at the signal's sample rate."""

    kind: ClassVar[str] = "mel"
    version: ClassVar[int] = 1
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.WAVEFORM,)

    def build(self, signal: SignalSpec) -> Term:
        from .terms import log_mel

        return log_mel(signal)


@dataclass(frozen=True, kw_only=True)
class HuberConfig(TermConfig):
    """Squared error up to `delta`, absolute error beyond it, mean over a sample's elements (Huber 1964)."""

    kind: ClassVar[str] = "huber"
    version: ClassVar[int] = 1

    delta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delta <= 0:
            raise ValueError("delta must be positive")

    def build(self, signal: SignalSpec) -> Term:
        from .terms import huber

        return partial(huber, delta=self.delta)


@dataclass(frozen=True, kw_only=True)
class LogitLaplaceConfig(TermConfig):
    """Negative log-likelihood of a logit-Laplace of constant `scale` around the reconstruction (Ramesh et al. 2021)."""

    kind: ClassVar[str] = "logit_laplace"
    version: ClassVar[int] = 1

    scale: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale <= 0:
            raise ValueError("scale must be positive")

    def build(self, signal: SignalSpec) -> Term:
        from .logit_laplace import logit_laplace

        return partial(logit_laplace, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class DWTConfig(TermConfig):
    """Mean absolute error over the eight sub-bands of a 3D Haar transform (HaCohen et al. 2024)."""

    kind: ClassVar[str] = "dwt"
    version: ClassVar[int] = 1
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.VIDEO,)

    def build(self, signal: SignalSpec) -> Term:
        from .wavelet import dwt_l1

        return dwt_l1
