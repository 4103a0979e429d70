"""What each metric is, without computing it: name, version, what it is defined for. Torch-free.

Three registries: `metrics` compare a reconstruction with its original, `scores` are what a suite may ask of samples
beyond distances, and `measures` are what tasks compute whenever they can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...tokenizers.part import Part
from ...tokenizers.registry import Registry
from .pair_config import (
    HEARING,
    LOWEST_PITCH,
    LPIPS,
    SPEECH,
    TEMPORAL,
    ClipConfig,
    EstoiConfig,
    FlickerConfig,
    InsideConfig,
    LoudnessDifferenceConfig,
    LpipsConfig,
    LpipsNetConfig,
    LpipsSqueezeConfig,
    LpipsVggConfig,
    MelDistanceConfig,
    PairMetricConfig,
    PesqConfig,
    PitchErrorConfig,
    PsnrConfig,
    SeamConfig,
    SiSdrConfig,
    SpeechConfig,
    SsimConfig,
    StftDistanceConfig,
    StoiConfig,
    TemporalErrorConfig,
    sound_rate,
)
from .score_config import (
    SAMPLES_PER_DIMENSION,
    FdInfinityConfig,
    InceptionScoreConfig,
    ManifoldConfig,
    MemorisationConfig,
    ScoreConfig,
    samples_to_extrapolate,
)

__all__ = [
    "HEARING",
    "LOWEST_PITCH",
    "LPIPS",
    "SAMPLES_PER_DIMENSION",
    "SPEECH",
    "TEMPORAL",
    "BallsConfig",
    "ClipConfig",
    "ClipPsnrConfig",
    "CodesConfig",
    "EstoiConfig",
    "FdInfinityConfig",
    "FlickerConfig",
    "FrechetConfig",
    "InceptionScoreConfig",
    "InsideConfig",
    "KidConfig",
    "LoudnessDifferenceConfig",
    "LpipsConfig",
    "LpipsNetConfig",
    "LpipsSqueezeConfig",
    "LpipsVggConfig",
    "ManifoldConfig",
    "MeasureConfig",
    "MelDistanceConfig",
    "MemorisationConfig",
    "PairMetricConfig",
    "PesqConfig",
    "PitchErrorConfig",
    "PosteriorConfig",
    "PsnrConfig",
    "RateConfig",
    "ScoreConfig",
    "SeamConfig",
    "SiSdrConfig",
    "SpeechConfig",
    "SsimConfig",
    "StftDistanceConfig",
    "StoiConfig",
    "TemporalErrorConfig",
    "measure_versions",
    "measures",
    "metrics",
    "samples_to_extrapolate",
    "scores",
    "sound_rate",
]


@dataclass(frozen=True, kw_only=True)
class MeasureConfig(Part):
    """What tasks compute whenever they can; listed here for its name and version. `reports` are its metrics' names as
    `tasks.metric_names` has them, those of distances without what tells of whom they are."""

    reports: ClassVar[tuple[str, ...]] = ()


class CodesConfig(MeasureConfig):
    """Use and entropy of codebooks."""

    kind = "codes"
    reports = ("codebook_use", "codebook_perplexity", "code_bits_per_position", "code_bits_per_sample")
    version = 2


class FrechetConfig(MeasureConfig):
    """Fréchet distance of features."""

    kind = "frechet"
    reports = ("fd_<net>", "fid")
    version = 2


class KidConfig(MeasureConfig):
    """Kernel distance of features."""

    kind = "kid"
    reports = ("kd_<net>", "kid")
    version = 2


class BallsConfig(MeasureConfig):
    """Features as a union of balls: the radii that a reference keeps for precision, recall, density and coverage."""

    kind = "balls"


class RateConfig(MeasureConfig):
    """Bits of streams, codes and latents, continuous ones by uniform quantisation: the real rate."""

    kind = "rate"
    reports = ("rate_bits", "stream_bits")
    version = 3


class ClipPsnrConfig(MeasureConfig):
    """PSNR of the first frame of a clip, and of its worst."""

    kind = "clip_psnr"
    reports = ("psnr_first", "psnr_worst_frame")


class PosteriorConfig(MeasureConfig):
    """Active units of a posterior and its KL in bits."""

    kind = "posterior"
    reports = ("kl_bits", "active_units")


_METRICS = (PsnrConfig, SsimConfig, SiSdrConfig, StftDistanceConfig, MelDistanceConfig, TemporalErrorConfig)
_SCORES = (ManifoldConfig, MemorisationConfig, FdInfinityConfig, InceptionScoreConfig)
_SPEECH = (PesqConfig, StoiConfig, EstoiConfig)
_HEARING = (LoudnessDifferenceConfig, PitchErrorConfig)
_LPIPS = (LpipsConfig, LpipsVggConfig, LpipsSqueezeConfig)
_ALWAYS = (BallsConfig, CodesConfig, FrechetConfig, KidConfig, RateConfig, PosteriorConfig)
_TEMPORAL = (SeamConfig, InsideConfig, FlickerConfig)
_MEASURES = (*_ALWAYS, ClipPsnrConfig, *_LPIPS, *_SPEECH, *_HEARING, *_TEMPORAL)

metrics = Registry(
    "metric", "latentbench.metrics", dict[str, Any]((part.kind, part) for part in _METRICS), base=PairMetricConfig
)
scores = Registry(
    "score", "latentbench.scores", dict[str, Any]((part.kind, part) for part in _SCORES), base=ScoreConfig
)
measures = Registry(
    "measure", "latentbench.measures", dict[str, Any]((part.kind, part) for part in _MEASURES), base=Part
)


def measure_versions(*names: str) -> dict[str, int]:
    """The versions of the measures called `names`, as the keys of jobs that compute them hold them."""
    return {f"measure.{name}": measures.version(name) for name in names}
