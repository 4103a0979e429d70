"""What can be looked at and listened to: stored signals as pictures and sounds of the page.

A picture is a sheet: a row per sample, a column per frame of a clip, pixels as they are, so that nothing of a
compression is mistaken for the tokenizer's. Sounds are 16-bit WAV with a spectrogram and the outline of their wave.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..gallery import PAIRS, SAMPLES, png, spectrogram
from ..rows import Row
from ..store import Store
from .artifacts import record_of, tensors

# What is stored, by job and tensor, in the order of the page; sounds of spectrograms are further tensors beside them.
_STORED = (
    ("reconstruction", PAIRS, "true", "original"),
    ("reconstruction", PAIRS, "reconstructed", "reconstruction"),
    ("generation", SAMPLES, "samples", "sample"),
)
_HEARD = (
    ("reconstruction", PAIRS, "source", "original"),
    ("reconstruction", PAIRS, "rendered", "reconstruction"),
    ("reconstruction", PAIRS, "vocoder", "vocoder only"),
    ("generation", SAMPLES, "rendered", "sample"),
)
_POINTS = 240  # of a wave's outline

Save = Callable[[str, bytes], str]  # (ending, content) -> where the page finds it


def stored_bytes(row: Row) -> int:
    """Bytes of the row's stored signals, before they are encoded: what a budget is divided by."""
    store, total = Store(row["source"]), 0
    for kind, name in (("reconstruction", PAIRS), ("generation", SAMPLES)):
        record = record_of(store, row.jobs.get(kind))
        total += record.artifacts.get(name, 0) if record is not None else 0
    return total


def media(row: Row, save: Save, *, share: float = 1.0) -> dict[str, Any]:
    """The row's signals by what they are ("original", "reconstruction", ...), each a sheet or sounds, written by
    `save`; {} where its jobs stored none.

    `share` of the samples are taken, at least one. Raises UserError for a damaged file.
    """
    store, modality = Store(row["source"]), row["modality"]
    result: dict[str, Any] = {}
    rate = _rate(store, row)
    for kind, name, tensor, title in _STORED:
        values = _few(tensors(store, row.jobs.get(kind), name).get(tensor), share)
        if values is None:
            continue
        if modality == "waveform":
            result[title] = {"sounds": _sounds(values, rate, save)}
            continue
        picture = np.flip(values, axis=2) if modality == "spectrogram" else values
        result[title] = _sheet(picture, save)
    if modality == "spectrogram":
        for kind, name, tensor, title in _HEARD:
            values = _few(tensors(store, row.jobs.get(kind), name).get(tensor), share)
            if values is not None:
                result.setdefault(title, {})["sounds"] = _sounds(values, rate, save)
    if not result:
        return {}
    return {"modality": modality, "rate": rate, "parts": result}


def _few(values: np.ndarray | None, share: float) -> np.ndarray | None:
    return None if values is None or not len(values) else values[: max(1, int(len(values) * share))]


def _rate(store: Store, row: Row) -> float | None:
    """Samples of a sound, or frames of a clip, a second, as the tokenizer's configuration says."""
    record = record_of(store, row.jobs.get("tokenizer"))
    data = record_of(store, row.jobs.get("data"))
    signal: Mapping[str, Any] = {}
    if record is not None and isinstance(record.config.get("tokenizer"), dict):
        signal = record.config["tokenizer"].get("signal") or {}
    options = data.config.get("data", {}) if data is not None else {}
    for value in (options.get("sample_rate"), signal.get("rate"), options.get("fps")):
        if isinstance(value, int | float) and value > 0:
            return float(value)
    return None


def _sheet(values: np.ndarray, save: Save) -> dict[str, Any]:
    """Images `[N, C, H, W]` or clips `[N, C, T, H, W]` in [-1, 1] as one picture of N rows and T columns."""
    clips = values[:, :, None] if values.ndim == 4 else values
    count, _, frames, height, width = clips.shape
    pixels = np.clip(np.rint((clips.astype(np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)
    picture = pixels.transpose(0, 3, 2, 4, 1).reshape(count * height, frames * width, -1)
    picture = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[:, :, :3]
    source = save("png", png(np.ascontiguousarray(picture)))
    return {"sheet": source, "count": count, "frames": frames, "height": height, "width": width}


def _sounds(values: np.ndarray, rate: float | None, save: Save) -> list[dict[str, Any]]:
    """Sounds `[N, C, T]` in [-1, 1]: of each the file, its spectrogram, the outline of its wave, and its seconds."""
    pictures = np.flip(spectrogram(values), axis=2)
    sampled = int(rate or 16000)
    result = []
    for sound, picture in zip(values, pictures, strict=True):
        grey = np.clip(np.rint((picture[0] + 1) * 127.5), 0, 255).astype(np.uint8)
        result.append(
            {
                "src": save("wav", wav(sound, sampled)),
                "spectrogram": save("png", png(np.repeat(grey[:, :, None], 3, axis=2))),
                "outline": outline(sound.mean(axis=0)),
                "seconds": round(sound.shape[-1] / sampled, 4),
            }
        )
    return result


def wav(sound: np.ndarray, rate: int) -> bytes:
    """A sound `[C, T]` in [-1, 1] as the bytes of a WAV file of 16-bit samples."""
    samples = np.clip(np.rint(sound.astype(np.float64) * 32767), -32768, 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((len(samples), 2, rate, 0, "NONE", ""))
        file.writeframes(np.ascontiguousarray(samples.T).tobytes())
    return buffer.getvalue()


def outline(sound: np.ndarray, points: int = _POINTS) -> Sequence[Sequence[float]]:
    """The least and the greatest sample of each of `points` parts of a sound `[T]`: what a drawn wave shows."""
    parts = np.array_split(sound, min(points, max(1, len(sound))))
    return [[round(float(part.min()), 3), round(float(part.max()), 3)] for part in parts]
