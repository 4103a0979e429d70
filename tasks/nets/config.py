"""What each pretrained feature net is, without loading it: modalities, weights, dimension, protocol. Torch-free."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from ...results.errors import UserError
from ...tokenizers import weights
from ...tokenizers.part import Part
from ...tokenizers.registry import Registry
from ...tokenizers.spec import MelSpec, Modality, SignalSpec
from ...tokenizers.target_sizes import mel_front_end, picture_shape
from ...tokenizers.training import TrainingConfig

_BYTES_AT_ONCE = 5e8


@dataclass(frozen=True, kw_only=True)
class NetConfig(Part):
    """A feature net's description; `builds` a `FeatureNet` of the signal and, where it has weights, their tensors.

    `kind` stands in the metrics' names; `modalities` are those it serves; `reads` says whether it takes the modality's
    own signal or, for audio nets on spectrograms, the waveform; `weights` is what it needs (a key of
    `tokenizers.weights.known`, or None); `dim` is the length of its features; `protocol` one line on input and layer,
    to which the loaded net adds which weights and what they met; `blind_to` what its distances hardly see, as
    docs/which-distances-rank.md has measured it. `unit_flops` and `unit_bytes` are what one picture takes, or one frame
    or patch of time, of which a signal has `units`: FLOPs, and the most memory of activations.
    """

    modalities: ClassVar[tuple[Modality, ...]]
    reads: ClassVar[Literal["signal", "waveform"]] = "signal"
    weights: ClassVar[str | None] = None
    dim: ClassVar[int]
    protocol: ClassVar[str]
    blind_to: ClassVar[str] = ""
    unit_flops: ClassVar[float] = 0.0
    unit_bytes: ClassVar[float] = 0.0

    @classmethod
    def units(cls, signal: SignalSpec) -> float:
        """How many pictures, frames or patches of time it sees of a signal."""
        return 1.0

    @classmethod
    def estimate_flops(cls, signal: SignalSpec) -> float:
        """FLOPs of one signal's features."""
        return cls.unit_flops * cls.units(signal)

    @classmethod
    def at_once(cls, signal: SignalSpec) -> int | None:
        """How many signals it takes at a time, so that memory is bounded whatever the batch; None: all there are."""
        each = cls.unit_bytes * cls.units(signal)
        return max(1, int(_BYTES_AT_ONCE / each)) if each else None

    @classmethod
    def unsupported_reason(cls, signal: SignalSpec) -> str | None:
        """Why it has no features for such signals, or None when it has."""
        if signal.modality in cls.modalities and (signal.modality.is_audio or signal.channels in (1, 3)):
            return None
        served = " and ".join(cls.modalities)
        wrong = f"{signal.modality} of {signal.channels} channels"
        return f"it serves {served} signals (pictures of 1 or 3 channels), not {wrong}"

    @classmethod
    def check(cls, signal: SignalSpec, *, where: str = "") -> None:
        """Raises UserError when the net does not serve `signal` or its weights are absent. Reads no file."""
        reason = cls.unsupported_reason(signal)
        if reason is not None:
            prefix = f"{where}: " if where else ""
            raise UserError(f"{prefix}feature net {cls.kind!r}: {reason}")
        if cls.weights is not None:
            weights.require(cls.weights, where=where)

    def load(self, signal: SignalSpec, device: Any) -> Any:
        """The frozen net for such signals on `device`. Raises UserError as `check` does, and on a broken file."""
        self.check(signal)
        if self.weights is None:
            return self.build(signal).to(device)
        return self.build(signal, self.read_weights(weights.require(self.weights))).to(device)

    @classmethod
    def read_weights(cls, path: Path) -> Any:
        """The tensors of its weights file, by name. Raises UserError on a broken one."""
        return weights.load(path)


_AUDIO = (Modality.WAVEFORM, Modality.SPECTROGRAM)


class InceptionConfig(NetConfig):
    """The Inception of FID (Heusel et al. 2017, arXiv 1706.08500), as TensorFlow released it in December 2015."""

    kind = "inception"
    modalities = (Modality.IMAGE,)
    weights = "inception"
    dim = 2048
    protocol = "TF-ported InceptionV3 2015-12-05, pool 2048-d; uint8 rounded and clamped; TF1 bilinear resize to 299"
    blind_to = "mild colour casts"
    builds = "inception:InceptionNet"
    unit_flops, unit_bytes = 1.14e10, 1.7e7


SPATIAL_CHANNELS = 7


class InceptionSpatialConfig(NetConfig):
    """The spatial features of sFID (Nash et al. 2021, arXiv 2103.03841; ADM's evaluator): they see where things are."""

    kind = "inception_spatial"
    modalities = (Modality.IMAGE,)
    weights = "inception"
    dim = SPATIAL_CHANNELS * 17 * 17
    protocol = (
        "TF-ported InceptionV3 2015-12-05, mixed_6/conv, first 7 channels, 17x17: sFID's 2023-d; uint8 rounded and "
        "clamped; TF1 bilinear resize to 299"
    )
    builds = "inception:InceptionSpatialNet"
    unit_flops, unit_bytes = 7.23e9, 1.7e7


class MobileNetV2Config(NetConfig):
    """ImageNet MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381): a tenth of Inception's cost on a CPU."""

    kind = "mobilenet_v2"
    modalities = (Modality.IMAGE,)
    weights = "mobilenet_v2"
    dim = 1280
    protocol = "ImageNet MobileNetV2, mean-pooled 1280-d; uint8 rounded and clamped; antialiased bilinear resize to 224"
    blind_to = "mild colour casts"
    builds = "mobilenet_v2:MobileNetV2Net"
    unit_flops, unit_bytes = 5.99e8, 7.43e6


class YamnetConfig(NetConfig):
    """YAMNet, the AudioSet classifier of 521 classes (Google, TensorFlow models, research/audioset/yamnet)."""

    kind = "yamnet"
    modalities = _AUDIO
    reads = "waveform"
    weights = "yamnet"
    dim = 1024
    protocol = (
        "YAMNet 1024-d embedding, int8 weights dequantised; mono, 16 kHz; patches of 0.96 s every 0.48 s averaged, "
        "the end padded with silence"
    )
    blind_to = "how strongly speech is low-passed (.6 of the band is no nearer than .4)"
    builds = "yamnet:YamnetNet"
    unit_flops, unit_bytes = 1.4e8, 1e6

    @classmethod
    def units(cls, signal: SignalSpec) -> float:
        return 1.0 + math.ceil(max((signal.seconds or 0) - 0.96, 0) / 0.48)


class MusicnnConfig(NetConfig):
    """MusiCNN, the Million Song Dataset tagger of 50 tags (Pons & Serra 2019, arXiv 1909.06654)."""

    kind = "musicnn"
    modalities = _AUDIO
    reads = "waveform"
    weights = "musicnn"
    dim = 200
    protocol = (
        "MusiCNN (MSD) 200-d penultimate layer; mono, 16 kHz; patches of 187 frames (3 s) averaged, a remainder "
        "dropped, shorter clips looped to 3 s"
    )
    blind_to = "faint noise (40 dB under speech) and mild compression (Opus at 24 to 10 kbit/s)"
    builds = "musicnn:MusicnnNet"
    unit_flops, unit_bytes = 2.81e9, 4.3e7

    @classmethod
    def units(cls, signal: SignalSpec) -> float:
        return max(1.0, (signal.seconds or 0) // 3)


class I3DConfig(NetConfig):
    """I3D on Kinetics-400 (Carreira & Zisserman 2017), the net of FVD (Unterthiner et al. 2018, arXiv 1812.01717)."""

    kind = "i3d"
    modalities = (Modality.VIDEO,)
    weights = "i3d"
    dim = 400
    protocol = (
        "I3D RGB Kinetics-400, 400 logits; uint8 rounded and clamped; bilinear resize to 224 without antialiasing; "
        "clips under 9 frames hold their last frame to 9"
    )
    blind_to = "with few clips: a blur of half a pixel, two swapped frames"
    builds = "i3d:I3DNet"
    unit_flops, unit_bytes = 4.02e9, 5.5e6

    @classmethod
    def units(cls, signal: SignalSpec) -> float:
        return float(max(signal.shape[0], 9))


class ScatteringConfig(NetConfig):
    """A fixed wavelet scattering (Bruna & Mallat 2013, arXiv 1203.1513): any modality, no weights, no training."""

    kind = "scattering"
    modalities = tuple(Modality)
    dim = 96
    protocol = (
        "wavelet scattering, up to 3 octaves of 4 orientations, second order on the luminance, log means and "
        "deviations (sounds: of the log-mel above -30 dB, also in 4 bands; clips: also of differences over 1, 2 and 4 "
        "frames), whitened to 96-d by synthetic 1/f pictures"
    )
    blind_to = (
        "what is depicted or said: it sees texture, colour and contrast, and little of mild colour casts or codecs"
    )
    builds = "scattering:ScatteringNet"
    unit_flops, unit_bytes = 6e3, 600.0  # of a pixel of a frame

    @classmethod
    def units(cls, signal: SignalSpec) -> float:
        return float(math.prod(picture_shape(signal)))

    @classmethod
    def unsupported_reason(cls, signal: SignalSpec) -> str | None:
        shape = picture_shape(signal)
        if min(shape[-2:]) >= 4:
            return None
        seen = "log-mel" if signal.modality is Modality.WAVEFORM else "signal"
        wrong = f"it needs at least 4 positions along both axes of a picture, and this {seen} has {shape[-2:]}"
        return f"{wrong}; 'encoder' serves any signal"


_NETS = (
    ScatteringConfig,
    InceptionConfig,
    InceptionSpatialConfig,
    MobileNetV2Config,
    YamnetConfig,
    MusicnnConfig,
    I3DConfig,
)

_FIDELITY = {
    "fidelity:clip-vit-b-32": "ClipBase32Config",
    "fidelity:clip-vit-l-14": "ClipLarge14Config",
    "fidelity:dinov2-vit-b-14": "DinoV2BaseConfig",
    "fidelity:dinov2-vit-l-14": "DinoV2LargeConfig",
    "fidelity:dinov2-vit-s-14": "DinoV2SmallConfig",
    "fidelity:inception-v3-compat": "InceptionCompatConfig",
    "fidelity:vgg16": "Vgg16Config",
}

nets = Registry(
    "feature net",
    "latentbench.nets",
    dict[str, Any]((part.kind, part) for part in _NETS)
    | {name: f"tasks.nets.fidelity_config:{cls}" for name, cls in _FIDELITY.items()},
    base=NetConfig,
)

ENCODER, PRETRAINED, SCATTERING = "encoder", "pretrained", "scattering"

# What `PRETRAINED` stands for: the net whose distance the field reports, by modality.
_REPORTED = {
    Modality.IMAGE: InceptionConfig,
    Modality.VIDEO: I3DConfig,
    Modality.WAVEFORM: YamnetConfig,
    Modality.SPECTROGRAM: YamnetConfig,
}


def pretrained(signal: SignalSpec) -> list[str]:
    """The field's net for such signals, where its weights are on this machine; nothing otherwise."""
    net = _REPORTED[signal.modality]
    absent = net.unsupported_reason(signal) is not None or weights.find(net.kind) is None
    return [] if absent else [net.kind]


SUPERVISED, SELF_SUPERVISED = "encoder_supervised", "encoder_selfsup"


def encoder_name(classes: int) -> str:
    """The name of the encoder for data of so many classes: trained on labels where there are two or more."""
    return SUPERVISED if classes >= 2 else SELF_SUPERVISED


def _encoder_training() -> TrainingConfig:
    return TrainingConfig(steps=300, batch_size=64, lr=2e-3, weight_decay=0.01, warmup=0.1, ema=0.99)


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A small strided convolutional encoder as the feature net, trained once per data set.

    `width` channels after the stem (twice as many at the next grid), `dim` at the last one, which are the features;
    `mels` bins of the front end for waveforms; `temperature` and `projection` of the contrastive loss where there are
    no labels.
    """

    version: ClassVar[int] = 1
    blind_to: ClassVar[str] = "compression; it has about 3 dimensions, of which colour or loudness is the strongest"
    width: int = 32
    dim: int = 128
    mels: int = 64
    temperature: float = 0.2
    projection: int = 64
    training: TrainingConfig = field(default_factory=_encoder_training)

    def __post_init__(self) -> None:
        for name in ("width", "dim", "mels", "projection"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.temperature <= 0:
            raise ValueError("temperature must be positive")

    def picture(self, signal: SignalSpec) -> tuple[int, ...]:
        """The shape that the convolutions see: the signal's, or the log-mel of a waveform."""
        return picture_shape(signal, self.mels)

    def mel(self, signal: SignalSpec) -> MelSpec:
        """The front end for waveforms (`mel_front_end`)."""
        return mel_front_end(signal, self.mels)

    @staticmethod
    def stem_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
        """Powers of two that bring every axis to at most 24 positions (12 where there are three axes)."""
        most = 12 if len(shape) == 3 else 24
        return tuple(2 ** max(0, math.ceil(math.log2(n / most))) for n in shape)

    def estimate_flops(self, signal: SignalSpec) -> float:
        """Floating-point operations of one forward pass on one sample (convolutions alone)."""
        shape = self.picture(signal)
        strides = self.stem_strides(shape)
        grid = [-(-n // s) for n, s in zip(shape, strides, strict=True)]
        kernel = math.prod(stem_kernel(s) for s in strides)
        three, middle = 3 ** len(shape), 2 * self.width
        macs = math.prod(grid) * kernel * signal.channels * self.width
        for inner, outer in ((self.width, middle), (middle, self.dim)):
            grid = [-(-n // 2) for n in grid]
            macs += math.prod(grid) * three * (inner * outer + outer * outer)
        return 2.0 * macs


def stem_kernel(stride: int) -> int:
    """Kernel of the stem along an axis: odd, a little wider than the stride so that neighbours overlap."""
    return max(3, stride + 1)
