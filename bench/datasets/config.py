"""What a data set is, as configuration: source, modality, geometry, sampling, splits. No torch."""

from __future__ import annotations

import math
import os
import re
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import PurePath
from typing import Any, Literal

from ...results.errors import UserError
from ...tokenizers.spec import MelSpec, Modality, SignalSpec

# Filled in by `__post_init__`, so that no reader has to know about None.
_OWN: Any = None

# The fields that mean something to each kind of signal; the others stay out of a data set's identity.
_GEOMETRY: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: ("size",),
    Modality.VIDEO: ("size", "frames", "fps"),
    Modality.WAVEFORM: ("sample_rate", "seconds"),
    Modality.SPECTROGRAM: ("sample_rate", "seconds", "n_mels", "n_fft", "hop"),
}


# The options of the embedded data; at their defaults they stay out of a data set's identity.
_PROCEDURAL = ("complexity", "texture", "objects", "colours", "pitches")
# The sources of media files, which give the same samples of the same files.
FILES = ("folder", "webdataset", "parquet")

# Far beyond anything that is trained on, and near enough to be counted, listed and multiplied.
_MOST = {"samples": 10**10, "n_mels": 1024, "n_fft": 1 << 16, "per_file": 10**9}
_MOST_SECONDS = 86_400


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set. Fields left out take the default of their modality and source.

    `source` is "procedural", "folder", "webdataset", "parquet", "torchvision:<Dataset>" or a registered name; `path`
    the folder that is read, or the archives: a file, a folder or a pattern ("train-{000..019}.tar", "*.parquet").
    Images and videos are `size` x `size` pixels, or `size` = [height, width], with `channels` 3 (or 1, grey); videos
    have `frames` frames at `fps`. Sounds have `channels` 1 (or 2) at `sample_rate` Hz and last `seconds`, rounded to a
    multiple of 16 samples (waveform) or of `hop` (spectrogram: `n_mels` bins, `n_fft` samples a window).

    `samples` caps the training samples (procedural: how many are made, 4096). `val` is a number of validation samples
    (procedural: 256) or, as a fraction, the share of files kept for validation (folder: 0.1; torchvision: the share
    of the class's own test split, 1.0). Files that are all for validation (1.0) are the training split too, for
    tokenizers that are not trained. `per_file` is the most crops, clips or segments taken of one file (16; 1 for
    an image's centre), `crop` which of them: the middle, a regular tiling, or a seeded random choice. `resize`
    "short" scales images and frames so that they just cover the size, "adm" images as ADM's centre crop does, "none"
    keeps the native pixels. `labels` "auto"
    takes the parent folder's name as the class when there are at least two; "folder" insists on it. `complexity`
    "mixed" (procedural) leaves every other sample without texture, and its background alone (of a sound: one event).
    `texture` (procedural) scales the noise that lies over everything, 1 being as much as natural signals have and 0
    none; `objects` is the most shapes in a picture, or events in a sound (1 to 3); `colours` "class" gives each kind of
    shape a colour of its own, on one background; `pitches` "steady" leaves sounds without glides, at six pitches in
    one phase. All four make data easier to learn.
    `pad` fills sounds shorter than `seconds` up with silence instead of skipping them. `reference` is an .npz of
    statistics that distances compare with in place of the data's own splits (`tasks.statistics_file`).
    `loudness` brings each sound to so many LUFS (BS.1770-4), and `silence` "skip" leaves those out in which nothing is
    above -60 dB of full scale. `stream` decodes files while they are used, one sample of each, instead of all before
    the first step. `augment` is what tokenizers are trained
    on: samples mirrored at random ("flip"), cut at random places ("crop") or at random sizes too ("resized-crop").
    """

    source: str = "procedural"
    modality: Modality = Modality.IMAGE
    name: str | None = None
    path: str | None = None
    size: int | tuple[int, ...] = 32
    channels: int = _OWN
    frames: int = 8
    fps: float = 8.0
    sample_rate: int = 16000
    seconds: float = 1.024
    n_mels: int = 64
    n_fft: int = 1024
    hop: int = 256
    samples: int | None = None
    val: int | float = _OWN
    per_file: int = _OWN
    crop: Literal["center", "tiles", "random"] = "center"
    resize: Literal["short", "adm", "none"] = "short"
    labels: Literal["auto", "none", "folder"] = "auto"
    complexity: Literal["even", "mixed"] = "even"
    texture: float = 1.0
    objects: int = 3
    colours: Literal["any", "class"] = "any"
    pitches: Literal["any", "steady"] = "any"
    pad: bool = False
    loudness: float | None = None
    silence: Literal["keep", "skip"] = "keep"
    reference: str | None = None
    stream: bool = False
    augment: tuple[Literal["flip", "crop", "resized-crop"], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        self._fill("channels", 1 if self.modality.is_audio else 3)
        one = self.stream or (self.modality is Modality.IMAGE and self.crop == "center")
        self._fill("per_file", 1 if one else 16)
        self._fill("val", {"procedural": 256, "torchvision": 1.0}.get(self.kind, 0.1))
        if self.kind == "procedural":
            self._fill("samples", 4096)
        else:
            for name in _PROCEDURAL:
                if getattr(self, name) != getattr(type(self), name):
                    raise ValueError(f"{name} is for source 'procedural'")
        if not 0 <= self.texture <= 4:
            raise ValueError("texture must be between 0 and 4")
        if not 1 <= self.objects <= 3:
            raise ValueError("objects must be 1, 2 or 3")
        if self.colours != "any" and self.modality.is_audio:
            raise ValueError("colours is for images and videos")
        if self.pitches != "any" and not self.modality.is_audio:
            raise ValueError("pitches is for sounds")
        if self.pad and not (self.modality.is_audio and self.kind in FILES):
            raise ValueError(f"pad is for sounds of the sources {', '.join(map(repr, FILES))}")
        self._check_levels()
        if self.resize == "adm" and (self.modality is not Modality.IMAGE or self.crop != "center"):
            raise ValueError("resize 'adm' is for images, with crop 'center'")
        self._check_size()
        for name in ("channels", "frames", "sample_rate", "n_mels", "n_fft", "hop", "samples", "per_file"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1")
            if value is not None and value > _MOST.get(name, 10**6):
                raise ValueError(f"{name} must be at most {_MOST.get(name, 10**6)}")
        self._check_stream()
        if self.seed < 0:
            raise ValueError("seed must not be negative")
        if self.seconds > _MOST_SECONDS:
            raise ValueError(f"seconds must be at most {_MOST_SECONDS}")
        for name in ("fps", "seconds"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be positive")
        self._check_val()
        allowed = (1, 2) if self.modality.is_audio else (1, 3)
        if self.channels not in allowed:
            raise ValueError(f"channels must be {allowed[0]} or {allowed[1]} for modality {self.modality.value!r}")
        if self.modality.is_audio:
            _check_sound(self)

    @property
    def version(self) -> int:
        """Rises when the same options and content give other samples. Clips of files: 2, without HDR, transparent
        parts over white."""
        return 2 if self.modality is Modality.VIDEO and self.kind in FILES else 1

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of images and frames, in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])

    @property
    def kind(self) -> str:
        """The source's registered name: what stands before the colon."""
        return self.source.partition(":")[0]

    @property
    def family(self) -> str:
        """The source as far as samples depend on it: files are the same in a folder and in archives."""
        return "folder" if self.kind in FILES else self.kind

    @property
    def all_validation(self) -> bool:
        """Whether all files are for validation, and for training too, since nothing is trained on them."""
        return isinstance(self.val, float) and self.val == 1.0 and self.kind != "torchvision"

    @property
    def label(self) -> str:
        """A display name: `name`, else source and geometry ("photos-image-64")."""
        if self.name:
            return self.name
        base = self.source.replace(":", "-")
        if self.kind in FILES and self.path:
            base = os.fsencode(_stem(PurePath(self.path), self.kind)).decode("utf-8", "replace")  # may be no UTF-8
        if self.modality.is_audio:
            return f"{base}-{self.modality.value}-{self.sample_rate}"
        size = self.size if isinstance(self.size, int) else "x".join(map(str, self.size))
        return f"{base}-{self.modality.value}-{size}"

    @property
    def clip_samples(self) -> int:
        """Samples of one sound: `seconds` x `sample_rate` to the nearest multiple of `hop` (spectrogram) or 16."""
        multiple = self.hop if self.modality is Modality.SPECTROGRAM else 16
        return max(1, round(self.seconds * self.sample_rate / multiple)) * multiple

    def to_json(self) -> dict[str, Any]:
        """All fields as plain data; `check(DataConfig, config.to_json(), where=...)` gives the same configuration."""
        size = self.size if isinstance(self.size, int) else list(self.size)
        return {**asdict(self), "modality": self.modality.value, "size": size}

    def identity(self) -> dict[str, Any]:
        """What decides the data set's content beside its files: no path, no name, no field that has no effect.

        Plain data with sorted keys, to be hashed. Configurations that differ elsewhere give the same samples.
        """
        fields = ["source", "modality", "channels", *_GEOMETRY[self.modality], "samples", "val", "seed"]
        if self.kind != "procedural":
            fields += ["per_file", "crop"]
        else:
            fields += [name for name in _PROCEDURAL if getattr(self, name) != getattr(type(self), name)]
        if self.kind in FILES:
            fields += ["labels"]
        if self.kind != "procedural" and not self.modality.is_audio:
            fields += ["resize"]
        values = self.to_json() | ({"source": self.family} if self.kind in FILES else {})
        fields += [name for name in ("pad", "loudness", "silence") if getattr(self, name) != getattr(type(self), name)]
        if self.stream:
            fields += ["stream"]
        if self.modality.is_audio:
            values["seconds"] = self.clip_samples / self.sample_rate
        return {field: values[field] for field in sorted(fields)}

    def storage(self) -> dict[str, Any]:
        """The part of `identity` that decides what is decoded to disk: a spectrogram stores its waveform."""
        values = self.identity()
        if self.modality.is_audio:
            values = {k: v for k, v in values.items() if k not in ("n_mels", "n_fft", "hop")}
            values["modality"] = "audio"
        return values

    def _fill(self, name: str, value: Any) -> None:
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)

    def _check_levels(self) -> None:
        for name in ("loudness", "silence"):
            if getattr(self, name) != getattr(type(self), name) and not (self.modality.is_audio and self.kind in FILES):
                raise ValueError(f"{name} is for sounds of the sources {', '.join(map(repr, FILES))}")
        if self.silence == "skip" and self.stream:
            raise ValueError(
                "silence 'skip' needs stream = false: a stream draws a window before it knows what is in it"
            )
        if self.loudness is not None and not -70 < self.loudness < 0:
            raise ValueError("loudness is in LUFS, between -70 and 0; speech is brought to -23 to -16")

    def _check_size(self) -> None:
        """A pair of equal sides is one number, so that it is the same data set."""
        pair = (self.size, self.size) if isinstance(self.size, int) else self.size
        if len(pair) != 2:
            raise ValueError(f"size is one number, or [height, width]; got {len(pair)} numbers")
        for side in pair:
            if side < 1:
                raise ValueError("size must be at least 1")
            if side > 10**6:
                raise ValueError(f"size must be at most {10**6}")
        if pair[0] == pair[1]:
            object.__setattr__(self, "size", pair[0])
        elif self.modality.is_audio:
            raise ValueError("size is for images and videos")
        elif self.resize == "adm":
            raise ValueError("resize 'adm' is for squares: size is one number")

    def _check_stream(self) -> None:
        if self.stream and self.kind not in FILES:
            raise ValueError(f"stream is for the sources {', '.join(map(repr, FILES))}")
        if self.stream and self.per_file != 1:
            raise ValueError("per_file must be 1 with stream, which takes one sample of each file")
        if self.stream and self.crop == "tiles":
            raise ValueError("crop must be 'center' or 'random' with stream")
        if len(set(self.augment)) < len(self.augment) or {"crop", "resized-crop"} <= set(self.augment):
            raise ValueError("augment takes each of its values once, and one of 'crop' and 'resized-crop'")
        for name in self.augment:
            if name == "resized-crop" and self.modality is not Modality.IMAGE:
                raise ValueError("augment 'resized-crop' is for images; take 'crop'")
            if name == "flip" and self.modality.is_audio:
                raise ValueError("augment 'flip' is for images and videos")
            if name != "flip" and not self.stream:
                raise ValueError(f"augment {name!r} needs stream = true: it reads the files at every step")

    def _check_val(self) -> None:
        if isinstance(self.val, int):
            if self.val > _MOST["samples"]:
                raise ValueError(f"val must be at most {_MOST['samples']} samples")
            if self.val < 1:
                raise ValueError("val must be at least 1 sample, or a share between 0 and 1")
        elif not (0 < self.val < 1 or (self.val == 1.0 and self.kind != "procedural")):
            raise ValueError(
                "val must be a number of samples (integer), a share of files between 0 and 1, or 1.0 for all"
            )
        elif self.kind == "procedural":
            raise ValueError("val must be a number of samples (integer) for source 'procedural'")


def signal_spec(config: DataConfig) -> SignalSpec:
    """The shape of one sample of the data set, by arithmetic alone."""
    channels, n = config.channels, config.clip_samples
    if config.modality is Modality.IMAGE:
        return SignalSpec(modality=config.modality, channels=channels, shape=config.sides)
    shape: tuple[int, ...]
    if config.modality is Modality.VIDEO:
        shape = (config.frames, *config.sides)
        return SignalSpec(modality=config.modality, channels=channels, shape=shape, rate=config.fps)
    rate = float(config.sample_rate)
    if config.modality is Modality.WAVEFORM:
        return SignalSpec(modality=config.modality, channels=channels, shape=(n,), rate=rate)
    mel = MelSpec(sample_rate=config.sample_rate, n_mels=config.n_mels, n_fft=config.n_fft, hop=config.hop)
    shape = (config.n_mels, n // config.hop)
    return SignalSpec(
        modality=config.modality, channels=channels, shape=shape, rate=rate, mel=mel, source_shape=(channels, n)
    )


def stored_shape(config: DataConfig) -> tuple[int, ...]:
    """`[C, *shape]` of one sample on disk: the signal's own, or its waveform's for a spectrogram."""
    spec = signal_spec(config)
    return spec.source_shape if spec.source_shape is not None else (spec.channels, *spec.shape)


def _stem(path: PurePath, kind: str) -> str:
    """A name for the data at a path: the folder's, or what the names of archives have in common."""
    if kind == "folder":
        return path.name
    stem = re.split(r"[*?\[{]", path.name.removesuffix(path.suffix))[0].rstrip("-_.0123456789") or path.parent.name
    return stem or kind


def require_path(config: DataConfig) -> str:
    """The configuration's `path`. Raises UserError where a source needs one and none is given."""
    if not config.path:
        what, cure = ("archives", "FILES") if config.kind in FILES[1:] else ("a folder", "FOLDER")
        raise UserError(f"data {config.label}: source {config.source!r} needs {what} to read: --set data.path={cure}")
    return config.path


def _check_sound(config: DataConfig) -> None:
    if config.modality is not Modality.SPECTROGRAM:
        return
    if config.hop > config.n_fft:
        raise ValueError(f"hop must be at most n_fft ({config.n_fft}), or samples between windows are lost")
    if config.clip_samples <= config.n_fft // 2:
        needed = (config.n_fft // 2 + 1) / config.sample_rate
        raise ValueError(f"seconds must be above {needed:.3f} for n_fft {config.n_fft} at {config.sample_rate} Hz")
    most = most_mels(config.sample_rate, config.n_fft, config.n_mels)
    if most < config.n_mels:
        raise ValueError(
            f"n_mels must be at most {most} for n_fft {config.n_fft} at {config.sample_rate} Hz, or bins are empty"
        )


@cache
def most_mels(sample_rate: int, n_fft: int, most: int) -> int:
    """The largest number of mel bins up to `most` of which each covers a frequency of the transform (HTK scale)."""
    step = sample_rate / n_fft
    top = 2595.0 * math.log10(1.0 + sample_rate / 2 / 700.0)
    for n_mels in range(most, 0, -1):
        edges = [700.0 * (10.0 ** (top * i / (n_mels + 1) / 2595.0) - 1.0) for i in range(n_mels + 2)]
        if all(math.floor(low / step + 1e-9) + 1 < high / step for low, high in zip(edges, edges[2:], strict=False)):
            return n_mels
    return 1
