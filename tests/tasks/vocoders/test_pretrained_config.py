"""A pretrained vocoder's folder, what it states, and what does not fit it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.tasks.vocoders.convention import MelConvention
from latentbench.tasks.vocoders.pretrained_config import PUBLISHED, PretrainedConfig
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec
from latentbench.tokenizers.validation import check

pytestmark = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
OWN = {"n_fft": 256, "f_min": 0.0, "f_max": 4000.0}
ALIKE = {**OWN, "scale": "htk", "power": 2}


def folder_with(path: Path, **stated: Any) -> Path:
    """A folder as far as a plan reads it."""
    facts = {"model_type": "speecht5_hifigan", "upsample_rates": [8, 8], "model_in_dim": 24, "sampling_rate": 8000}
    (path / "config.json").write_text(json.dumps(facts | stated))
    (path / "model.safetensors").write_bytes(b"")
    return path


def sound(**changes: Any) -> SignalSpec:
    mel = MelSpec(**{"sample_rate": 8000, "n_mels": 24, "n_fft": 256, "hop": 64} | changes)
    shape = (mel.n_mels, 16)
    return SignalSpec(
        modality=Modality.SPECTROGRAM, channels=1, shape=shape, rate=8000.0, mel=mel, source_shape=(1, 16 * mel.hop)
    )


def located(path: Path, **options: Any) -> PretrainedConfig:
    config: PretrainedConfig = check(PretrainedConfig, {"path": str(path), **options}, where="vocoder")
    return config.located("vocoder")


def test_files_take_the_place_of_the_folder_and_the_convention_is_whole(tmp_path: Path) -> None:
    config = located(folder_with(tmp_path), mel=OWN)
    assert config.path == ""
    assert config.files == {name: str(tmp_path / name) for name in ("config.json", "model.safetensors")}
    stated = {"sample_rate": 8000, "n_mels": 24, "hop": 64}
    published = {"scale": "slaney", "norm": "slaney", "power": 1, "log": "log10", "floor": 1e-10, "centred": True}
    assert config.mel == {**stated, **published, **OWN}


def test_another_spectrogram_is_refused_with_its_difference(tmp_path: Path) -> None:
    alike, unlike = (located(folder_with(tmp_path), mel=mel) for mel in (ALIKE, OWN))
    assert alike.unsupported_reason(sound()) is None
    assert alike.unsupported_reason(sound(hop=32)) == (
        "it reads spectrograms of another kind than the data set's: hop 64, not 32"
    )
    assert unlike.unsupported_reason(sound()) == (
        "its mel is not the data set's: scale slaney, not htk; power 1, not 2; "
        "refit = true converts it through a fitted spectrum"
    )
    refitted = located(tmp_path, mel=OWN, refit=True)
    assert refitted.unsupported_reason(sound(n_mels=32)) is None
    assert refitted.unsupported_reason(sound(n_fft=512)) is not None


def test_the_published_conventions_are_the_feature_extractors() -> None:
    import transformers

    speech, univnet = transformers.SpeechT5FeatureExtractor(), transformers.UnivNetFeatureExtractor()
    ours = MelConvention(sample_rate=16000, n_mels=80, hop=256, **PUBLISHED["speecht5_hifigan"])
    theirs = (speech.n_fft, speech.sample_stride, speech.num_mel_bins, speech.fmin, speech.fmax, speech.mel_floor)
    assert (ours.n_fft, ours.hop, ours.n_mels, ours.f_min, ours.highest, ours.floor) == theirs
    ours = MelConvention(n_mels=100, hop=256, **PUBLISHED["univnet"])
    theirs = (univnet.n_fft, univnet.hop_length, univnet.num_mel_bins, univnet.fmin, univnet.fmax)
    assert (ours.n_fft, ours.hop, ours.n_mels, ours.f_min, ours.highest) == theirs
    assert (ours.sample_rate, ours.floor, ours.centred) == (
        univnet.sampling_rate,
        univnet.compression_clip_val,
        univnet.center,
    )


def test_a_folder_that_transformers_saved_is_read(save_vocoder: Callable[..., Path]) -> None:
    config = located(save_vocoder("UnivNetModel"), mel={**OWN, "sample_rate": 8000})
    assert (config.convention.hop, config.convention.n_mels, config.convention.centred) == (64, 24, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": ""}, r"vocoder.path: missing; 'pretrained' needs a folder with config.json and model.safetensors"),
        ({"path": "nowhere"}, r"vocoder.path: no such folder: nowhere"),
        ({"mel": {"hop": 32}}, r"vocoder.mel.hop: config.json says 64, got 32"),
        ({"mel": {"scael": "htk"}}, r"scael"),
        ({"training": {"steps": 5}}, r"a pretrained vocoder is not trained"),
        ({"files": {"a": "b"}}, r"vocoder.files: unknown option"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    folder = folder_with(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        check(PretrainedConfig, {"path": str(folder), **options}, where="vocoder").located("vocoder")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"model_type": "speecht5_hifgan"}, r"unknown vocoder of transformers 'speecht5_hifgan'; did you mean"),
        ({"model_type": None}, r"has no model_type"),
        ({"upsample_rates": None}, r"config.json does not say how many mel bins"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, stated: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        located(folder_with(tmp_path, **stated), mel=OWN)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    (folder_with(tmp_path) / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no model.safetensors in .*; save it again with save_pretrained"):
        located(tmp_path, mel=OWN)
