"""What each metric is, without computing it: name, version, what it is defined for. Torch-free.

Three registries: `metrics` compare a reconstruction with its original, `scores` are what a suite may ask of samples
beyond distances, and `measures` are what tasks compute whenever they can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ...results.metric import Direction, Role
from ...tokenizers import weights
from ...tokenizers.part import Part, resolve_target
from ...tokenizers.registry import Registry
from ...tokenizers.spec import Modality, SignalSpec

SAMPLES_PER_DIMENSION = 16  # below it Fréchet distances do not fall as 1/N well enough to be extrapolated

_PICTURES = frozenset({Modality.IMAGE, Modality.VIDEO})
_AUDIO = frozenset({Modality.WAVEFORM, Modality.SPECTROGRAM})


@dataclass(frozen=True, kw_only=True)
class PairMetricConfig(Part):
    """A metric of reconstructions beside their originals; `builds` a `PairMetric`.

    `modalities` are those it is defined for, `leads` those whose tables are ranked by it by default; `reads` says
    whether it takes the modality's own signal or, for spectrograms, the waveform.
    """

    modalities: ClassVar[frozenset[Modality]]
    leads: ClassVar[frozenset[Modality]] = frozenset()
    direction: ClassVar[Direction]
    unit: ClassVar[str] = ""
    reads: ClassVar[Literal["signal", "waveform"]] = "signal"
    role: ClassVar[Role] = "distortion"

    @classmethod
    def unsupported_reason(cls, signal: SignalSpec) -> str | None:
        """Why it is not defined for such signals, or None when it is."""
        if signal.modality in cls.modalities:
            return None
        return f"it is defined for {' and '.join(sorted(cls.modalities))} signals, not {signal.modality}"


class PsnrConfig(PairMetricConfig):
    """The mean of per-sample PSNR; images and frames are rounded to uint8 first."""

    kind = "psnr"
    version = 2
    direction = "higher"
    unit = "dB"
    modalities = frozenset(Modality)
    leads = frozenset(Modality) - {Modality.WAVEFORM}
    builds = "psnr:Psnr"


class SsimConfig(PairMetricConfig):
    """The mean of per-sample SSIM on uint8 images and frames."""

    kind = "ssim"
    direction = "higher"
    modalities = _PICTURES
    builds = "ssim:Ssim"


class SiSdrConfig(PairMetricConfig):
    """SI-SDR of waveforms."""

    kind = "si_sdr"
    direction = "higher"
    unit = "dB"
    modalities = leads = frozenset({Modality.WAVEFORM})
    reads = "waveform"
    builds = "audio:SiSdr"


class StftDistanceConfig(PairMetricConfig):
    """Multi-resolution STFT distance of waveforms."""

    kind = "stft_distance"
    direction = "lower"
    modalities = _AUDIO
    reads = "waveform"
    builds = "audio:StftDistance"


class MelDistanceConfig(PairMetricConfig):
    """Log-mel distance of waveforms."""

    kind = "mel_distance"
    direction = "lower"
    unit = "dB"
    modalities = _AUDIO
    reads = "waveform"
    builds = "audio:MelDistance"


class TemporalErrorConfig(PairMetricConfig):
    """Error of the differences between frames."""

    kind = "temporal_error"
    direction = "lower"
    modalities = frozenset({Modality.VIDEO})
    builds = "temporal:TemporalError"


class LpipsNetConfig(PairMetricConfig):
    """The mean of per-image LPIPS of uint8-rounded images, or of a clip's frames. Built with its loaded net.

    `weights` names those of its trunk, `net` is what `load_net` builds of their file.
    """

    direction = "lower"
    modalities = _PICTURES
    builds = "lpips:Lpips"
    weights: ClassVar[str]
    net: ClassVar[str]

    def load_net(self, path: Path) -> Any:
        """The frozen net of the trunk's file. Raises UserError for a file of another net."""
        return resolve_target(self.net, beside=__name__)(path)


class LpipsConfig(LpipsNetConfig):
    """The mean of per-image LPIPS on AlexNet."""

    kind = "lpips"
    weights = "alexnet_lpips"
    net = "lpips:alexnet"


class LpipsVggConfig(LpipsNetConfig):
    """The mean of per-image LPIPS on VGG16."""

    kind = "lpips_vgg"
    weights = "vgg16"
    net = "lpips:vgg"


class LpipsSqueezeConfig(LpipsNetConfig):
    """The mean of per-image LPIPS on SqueezeNet."""

    kind = "lpips_squeeze"
    weights = "squeezenet1_1"
    net = "lpips:squeeze"


# What `reconstruction.lpips` may be, and the metrics that it stands for.
LPIPS: dict[str, tuple[LpipsNetConfig, ...]] = {
    "off": (),
    "on": (LpipsConfig(),),
    "vgg": (LpipsVggConfig(),),
    "squeeze": (LpipsSqueezeConfig(),),
    "all": (LpipsConfig(), LpipsVggConfig(), LpipsSqueezeConfig()),
}


def sound_rate(signal: SignalSpec) -> int:
    """Samples per second of a sound, or of the waveform behind a spectrogram."""
    return signal.mel.sample_rate if signal.mel is not None else round(signal.rate or 16_000)


class ClipConfig(PairMetricConfig):
    """What is measured of a whole clip of sound, of `least_seconds` or more."""

    modalities = _AUDIO
    reads = "waveform"
    least_seconds: ClassVar[float]

    @classmethod
    def unsupported_reason(cls, signal: SignalSpec) -> str | None:
        reason = super().unsupported_reason(signal)
        if reason is not None:
            return reason
        samples = (signal.source_shape or signal.shape)[-1]
        seconds = samples / sound_rate(signal)
        if seconds >= cls.least_seconds:
            return None
        return f"it needs clips of {cls.least_seconds:g} s or more, and these have {seconds:.3g} s"


class SpeechConfig(ClipConfig):
    """A score of speech that `reconstruction.speech` asks for; `package` computes it."""

    direction = "higher"
    package: ClassVar[str]


class PesqConfig(SpeechConfig):
    """PESQ (Rix et al. 2001; ITU-T P.862.1, P.862.2): predicted opinion of speech, 1 to 4.64."""

    kind = "pesq"
    unit = "MOS"
    package = "pesq"
    least_seconds = 0.25
    builds = "speech:Pesq"


class StoiConfig(SpeechConfig):
    """STOI (Taal et al. 2011): short-time objective intelligibility of speech, at most 1."""

    kind = "stoi"
    package = "pystoi"
    least_seconds = 0.4  # 30 frames of 25.6 ms, half overlapped
    extended: ClassVar[bool] = False
    builds = "speech:Stoi"


class EstoiConfig(SpeechConfig):
    """ESTOI (Jensen and Taal 2016): STOI's extension, which counts correlation between bands, at most 1."""

    kind = "estoi"
    package = "pystoi"
    least_seconds = 0.4
    extended: ClassVar[bool] = True
    builds = "speech:Stoi"


# What `reconstruction.speech` stands for.
SPEECH: tuple[SpeechConfig, ...] = (PesqConfig(), StoiConfig(), EstoiConfig())


LOWEST_PITCH = 60.0  # Hz


class LoudnessDifferenceConfig(ClipConfig):
    """How far the loudness of a reconstruction is from its original's (ITU-R BS.1770-4)."""

    kind = "loudness_difference"
    direction = "lower"
    unit = "LU"
    least_seconds = 0.4  # a block
    builds = "loudness:LoudnessDifference"


class PitchErrorConfig(ClipConfig):
    """How far the pitch of a reconstruction is from its original's, by YIN (de Cheveigné and Kawahara 2002)."""

    kind = "f0_error"
    direction = "lower"
    unit = "cents"
    least_seconds = 3 / LOWEST_PITCH  # a window, and as many lags
    builds = "pitch:PitchError"


# What `reconstruction.hearing` stands for.
HEARING: tuple[ClipConfig, ...] = (LoudnessDifferenceConfig(), PitchErrorConfig())


class SeamConfig(PairMetricConfig):
    """The temporal error where the frames of one latent position end and those of the next begin."""

    kind = "temporal_error_border"
    direction = "lower"
    modalities = frozenset({Modality.VIDEO})
    builds = "seams:SeamError"


class InsideConfig(PairMetricConfig):
    """The temporal error between frames of one latent position."""

    kind = "temporal_error_inside"
    direction = "lower"
    modalities = frozenset({Modality.VIDEO})
    builds = "seams:SeamError"


class FlickerConfig(PairMetricConfig):
    """How much a reconstruction flickers, relative to the true clip."""

    kind = "flicker"
    direction = "none"
    modalities = frozenset({Modality.VIDEO})
    builds = "seams:Flicker"


# What `reconstruction.temporal` stands for.
TEMPORAL: tuple[PairMetricConfig, ...] = (SeamConfig(), InsideConfig(), FlickerConfig())


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(Part):
    """What a suite may ask of samples beyond distances, measured on the features of its nets; `builds` a `Score`.

    `only_net` names the one net that it is defined on, `fewest` is how many samples it needs on either side;
    `reports` are its metrics' names as `tasks.metric_names` has them, None where it does not say.
    """

    reports: ClassVar[tuple[str, ...] | None] = None

    only_net: ClassVar[str | None] = None
    fewest: ClassVar[int] = 2

    def unsupported_reason(self, *, samples: int, dims: Mapping[str, int]) -> str | None:
        """Why so many samples under nets of these feature lengths cannot have it, or None when they can."""
        if self.only_net is not None and self.only_net not in dims:
            return f"needs {self.only_net} among the suite's features"
        return None if samples >= self.fewest else f"needs generation.samples of at least {self.fewest}, got {samples}"

    def check_weights(self, *, where: str) -> None:
        """Raises UserError when a file of weights lacks what it needs, which only reading the file tells."""


class ManifoldConfig(ScoreConfig):
    """Precision, recall, density and coverage: how far samples and data reach each other."""

    kind = "manifold"
    reports = ("precision_<net>", "recall_<net>", "density_<net>", "coverage_<net>")
    fewest = 6  # the fifth nearest neighbour, and the sample itself
    builds = "manifold:ManifoldScore"


class MemorisationConfig(ScoreConfig):
    """Whether samples are nearer to the training set than held-out data are."""

    kind = "memorisation"
    reports = ("nearest_train_ratio_<net>", "memorised_share_<net>", "nearest_sample_ratio_<net>")
    version = 2
    builds = "memorisation:MemorisationScore"


class FdInfinityConfig(ScoreConfig):
    """The Fréchet distance extrapolated to infinitely many samples."""

    kind = "fd_infinity"
    reports = ("fd_infinity_<net>", "fid_infinity")
    builds = "extrapolate:FdInfinity"

    def unsupported_reason(self, *, samples: int, dims: Mapping[str, int]) -> str | None:
        least, net = min(((samples_to_extrapolate(dim), net) for net, dim in dims.items()), default=(0, ""))
        if samples >= least:
            return None
        needed = f"{least} ({SAMPLES_PER_DIMENSION} per feature of {net})"
        return f"needs generation.samples of at least {needed}, got {samples}"


class InceptionScoreConfig(ScoreConfig):
    """Inception score, for weights that carry their classifier."""

    kind = "inception_score"
    reports = ("inception_score",)
    only_net = "inception"
    builds = "inception_score:InceptionScore"

    def check_weights(self, *, where: str) -> None:
        path = weights.require("inception", where=where)
        classifier = resolve_target("inception_score:classifier", beside=__name__)
        classifier(weights.load(path), path=path, where=where)


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


def samples_to_extrapolate(dim: int) -> int:
    """The fewest samples from which "fd_infinity" is measured on features of length `dim`."""
    return SAMPLES_PER_DIMENSION * dim
