"""Options of the tasks. Torch-free."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Precision = Literal["float32", "tf32", "bfloat16"]
Stored = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How tokenizers and nets compute while they are evaluated: part of the protocol of every number of a suite."""

    precision: Precision = "float32"
    latents: Stored = "float32"  # as which values and deviations are kept on disk

    def identity(self) -> dict[str, Any]:
        """What a job's key holds of it: nothing at the default."""
        return {} if self.precision == "float32" else {"precision": self.precision}


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """How reconstructions are scored, on the validation split.

    `samples` limits how many (0: all). `lpips` "off", "on" (AlexNet), "vgg", "squeeze" or "all" (each needs its
    weights). `rate` also measures the entropy-coded rate. `vocoder_iterations` is Griffin-Lim's, for spectrograms.
    `keep` pairs of true and reconstructed signals are stored, for galleries. `speech` adds PESQ, STOI and ESTOI of
    sounds (needs the packages pesq and pystoi), `hearing` the differences of their loudness and pitch. `temporal` adds
    the temporal error of clips at borders of latent positions and inside, and their flicker.
    """

    samples: int = 0
    batch_size: int = 64
    lpips: Literal["off", "on", "vgg", "squeeze", "all"] = "off"
    rate: bool = True
    vocoder_iterations: int = 32
    keep: int = 0
    speech: bool = False
    temporal: bool = False
    hearing: bool = False

    def __post_init__(self) -> None:
        _at_least(self.samples, 0, "samples")
        _at_least(self.batch_size, 1, "batch_size")
        _at_least(self.vocoder_iterations, 1, "vocoder_iterations")
        _at_least(self.keep, 0, "keep")

    def identity(self) -> dict[str, Any]:
        """The options as a job's key holds them, without options added later at their defaults."""
        later = ("keep", "speech", "temporal", "hearing")
        return {name: value for name, value in asdict(self).items() if name not in later or value}


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How many samples are drawn from the prior and against which split they are scored: by default the one that
    reconstructions are compared with.

    `keep` samples are stored decoded, for galleries. `scores` names those of the registry `tasks.metrics.scores` that
    are measured beside the Fréchet and kernel distances.
    """

    samples: int = 256
    batch_size: int = 64
    reference: Literal["train", "val"] = "val"
    vocoder_iterations: int = 32
    keep: int = 16
    scores: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _at_least(self.samples, 2, "samples")
        _at_least(self.batch_size, 1, "batch_size")
        _at_least(self.keep, 0, "keep")
        _at_least(self.vocoder_iterations, 1, "vocoder_iterations")


@dataclass(frozen=True, kw_only=True)
class ModelabilityConfig:
    """Which proxies are computed (empty: those that are by default; "all": all there are), where they apply, on how
    many latents of the training split (0: all)."""

    proxies: tuple[str, ...] = ()
    samples: int = 2048

    def __post_init__(self) -> None:
        _at_least(self.samples, 0, "samples")


@dataclass(frozen=True, kw_only=True)
class ClosedFormTaskConfig:
    """Which priors in closed form are fitted (empty: all that the latents allow), on how many training latents (0:
    all), and how many samples of each are scored against which split."""

    priors: tuple[str, ...] = ()
    fitted: int = 2048
    samples: int = 256
    batch_size: int = 64
    reference: Literal["train", "val"] = "val"
    vocoder_iterations: int = 32

    def __post_init__(self) -> None:
        _at_least(self.fitted, 0, "fitted")
        _at_least(self.samples, 2, "samples")
        _at_least(self.batch_size, 1, "batch_size")
        _at_least(self.vocoder_iterations, 1, "vocoder_iterations")


@dataclass(frozen=True, kw_only=True)
class MicroPriorTaskConfig:
    """A cell's prior trained from the start at each of `shares` of its compute, in batches of `training_batch_size`.

    `samples` of each are scored against which split, as generation's are. `levels` are shares of noise in held-out
    latents, of which the first `held_out` (0: all) are denoised in one step and decoded. `features` names those of the
    suite's nets that judge (empty: all).
    """

    shares: tuple[float, ...] = (0.005, 0.01, 0.02)
    training_batch_size: int = 16
    samples: int = 256
    held_out: int = 256
    levels: tuple[float, ...] = (0.25, 0.5, 0.75)
    batch_size: int = 64
    reference: Literal["train", "val"] = "val"
    vocoder_iterations: int = 32
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("shares", "levels"):
            values = getattr(self, name)
            if list(values) != sorted(set(values)) or not all(0 < value < 1 for value in values):
                raise ValueError(f"{name} must rise and lie between 0 and 1")
            if any(not math.isclose(1000 * value, round(1000 * value)) for value in values):
                raise ValueError(f"{name} must be whole thousandths, which name the metrics")
        if not self.shares:
            raise ValueError("shares must name at least one share")
        _at_least(self.training_batch_size, 1, "training_batch_size")
        _at_least(self.samples, 2, "samples")
        _at_least(self.held_out, 0, "held_out")
        _at_least(self.batch_size, 1, "batch_size")
        _at_least(self.vocoder_iterations, 1, "vocoder_iterations")


@dataclass(frozen=True, kw_only=True)
class ProbesConfig:
    """Which probes are made (empty: all that apply), on how many validation samples (0: all)."""

    names: tuple[str, ...] = ()
    samples: int = 256
    batch_size: int = 64

    def __post_init__(self) -> None:
        _at_least(self.samples, 0, "samples")
        _at_least(self.batch_size, 1, "batch_size")


def _at_least(value: int, low: int, name: str) -> None:
    if value < low:
        raise ValueError(f"{name} must be at least {low}")
