"""Configuration of the adversarial loss. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ..spec import Modality, SignalSpec
from .config import RegulariserConfig

if TYPE_CHECKING:
    from ..config import TokenizerConfig
    from .base import Regulariser
    from .discriminators import Discriminator

Net = Literal["patch", "style", "stft"]


@dataclass(frozen=True, kw_only=True)
class AdversaryConfig(RegulariserConfig):
    """A discriminator that learns to tell reconstructions from signals, and a loss for fooling it (A10, B3).

    `net` is "patch" (any signal), "style" (any) or "stft" (waveforms); "auto" takes stft for waveforms and else patch.
    It sets in after the share `start` of the training, before which nothing of it runs. With `adaptive` its weight is
    `weight` times the ratio of the gradients of fidelity and adversary at the decoder's last layer (Esser et al. 2021,
    eq. 7). With `paired` the discriminator sees a signal and its reconstruction together, or the signal twice.
    `feature_matching` weighs the relative distance of the discriminator's features, `r1` the penalty on its gradient at
    real signals. `width` is its first layer's; `layers` counts its strided layers: by default 3, of "style" as many as
    bring every axis to 4 or less. `windows` (samples) are those of stft, halved until they fit the signal.
    """

    kind: ClassVar[str] = "adversary"
    version: ClassVar[int] = 1

    net: Literal["auto", "patch", "style", "stft"] = "auto"
    loss: Literal["hinge", "softplus"] = "hinge"
    start: float = 0.3
    adaptive: bool = True
    paired: bool = False
    feature_matching: float = 0.0
    r1: float = 0.0
    width: int = 32
    layers: int | None = None
    windows: tuple[int, ...] = (2048, 1024, 512)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.start < 1:
            raise ValueError("start must lie in [0, 1)")
        for name in ("feature_matching", "r1"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("width", "layers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1")
        if not self.windows or min(self.windows) < 16:
            raise ValueError("windows must be one or more sizes of at least 16 samples")

    def net_for(self, signal: SignalSpec) -> Net:
        """The discriminator that such signals get."""
        if self.net != "auto":
            return self.net
        return "stft" if signal.modality is Modality.WAVEFORM else "patch"

    def validate(self, config: TokenizerConfig) -> None:
        if config.diffusion_decoder is not None:
            raise ValueError("it judges reconstructions, and a generative decoder makes none in training")
        if self.net == "stft" and config.signal.modality is not Modality.WAVEFORM:
            raise ValueError(
                f"net = 'stft' is for waveforms, not {config.signal.modality}; patch and style are for all"
            )

    def schedule_milestones(self) -> tuple[float, ...]:
        return (self.start,)

    def build_discriminator(self, signal: SignalSpec) -> Discriminator:
        """The net for such signals, or for pairs of them."""
        from .discriminators import PatchDiscriminator, STFTDiscriminator, StyleDiscriminator

        channels = signal.channels * (2 if self.paired else 1)
        net = self.net_for(signal)
        if net == "stft":
            return STFTDiscriminator(
                signal.shape[0], channels=channels, width=self.width, layers=self.layers or 3, windows=self.windows
            )
        if net == "style":
            return StyleDiscriminator(signal.shape, channels=channels, width=self.width, layers=self.layers)
        return PatchDiscriminator(signal.shape, channels=channels, width=self.width, layers=self.layers or 3)

    def build(self, config: TokenizerConfig) -> Regulariser:
        from .adversary import Adversary

        return Adversary(self, config.signal)
