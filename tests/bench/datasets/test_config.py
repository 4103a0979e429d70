from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest

from latentbench.bench.datasets import DataConfig, signal_spec
from latentbench.bench.datasets.config import most_mels, require_path
from latentbench.results.errors import UserError
from latentbench.tokenizers.spec import Modality
from latentbench.tokenizers.validation import check


def config(**data: object) -> DataConfig:
    return check(DataConfig, data, where="suite.toml: data")


@pytest.mark.parametrize(
    ("data", "channels", "shape", "rate"),
    [
        ({"modality": "image", "size": 64}, 3, (64, 64), None),
        ({"modality": "image", "channels": 1}, 1, (32, 32), None),
        ({"modality": "video", "frames": 9, "fps": 12, "size": 48}, 3, (9, 48, 48), 12.0),
        ({"modality": "waveform", "seconds": 1.0, "sample_rate": 16000}, 1, (16000,), 16000.0),
        ({"modality": "waveform", "seconds": 0.5, "sample_rate": 8001, "channels": 2}, 2, (4000,), 8001.0),
        ({"modality": "spectrogram"}, 1, (64, 64), 16000.0),
    ],
)
def test_signal_by_arithmetic(data: dict, channels: int, shape: tuple[int, ...], rate: float | None) -> None:
    spec = signal_spec(config(**data))
    assert (spec.channels, spec.shape, spec.rate) == (channels, shape, rate)
    assert spec.modality is Modality(data["modality"])


def test_spectrogram_is_counted_against_a_whole_number_of_frames() -> None:
    spec = signal_spec(config(modality="spectrogram", seconds=1.0, sample_rate=16000, hop=200, n_fft=800, channels=2))
    assert spec.source_shape == (2, 16000)
    assert spec.shape == (64, 80)
    assert spec.mel is not None
    assert (spec.mel.n_fft, spec.mel.hop, spec.mel.sample_rate) == (800, 200, 16000)
    # 1.0 s is 62.5 hops of 256.
    assert signal_spec(config(modality="spectrogram", seconds=1.0)).source_shape == (1, 62 * 256)


def test_defaults_follow_modality_and_source() -> None:
    default = config()
    assert (default.samples, default.val, default.channels, default.per_file) == (4096, 256, 3, 1)
    files = config(source="folder", path="x", modality="waveform")
    assert (files.samples, files.val, files.channels, files.per_file) == (None, 0.1, 1, 16)
    assert config(source="folder", path="x", crop="tiles").per_file == 16
    assert config(source="torchvision:CIFAR10", path="x").val == 1.0


@pytest.mark.parametrize("modality", list(Modality))
def test_json_round_trip(modality: Modality) -> None:
    original = DataConfig(modality=modality, seed=3, name="mine")
    assert check(DataConfig, json.loads(json.dumps(original.to_json())), where="x") == original


def test_identity_has_neither_path_nor_what_has_no_effect() -> None:
    one = config(source="folder", path="a/photos", name="one", fps=3)
    two = config(source="folder", path="b/moved", name="two", n_mels=10)
    assert one.identity() == two.identity()
    assert one.identity() != config(source="folder", path="a", size=33).identity()
    assert one.identity() != config(source="folder", path="a", resize="none").identity()
    assert not {"path", "name"} & set(one.identity())
    json.dumps(one.identity())


def test_spectrogram_stores_what_its_waveform_stores() -> None:
    mel, wave = config(modality="spectrogram"), config(modality="waveform")
    assert mel.storage() == wave.storage()
    assert mel.identity() != wave.identity()


def test_labels() -> None:
    assert config(source="folder", path="/a/photos", size=64).label == "photos-image-64"
    assert config(source="torchvision:CIFAR10", path="x").label == "torchvision-CIFAR10-image-32"
    assert config(modality="waveform").label == "procedural-waveform-16000"
    assert config(name="mine").label == "mine"


def test_a_size_is_one_number_or_height_and_width() -> None:
    wide = config(size=[24, 40])
    assert (wide.sides, signal_spec(wide).shape, wide.label) == ((24, 40), (24, 40), "procedural-image-24x40")
    assert signal_spec(config(modality="video", size=[24, 40], frames=3)).shape == (3, 24, 40)
    assert config(**wide.to_json()) == wide
    assert wide.identity()["size"] == [24, 40]
    assert wide.identity() != config(size=[40, 24]).identity()
    assert config(size=[32, 32]) == config(size=32)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"size": [24]}, r"size is one number, or \[height, width\]; got 1 numbers"),
        ({"size": [24, 0]}, "size must be at least 1"),
        ({"size": [24, 10**7]}, "size must be at most 1000000"),
        ({"size": "24x40"}, "data: size: input should be a valid integer, got"),
        ({"source": "folder", "path": "x", "size": [24, 40], "resize": "adm"}, "resize 'adm' is for squares"),
        ({"modality": "waveform", "size": [24, 40]}, "size is for images and videos"),
        ({"sise": 3}, r"data: sise: unknown key; did you mean 'size'\?"),
        ({"modality": "picture"}, "modality"),
        ({"size": 0}, "size must be at least 1"),
        ({"size": 32.0}, "size: .*valid integer"),
        ({"fps": 0}, "fps must be positive"),
        ({"val": 0.1}, "val must be a number of samples"),
        ({"val": 0}, "val must be at least 1"),
        ({"source": "folder", "path": "x", "val": 1.5}, "share of files between 0 and 1"),
        ({"channels": 2}, "channels must be 1 or 3 for modality 'image'"),
        ({"modality": "waveform", "channels": 3}, "channels must be 1 or 2"),
        ({"modality": "spectrogram", "hop": 2048}, "hop must be at most n_fft"),
        ({"modality": "spectrogram", "seconds": 0.02}, "seconds must be above"),
        ({"modality": "spectrogram", "n_mels": 256, "n_fft": 512}, r"n_mels must be at most \d+"),
    ],
)
def test_bad_input_is_one_line(data: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        config(**data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("rate", "n_fft"), [(16000, 1024), (44100, 1024), (8000, 256), (16000, 512)])
def test_most_mels_is_where_torchaudio_begins_to_warn(rate: int, n_fft: int) -> None:
    from torchaudio.functional import melscale_fbanks

    most = most_mels(rate, n_fft, 256)
    assert (melscale_fbanks(n_fft // 2 + 1, 0.0, rate / 2, most, rate).amax(0) > 0).all()
    with pytest.warns(UserWarning, match="all zero values"):
        melscale_fbanks(n_fft // 2 + 1, 0.0, rate / 2, most + 1, rate)


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; from latentbench.bench.datasets.config import DataConfig, signal_spec\n"
        "from latentbench.bench.datasets import fingerprint, sources\n"
        "signal_spec(DataConfig()); fingerprint(DataConfig()); sources.get('folder'); sources.get('torchvision')\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)


def test_seconds_that_round_alike_are_alike() -> None:
    assert config(modality="waveform", seconds=1.0).identity() == config(modality="waveform", seconds=1.0001).identity()
    assert math.isclose(config(modality="waveform", seconds=1.0001).identity()["seconds"], 1.0)


def test_a_folder_without_a_path_can_be_planned_but_not_read() -> None:
    config = check(DataConfig, {"source": "folder", "modality": "image", "size": 32}, where="suite.toml: data")
    assert signal_spec(config).shape == (32, 32)
    with pytest.raises(UserError, match=r"--set data\.path=FOLDER"):
        require_path(config)


@pytest.mark.parametrize(
    ("option", "value"),
    [("complexity", "mixed"), ("texture", 0.5), ("objects", 1), ("colours", "class"), ("pitches", "steady")],
)
def test_an_option_of_made_data_is_in_the_identity_where_it_is_not_the_default(option: str, value: Any) -> None:
    modality = "waveform" if option == "pitches" else "image"
    assert option not in config(modality=modality).identity()
    assert config(modality=modality, **{option: value}).identity()[option] == value
    with pytest.raises(UserError, match=f"{option} is for source 'procedural'"):
        config(source="folder", path="a", modality=modality, **{option: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"texture": -0.1}, "texture must be between 0 and 4"),
        ({"texture": 5}, "texture must be between 0 and 4"),
        ({"objects": 0}, "objects must be 1, 2 or 3"),
        ({"objects": 4}, "objects must be 1, 2 or 3"),
        ({"colours": "class", "modality": "waveform"}, "colours is for images and videos"),
        ({"pitches": "steady"}, "pitches is for sounds"),
    ],
)
def test_impossible_made_data(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**options)
