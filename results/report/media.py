"""What can be looked at and listened to: stored signals as pictures and sounds of the page.

A picture is a sheet: a row per sample, a column per frame of a clip, pixels as they are, so that nothing of a
compression is mistaken for the tokenizer's. Sounds are 16-bit WAV with a spectrogram and the outline of their wave.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def media_bytes(row: Row, size: Callable[[bytes, str], int]) -> int:
    """About how many bytes all the row's signals take on the page, `size` of each content and ending: the first sample
    of each tensor is encoded and stands for the others. Raises UserError for a damaged file."""
    rate: float | None = None
    total = 0

    def count(ending: str, content: bytes) -> str:
        nonlocal total
        total += number * size(content, ending)
        return ""

    for _, values, as_sounds in _stored(row):
        number, rate = len(values), rate or _rate(Store(row["source"]), row)
        _encoded(values[:1], as_sounds, rate, count)
    return total


def media(row: Row, save: Save, *, share: float = 1.0) -> dict[str, Any]:
    """The row's signals by what they are ("original", "reconstruction", ...), each a sheet or sounds, written by
    `save`; {} where its jobs stored none.

    `share` of the samples are taken, at least one. Raises UserError for a damaged file.
    """
    result: dict[str, Any] = {}
    rate = _rate(Store(row["source"]), row)
    for title, values, as_sounds in _stored(row):
        few = values[: max(1, int(len(values) * share))]
        result.setdefault(title, {}).update(_encoded(few, as_sounds, rate, save))
    if not result:
        return {}
    return {"modality": row["modality"], "rate": rate, "parts": result}


def _stored(row: Row) -> Iterator[tuple[str, np.ndarray, bool]]:
    """What each stored tensor is, its values as they are drawn (low frequencies of a spectrogram last), and whether
    they are sounds."""
    store, modality = Store(row["source"]), row["modality"]
    for kind, name, tensor, title in (*_STORED, *(_HEARD if modality == "spectrogram" else ())):
        values = tensors(store, row.jobs.get(kind), name).get(tensor)
        if values is None or not len(values):
            continue
        as_sounds = modality == "waveform" or (kind, name, tensor, title) in _HEARD
        yield title, values if as_sounds or modality != "spectrogram" else np.flip(values, axis=2), as_sounds


def _encoded(values: np.ndarray, as_sounds: bool, rate: float | None, save: Save) -> dict[str, Any]:
    return {"sounds": _sounds(values, rate, save)} if as_sounds else _sheet(values, save)


def _rate(store: Store, row: Row) -> float | None:
    """Samples of a sound, or frames of a clip, a second, as the configurations of data and tokenizer say."""
    record = record_of(store, row.jobs.get("tokenizer"))
    data = record_of(store, row.jobs.get("data"))
    signal: Mapping[str, Any] = {}
    if record is not None and isinstance(record.config.get("tokenizer"), dict):
        signal = record.config["tokenizer"].get("signal") or {}
    options = data.config.get("data", {}) if data is not None else {}
    clip = row["modality"] == "video"
    for value in (options.get("fps" if clip else "sample_rate"), signal.get("rate")):
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
