"""Configuration of vocoders that come with their weights. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

from ...results.errors import UserError, unknown
from ...tokenizers.spec import SignalSpec
from ...tokenizers.validation import check
from .config import VocoderConfig
from .convention import MelConvention

# The classes of transformers by their folder's model_type, and the spectrogram that their feature extractors compute.
CLASSES = {"speecht5_hifigan": "SpeechT5HifiGan", "univnet": "UnivNetModel"}
_SLANEY: dict[str, Any] = {"n_fft": 1024, "scale": "slaney", "norm": "slaney", "power": 1}
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "speecht5_hifigan": {**_SLANEY, "f_min": 80.0, "f_max": 7600.0, "log": "log10", "floor": 1e-10},
    "univnet": {**_SLANEY, "sample_rate": 24000, "log": "ln", "floor": 1e-5, "centred": False},
}


@dataclass(frozen=True, kw_only=True)
class PretrainedConfig(VocoderConfig):
    """A vocoder of transformers (SpeechT5HifiGan, UnivNetModel) with its weights: nothing is trained.

    `path` is a folder with config.json and model.safetensors; `located` replaces it by `files`. `mel` is laid over the
    spectrogram that the class's feature extractor computes (`MelConvention`); what config.json states of it has to
    agree. A data set's spectrogram with the same frames and filters is converted exactly. Others are refused, or, with
    `refit`, read through a non-negative spectrum fitted to the data set's mel, which only frames of one sort allow.
    """

    kind: ClassVar[str] = "pretrained"
    version: ClassVar[int] = 1
    identity_defaults: ClassVar[frozenset[str]] = frozenset({"path"})
    builds = "pretrained:Pretrained"

    path: str = ""
    files: dict[str, str] = field(default_factory=dict)
    mel: dict[str, Any] = field(default_factory=dict)
    refit: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training.steps or self.training.flops:
            raise ValueError("training: a pretrained vocoder is not trained; leave it out")

    @property
    def convention(self) -> MelConvention:
        """What it reads, once it is `located`."""
        return check(MelConvention, self.mel, where="vocoder.mel")

    @property
    def class_name(self) -> str:
        """Of its class in transformers, once it is `located`."""
        path = Path(self.files["config.json"])
        return CLASSES[_stated(path, where="vocoder.path")["model_type"]]

    def located(self, where: str) -> Self:
        if find_spec("transformers") is None:
            raise UserError(f"{where}: {self.kind} needs transformers: pip install 'latentbench[transformers]'")
        if self.files:
            raise UserError(f'{where}.files: unknown option; name the folder: path = "..."')
        if not self.path:
            raise UserError(
                f"{where}.path: missing; {self.kind!r} needs a folder with config.json and model.safetensors"
            )
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise UserError(f"{where}.path: no such folder: {self.path}")
        files = {name: str(folder.resolve() / name) for name in ("config.json", "model.safetensors")}
        for name, file in files.items():
            if not Path(file).is_file():
                cure = "; save it again with save_pretrained: pickles are not read" if name.endswith("tensors") else ""
                raise UserError(f"{where}.path: no {name} in {self.path}{cure}")
        stated = _stated(folder / "config.json", where=f"{where}.path")
        convention = _declared(stated, self.mel, where=f"{where}.mel")
        return replace(self, path="", files=files, mel=asdict(convention))

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        assert signal.mel is not None
        if unlike := self.convention.unlike_frames(signal.mel):
            return f"it reads spectrograms of another kind than the data set's: {'; '.join(unlike)}"
        unlike = self.convention.unlike_filters(signal.mel)
        if not unlike or self.refit:
            return None
        return f"its mel is not the data set's: {'; '.join(unlike)}; refit = true converts it through a fitted spectrum"


def _stated(path: Path, *, where: str) -> dict[str, Any]:
    """The content of a folder's config.json, of a known class."""
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: {path}: {error}") from None
    kind = stated.get("model_type") if isinstance(stated, dict) else None
    if not isinstance(kind, str):
        raise UserError(f"{where}: {path} has no model_type, so it is no model of transformers")
    if kind not in CLASSES:
        raise unknown("vocoder of transformers", kind, CLASSES, where=where)
    return dict(stated)


def _declared(stated: Mapping[str, Any], own: Mapping[str, Any], *, where: str) -> MelConvention:
    """What the vocoder reads: as published, as `own` says instead, and as config.json states. Raises UserError."""
    if stated["model_type"] == "univnet":
        strides, bins, rate = stated.get("resblock_stride_sizes"), stated.get("num_mel_bins"), None
    else:
        strides, bins, rate = stated.get("upsample_rates"), stated.get("model_in_dim"), stated.get("sampling_rate")
    if not isinstance(strides, list) or not isinstance(bins, int):
        raise UserError(f"{where}: config.json does not say how many mel bins it reads, and how far frames are apart")
    hop = 1
    for stride in strides:
        hop *= int(stride)
    facts = {"n_mels": bins, "hop": hop} | ({} if rate is None else {"sample_rate": rate})
    for name, value in facts.items():
        if own.get(name, value) != value:
            raise UserError(f"{where}.{name}: config.json says {value}, got {own[name]}")
    return check(MelConvention, {**PUBLISHED[stated["model_type"]], **own, **facts}, where=where)
