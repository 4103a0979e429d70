from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from latentbench.bench.datasets.audio import decode_audio_file
from latentbench.bench.datasets.config import DataConfig
from latentbench.bench.datasets.source import Skip
from latentbench.tokenizers.spec import Modality

from .conftest import write_wav


def decode(path: Path, **options: object) -> np.ndarray:
    config = DataConfig(source="folder", path="x", modality=Modality.WAVEFORM, **options)  # type: ignore[arg-type]
    return np.concatenate(list(decode_audio_file(path, config, np.random.default_rng(0))))


def noise(channels: int, n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-9000, 9000, (channels, n)).astype(np.int16)


def test_segments_are_the_file_in_order(tmp_path: Path) -> None:
    wave = noise(1, 8000)
    out = decode(write_wav(tmp_path / "a.wav", wave), sample_rate=8000, seconds=0.2)
    assert out.dtype == np.int16
    np.testing.assert_array_equal(out[:, 0], wave.reshape(5, 1600))


@pytest.mark.parametrize(("crop", "places"), [("center", [1, 2]), ("tiles", [1, 3]), ("random", None)])
def test_which_segments(crop: str, places: list[int] | None, tmp_path: Path) -> None:
    wave = noise(1, 8000)
    path = write_wav(tmp_path / "a.wav", wave)
    out = decode(path, sample_rate=8000, seconds=0.2, per_file=2, crop=crop)
    segments = wave.reshape(5, 1, 1600)
    if places is not None:
        np.testing.assert_array_equal(out, segments[places])
    assert len(out) == 2
    assert all(any(np.array_equal(o, s) for s in segments) for o in out)
    assert np.array_equal(out, decode(path, sample_rate=8000, seconds=0.2, per_file=2, crop=crop))


def test_stereo_and_its_mix(tmp_path: Path) -> None:
    wave = noise(2, 4000)
    path = write_wav(tmp_path / "a.wav", wave)
    np.testing.assert_array_equal(decode(path, sample_rate=8000, seconds=0.5, channels=2)[0], wave)
    mixed = decode(path, sample_rate=8000, seconds=0.5)[0, 0].astype(int)
    assert np.abs(mixed - wave.astype(int).mean(0)).max() <= 1


def test_resampling_keeps_a_tone_and_the_tail(tmp_path: Path) -> None:
    t = np.arange(44100) / 44100
    tone = np.rint(8000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)[None]
    out = decode(write_wav(tmp_path / "a.wav", tone, rate=44100), sample_rate=16000, seconds=1.0)
    assert out.shape == (1, 1, 16000)
    expected = 8000 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    error = (out[0, 0] - expected)[100:-100]
    assert 20 * np.log10(np.std(error) / np.std(expected)) < -45


def test_truncated_flac(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(noise(1, 16000), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert len(decode(path, sample_rate=8000, seconds=0.2)) == 10
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(Skip, match=r"cut short|can't be decoded"):
        decode(path, sample_rate=8000, seconds=0.2)
