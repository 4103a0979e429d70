"""Audio files to segments of one length, through PyAV. Needs no torch.

Shape legend: C channels, N samples in a segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import av
import numpy as np

from .config import DataConfig
from .places import choose, complete
from .source import Skip


def decode_audio_file(path: Path, config: DataConfig, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Segments `[1, C, N]` int16 of the first audio stream, one after the other.

    Resampled to `sample_rate` and mixed to `channels`; the file is laid out in consecutive segments from its start,
    of which `crop` and `per_file` choose. Raises Skip when the file is damaged, cut short or too short.
    """
    length, channels = config.clip_samples, config.channels
    _expect_whole(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise Skip("no audio in it")
            stream = container.streams.audio[0]
            stream.codec_context.thread_count = 1
            declared = _declared(container, stream)
            count = None if declared is None else round(declared * config.sample_rate) // length
            segments = _Segments(count, config, generator)
            total = 0
            for start, chunk in _chunks(container, stream, config.sample_rate, channels):
                total = start + chunk.shape[1]
                yield from segments.take(start, chunk)
    except (av.error.FFmpegError, ValueError) as error:
        raise Skip(f"can't be decoded: {str(error).splitlines()[0][:120]}") from None
    seconds = total / config.sample_rate
    if declared is not None and not complete(seconds, declared):
        raise Skip(f"cut short: {seconds:.2f} of {declared:.2f} s could be decoded")
    if total < length:
        raise Skip(f"too short: {seconds:.3f} s for segments of {length / config.sample_rate:.3f} s")


def _expect_whole(path: Path) -> None:
    """Raises Skip for a WAV or AIFF file that is smaller than its header says: libav reads it as a shorter one."""
    with path.open("rb") as file:
        head = file.read(8)
    order: Literal["little", "big"] | None = {b"RIFF": "little", b"FORM": "big"}.get(head[:4])  # type: ignore[assignment]
    if order is None or len(head) < 8:
        return
    declared, size = int.from_bytes(head[4:], order) + 8, path.stat().st_size
    # A stream of unknown length has all ones there, or nothing; a missing pad byte is no harm.
    if declared not in (8, 0xFFFFFFFF + 8) and declared > size + 1:
        raise Skip(f"cut short: {size} of {declared} bytes are there")


def _declared(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """The duration that the file claims, in seconds."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


class _Segments:
    """Collects the chosen segments from chunks that come in order."""

    def __init__(self, count: int | None, config: DataConfig, generator: np.random.Generator) -> None:
        per_file = config.per_file
        # A duration that nobody knows leaves the first segments.
        places = range(per_file) if count is None else choose(count, per_file, config.crop, generator)
        self._length = config.clip_samples
        self._places = set(places)
        self._segment = np.empty((1, config.channels, self._length), np.int16)

    def take(self, start: int, chunk: np.ndarray) -> Iterator[np.ndarray]:
        """Reads `chunk` `[C, n]`, whose first sample is sample `start` of the file; gives what is complete."""
        offset = 0
        while offset < chunk.shape[1]:
            place, inside = divmod(start + offset, self._length)
            step = min(self._length - inside, chunk.shape[1] - offset)
            if place in self._places:
                self._segment[0, :, inside : inside + step] = chunk[:, offset : offset + step]
                if inside + step == self._length:
                    yield self._segment.copy()
            offset += step


def _chunks(
    container: av.container.InputContainer, stream: av.AudioStream, rate: int, channels: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The stream's samples in order as (position, int16 `[C, n]`), decoder and resampler flushed."""
    resampler = av.AudioResampler(format="s16", layout="stereo" if channels == 2 else "mono", rate=rate)
    position = 0
    for frame in _and_flush(container.decode(stream)):
        for part in resampler.resample(frame):
            chunk = part.to_ndarray().reshape(-1, channels).T
            yield position, chunk
            position += chunk.shape[1]


def _and_flush(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame | None]:
    """The frames, then None, which makes a resampler give what it holds back (and raises if it saw no frame)."""
    seen = False
    for frame in frames:
        seen = True
        yield frame
    if seen:
        yield None
