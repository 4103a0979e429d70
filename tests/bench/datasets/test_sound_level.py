"""Loudness and silence of sounds: what is measured by another implementation, and what is left out."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pyloudnorm
import pytest

from latentbench.bench.datasets.audio import decode_audio_file
from latentbench.bench.datasets.config import DataConfig
from latentbench.bench.datasets.sound_level import is_silent, levelled
from latentbench.bench.datasets.source import Skip
from latentbench.tokenizers.spec import Modality

RATE = 16000


def sound(seconds: float, level: float, *, channels: int = 1, seed: int = 0) -> np.ndarray:
    """int16 `[1, C, N]`: noise in bursts."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    noise = random.standard_normal((channels, len(time))) * (0.3 + np.sin(2 * np.pi * 3 * time) ** 2)
    return np.clip(noise * level * 32767, -32768, 32767).astype(np.int16)[None]


def lufs(segment: np.ndarray) -> float:
    return float(pyloudnorm.Meter(RATE, filter_class="DeMan").integrated_loudness(segment[0].T / 32768))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("level", [0.003, 0.05])
def test_a_sound_comes_to_its_loudness(level: float, channels: int) -> None:
    segment = sound(1.5, level, channels=channels)
    assert abs(lufs(segment) + 23) > 1
    assert lufs(levelled(segment, RATE, -23.0)) == pytest.approx(-23, abs=0.05)


def test_full_scale_is_not_exceeded() -> None:
    quiet = sound(1.0, 0.001)
    quiet[0, 0, 100] = 8000  # a click
    loud = levelled(quiet, RATE, -6.0)
    assert np.abs(loud.astype(int)).max() == 32767
    assert lufs(loud) < -6
    ratio = loud[0, 0].astype(float) @ quiet[0, 0] / (quiet[0, 0].astype(float) @ quiet[0, 0])
    assert np.abs(loud - ratio * quiet).max() < 1, "one gain for all of it"


def test_shorter_than_a_block_is_measured_repeated() -> None:
    short = sound(0.128, 0.02)
    out = levelled(short, RATE, -23.0)
    assert lufs(np.tile(out, (1, 1, 8))) == pytest.approx(-23, abs=0.3)


def test_silence_stays_as_it_is() -> None:
    nothing = np.zeros((1, 1, RATE), np.int16)
    faint = (sound(1.0, 1e-5) * 0 + 1).astype(np.int16)
    assert levelled(nothing, RATE, -23.0) is nothing
    assert is_silent(nothing)
    assert is_silent(faint)
    assert not is_silent(sound(1.0, 0.01))
    assert is_silent(np.full((1, 1, 8), 32, np.int16))
    assert not is_silent(np.full((1, 1, 8), -33, np.int16))


def written(path: Path, *parts: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((parts[0].shape[1], 2, RATE, 0, "NONE", ""))
        for part in parts:
            file.writeframes(part[0].T.astype("<i2").tobytes())
    return path


def read(path: Path, **options: Any) -> list[np.ndarray]:
    fields = {"source": "folder", "path": "x", "modality": Modality.WAVEFORM, "sample_rate": RATE, "seconds": 0.512}
    config = DataConfig(**fields, crop="tiles", per_file=99, **options)
    return [block.copy() for block in decode_audio_file(path, config, np.random.default_rng(0))]


def test_silent_windows_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    pause = np.zeros((1, 1, 8192), np.int16)
    path = written(tmp_path / "a.wav", sound(0.512, 0.1), pause, sound(0.512, 0.1, seed=1))
    assert len(read(path)) == 3
    kept = read(path, silence="skip")
    assert len(kept) == 2
    assert all(np.array_equal(one, other) for one, other in zip(kept, read(path)[::2], strict=True))
    silent = written(tmp_path / "b.wav", pause, pause)
    assert len(read(silent)) == 2
    with pytest.raises(Skip, match="silent: nothing in it is above -60 dB"):
        read(silent, silence="skip")
    with pytest.raises(Skip, match="too short"):
        read(written(tmp_path / "c.wav", sound(0.1, 0.1)), silence="skip")


def test_windows_are_levelled_one_by_one(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", sound(0.512, 0.3), sound(0.512, 0.01, seed=2))
    levels = [lufs(segment) for segment in read(path, loudness=-20.0)]
    assert levels == pytest.approx([-20, -20], abs=0.1)


def test_at_their_defaults_they_are_no_part_of_a_data_set_s_identity() -> None:
    plain = DataConfig(source="folder", path="x", modality=Modality.WAVEFORM)
    assert not {"loudness", "silence", "pad"} & plain.identity().keys()
    own = DataConfig(source="folder", path="x", modality=Modality.SPECTROGRAM, loudness=-23.0, silence="skip")
    assert (own.identity()["loudness"], own.identity()["silence"]) == (-23.0, "skip")
    assert own.storage()["loudness"] == -23.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "image", "loudness": -23.0}, "loudness is for sounds of the sources 'folder'"),
        ({"modality": "video", "silence": "skip"}, "silence is for sounds of the sources 'folder'"),
        ({"modality": "waveform", "source": "procedural", "loudness": -23.0}, "loudness is for sounds of the sources"),
        ({"modality": "waveform", "stream": True, "silence": "skip"}, "silence 'skip' needs stream = false"),
        ({"modality": "waveform", "loudness": 3.0}, "loudness is in LUFS, between -70 and 0"),
    ],
)
def test_what_they_are_for(options: dict[str, Any], message: str) -> None:
    fields = {"source": "folder", "path": "x"} | options | {"modality": Modality(options["modality"])}
    with pytest.raises(ValueError, match=message):
        DataConfig(**({k: v for k, v in fields.items() if k != "path"} if fields["source"] == "procedural" else fields))
