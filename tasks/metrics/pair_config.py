"""Each metric of a reconstruction beside its original, without computing it: name, version, what it is defined for.
Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ...results.metric import Direction, Role
from ...tokenizers.part import Part, resolve_target
from ...tokenizers.spec import Modality, SignalSpec

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
    version = 2
    direction = "lower"
    unit = "LU"
    least_seconds = 0.4  # a block
    builds = "loudness:LoudnessDifference"


class PitchErrorConfig(ClipConfig):
    """How far the pitch of a reconstruction is from its original's, by YIN (de Cheveigné and Kawahara 2002)."""

    kind = "f0_error"
    version = 2
    direction = "lower"
    unit = "cents"
    least_seconds = 3 / LOWEST_PITCH  # a window, and as many lags
    builds = "pitch:PitchError"


# What `reconstruction.hearing` stands for.
HEARING: tuple[ClipConfig, ...] = (LoudnessDifferenceConfig(), PitchErrorConfig())


class MotionConfig(PairMetricConfig):
    """What `reconstruction.temporal` measures of a clip's changes from frame to frame."""

    modalities = frozenset({Modality.VIDEO})

    @classmethod
    def unsupported_reason(cls, signal: SignalSpec) -> str | None:
        reason = super().unsupported_reason(signal)
        if reason is not None or signal.shape[0] > 1:
            return reason
        return "it needs clips of two frames or more, and these have one"


class SeamConfig(MotionConfig):
    """The temporal error where the frames of one latent position end and those of the next begin."""

    kind = "temporal_error_border"
    direction = "lower"
    builds = "seams:SeamError"


class InsideConfig(MotionConfig):
    """The temporal error between frames of one latent position."""

    kind = "temporal_error_inside"
    direction = "lower"
    builds = "seams:SeamError"


class FlickerConfig(MotionConfig):
    """How much a reconstruction flickers, relative to the true clip."""

    kind = "flicker"
    direction = "none"
    builds = "seams:Flicker"


# What `reconstruction.temporal` stands for.
TEMPORAL: tuple[MotionConfig, ...] = (SeamConfig(), InsideConfig(), FlickerConfig())
