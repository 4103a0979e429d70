"""Pictures and sounds hold the stored values, read back by other software."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentbench.results.report.media import media, media_bytes, outline, wav
from latentbench.results.rows import Row, rows

Saved = dict[str, bytes]


def stored(folder: Path, modality: str, share: float = 1.0) -> tuple[dict, Saved, Row]:
    row = next(row for row in rows([folder]) if row["modality"] == modality and row["status"] == "finished")
    saved: Saved = {}

    def save(ending: str, content: bytes) -> str:
        name = f"{len(saved)}.{ending}"
        saved[name] = content
        return name

    return media(row, save, share=share), saved, row


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_sheet_has_a_row_per_sample_and_a_column_per_frame(folder: Path) -> None:
    found, saved, _ = stored(folder, "video")
    part = found["parts"]["original"]
    assert (part["count"], part["frames"], part["height"], part["width"]) == (4, 4, 8, 8)
    true = np.tanh(np.random.default_rng(1).standard_normal((4, 3, 4, 8, 8)))
    drawn = pixels(saved[part["sheet"]])
    assert drawn.shape == (32, 32, 3)
    expected = np.rint((true[2, :, 3].astype(np.float32) + 1) * 127.5).transpose(1, 2, 0)
    assert np.abs(drawn[16:24, 24:32].astype(int) - expected).max() <= 1
    assert found["rate"] == 4  # frames a second, though the data's options have a rate of sounds too


def test_images_have_originals_reconstructions_and_samples(folder: Path) -> None:
    found, saved, row = stored(folder, "image")
    assert list(found["parts"]) == ["original", "reconstruction", "sample"]
    first, back = (pixels(saved[found["parts"][name]["sheet"]]).astype(int) for name in ("original", "reconstruction"))
    assert np.abs(back - (127.5 + 0.8 * (first - 127.5))).max() <= 1
    size = sum(map(len, saved.values()))
    assert media_bytes(row, lambda content, ending: len(content)) == pytest.approx(size, rel=0.2)


def test_a_share_of_the_samples_is_taken_and_at_least_one(folder: Path) -> None:
    assert stored(folder, "image", 0.5)[0]["parts"]["original"]["count"] == 2
    assert stored(folder, "image", 0.01)[0]["parts"]["original"]["count"] == 1


@pytest.mark.parametrize("modality", ["waveform", "spectrogram", "video"])
def test_bytes_are_foretold(folder: Path, modality: str) -> None:
    _, saved, row = stored(folder, modality)
    size = sum(map(len, saved.values()))
    assert media_bytes(row, lambda content, ending: len(content)) == pytest.approx(size, rel=0.3)
    assert media_bytes(row, lambda content, ending: 2 * len(content)) == pytest.approx(2 * size, rel=0.3)


def test_sounds_are_wav_files_of_the_datas_rate(folder: Path) -> None:
    found, saved, _ = stored(folder, "waveform")
    sound = found["parts"]["original"]["sounds"][1]
    with wave.open(io.BytesIO(saved[sound["src"]])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 512)
        values = np.frombuffer(file.readframes(512), "<i2") / 32767
    true = np.tanh(np.random.default_rng(1).standard_normal((4, 1, 512)))[1, 0]
    assert np.abs(values - true).max() < 1e-4
    assert sound["seconds"] == 0.064
    assert len(sound["outline"]) == 240


def test_spectrograms_are_seen_and_heard_with_the_vocoder_alone(folder: Path) -> None:
    parts = stored(folder, "spectrogram")[0]["parts"]
    assert set(parts) == {"original", "reconstruction", "vocoder only", "sample"}
    assert {"sheet", "sounds"} <= parts["original"].keys()
    assert len(parts["vocoder only"]["sounds"]) == 4
    low_first = np.tanh(np.random.default_rng(1).standard_normal((4, 1, 16, 24)))[0, 0]
    found, saved, _ = stored(folder, "spectrogram")
    top = pixels(saved[found["parts"]["original"]["sheet"]])[0, :, 0]
    assert np.abs(top.astype(int) - np.rint((low_first[-1] + 1) * 127.5)).max() <= 1  # high frequencies on top


def test_what_is_not_stored_is_no_error(folder: Path) -> None:
    row = next(row for row in rows([folder]) if row["status"] != "finished")
    assert media(row, lambda ending, content: "") == {}
    assert media_bytes(row, lambda content, ending: len(content)) == 0


def test_loud_sounds_are_clipped_not_wrapped() -> None:
    with wave.open(io.BytesIO(wav(np.array([[2.0, -2.0]]), 8000))) as file:
        assert np.frombuffer(file.readframes(2), "<i2").tolist() == [32767, -32768]


def test_the_outline_has_every_extreme() -> None:
    sound = np.zeros(1000)
    sound[[3, 777]] = 0.9, -0.7
    drawn = np.array(outline(sound, 50))
    assert drawn.shape == (50, 2)
    assert (drawn[:, 1].max(), drawn[:, 0].min()) == (0.9, -0.7)
