"""Configuration of the adversarial loss. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..spec import Modality, SignalSpec
from .config import AuxiliaryObjectiveConfig, TokenizerParts

Net = Literal["patch", "style", "temporal", "stft", "period", "band", "codec"]
# Nets of waveforms alone.
_OF_WAVEFORMS = ("stft", "period", "band", "codec")
# Those that read spectra.
_SPECTRAL = ("stft", "band", "codec")
_WINDOWS = (2048, 1024, 512)


@dataclass(frozen=True, kw_only=True)
class AdversaryConfig(AuxiliaryObjectiveConfig):
    """A discriminator of reconstructions and signals, and a loss for fooling it (VQGAN, A10; adversarial losses, B3).

    `net` is "patch" (any signal), "style" (any), "temporal" (differences of a clip's frames) or one for waveforms:
    "stft" (EnCodec's), "period" (HiFi-GAN's), "band" (DAC's spectra) or "codec" (period and band, as DAC); "auto" takes
    stft for waveforms and patch for all else.
    Nothing of it runs before the share `start` of the training. With `adaptive` its weight is `weight` times the ratio
    of the gradients of fidelity and adversary at the decoder's last layer (Esser et al. 2021, eq. 7). With `paired` the
    discriminator sees a signal and its reconstruction together, or the signal twice. `feature_matching` weighs the
    relative distance of the discriminator's features, `r1` the penalty on its gradient at real signals.
    `width` is that of the first layer; `layers` counts the strided layers: by default 3, in "style" as many as bring
    every axis to 4 or less. `windows` (samples) are those of spectra, halved until they fit the signal.
    """

    kind: ClassVar[str] = "adversary"
    version: ClassVar[int] = 1
    batch_coupled: ClassVar[str | None] = "its discriminator is trained on the batch that it has judged"
    over_ranks: ClassVar[bool] = True
    builds = "adversary:Adversary"

    net: Literal["auto", "patch", "style", "temporal", "stft", "period", "band", "codec"] = "auto"
    loss: Literal["hinge", "softplus", "squares"] = "hinge"
    start: float = 0.3
    adaptive: bool = True
    paired: bool = False
    feature_matching: float = 0.0
    r1: float = 0.0
    width: int = 32
    layers: int | None = None
    windows: tuple[int, ...] = _WINDOWS

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

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        if tokenizer.diffusion_decoder is not None:
            return "it judges reconstructions, and a diffusion decoder makes none in training"
        if self.net in _OF_WAVEFORMS and tokenizer.signal.modality is not Modality.WAVEFORM:
            return f"net = {self.net!r} is for waveforms, not {tokenizer.signal.modality}; patch and style are for all"
        if self.net == "temporal" and tokenizer.signal.modality is not Modality.VIDEO:
            return f"net = 'temporal' is for video, not {tokenizer.signal.modality}; patch and style are for all"
        if self.net == "temporal" and tokenizer.signal.shape[0] < 2:
            return "net = 'temporal' needs clips of two frames or more"
        return self._unread(tokenizer.signal)

    def _unread(self, signal: SignalSpec) -> str | None:
        """Why an option that is set would change nothing; None where all that are set are read."""
        net = self.net_for(signal)
        if net == "period" and self.layers is not None:
            return "net 'period' has the layers of its paper: leave out layers"
        if net not in _SPECTRAL and self.windows != _WINDOWS:
            return f"net {net!r} reads no spectra: leave out windows"
        return None

    def schedule_milestones(self) -> tuple[float, ...]:
        return (self.start,)
