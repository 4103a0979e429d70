"""Vocoders by name: their options and what they cost. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

from ...tokenizers.part import Part
from ...tokenizers.registry import Registry
from ...tokenizers.spec import SignalSpec
from ...tokenizers.training import TrainingConfig

GRIFFIN_LIM = "griffin_lim"


@dataclass(frozen=True, kw_only=True)
class VocoderConfig(Part):
    """A vocoder's options; `builds` a `Vocoder` of the configuration and the signal (a spectrogram's).

    Each but Griffin-Lim is a job that all cells of a data set share, and that `training` is the budget of: with 0 steps
    for one that comes with its weights. `seed` is that of its weights and its training.
    """

    seed: int = 0
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=0))

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError("seed must be at least 0")

    def located(self, where: str) -> Self:
        """This with what files it names in place of a folder's path. Raises UserError for what is not there."""
        return self

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        """Why it can't render such a signal, a spectrogram, or None when it can."""
        return None

    def started(self, signal: SignalSpec) -> int:
        """Of how many samples training computes at most what it starts from; 0 for one that starts from nothing."""
        return 0

    def estimate_flops(self, signal: SignalSpec) -> float:
        """Floating-point operations to render one sample (networks alone)."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class GriffinLimConfig(VocoderConfig):
    """Fast Griffin-Lim (Perraudin et al. 2013) from random phases; the tasks' `vocoder_iterations` are its own."""

    kind: ClassVar[str] = GRIFFIN_LIM
    version: ClassVar[int] = 1
    builds = "griffin_lim:GriffinLim"


@dataclass(frozen=True, kw_only=True)
class ISTFTConfig(VocoderConfig):
    """ConvNeXt blocks with an inverse STFT as the head (Vocos, Siuzdak 2023, arXiv 2306.00814), without an adversary.

    `width` channels, `blocks` of them, `kernel` frames wide. They correct the spectrum that `start_iterations` of
    Griffin-Lim lead to, which is where an untrained one stays; with 0 they make one of the log-mel alone, as Vocos
    does. Trained on random parts of `frames` frames (fewer where a sample has fewer) of the training split's waveforms:
    the multi-resolution STFT distance plus `mel_weight` times the log-mel distance in nepers. Griffin-Lim is computed
    once per whole sample, and of as many samples, evenly spread, as have no more frames than training sees.
    """

    kind: ClassVar[str] = "istft"
    version: ClassVar[int] = 2
    builds = "istft:ISTFT"

    width: int = 96
    blocks: int = 3
    kernel: int = 7
    start_iterations: int = 32
    frames: int = 32
    mel_weight: float = 2.0
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=1000, batch_size=8, lr=1e-3))

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "blocks", "kernel", "frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        if self.start_iterations < 0:
            raise ValueError("start_iterations must not be negative")
        if self.mel_weight < 0:
            raise ValueError("mel_weight must not be negative")

    def part(self, signal: SignalSpec) -> int:
        """Frames of a sample that a training step sees: more than half a window, which a spectrogram's edges need."""
        assert signal.mel is not None
        return min(signal.shape[-1], max(self.frames, signal.mel.n_fft // 2 // signal.mel.hop + 1))

    def started(self, signal: SignalSpec) -> int:
        if not self.start_iterations:
            return 0
        steps, size = self.training.steps, self.training.batch_size
        if self.training.flops is not None:
            steps = int(self.training.flops / (3 * self.estimate_flops(signal) * size))
        return max(size, steps * size * self.part(signal) // signal.shape[-1])

    def inputs(self, signal: SignalSpec) -> int:
        """Values per frame that the first layer reads."""
        assert signal.mel is not None
        return signal.mel.n_mels + (3 * (signal.mel.n_fft // 2 + 1) if self.start_iterations else 0)

    def estimate_flops(self, signal: SignalSpec) -> float:
        assert signal.mel is not None
        block = self.width * self.kernel + 6 * self.width**2
        ends = self.width * (self.kernel * self.inputs(signal) + signal.mel.n_fft + 2)
        return 2.0 * signal.channels * (signal.shape[-1] + 1) * (ends + self.blocks * block)


vocoders = Registry(
    "vocoder",
    "latentbench.vocoders",
    {
        GRIFFIN_LIM: "tasks.vocoders.config:GriffinLimConfig",
        "istft": "tasks.vocoders.config:ISTFTConfig",
        "pretrained": "tasks.vocoders.pretrained_config:PretrainedConfig",
    },
    base=VocoderConfig,
)
