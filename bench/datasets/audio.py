"""Audio files to segments of one length, through PyAV. Needs no torch.

Shape legend: C channels, N samples in a segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import av
import numpy as np

from .complaints import decoding
from .config import DataConfig
from .libav import NO_DECODER, demuxed, frames_of, open_media
from .media import Media
from .ogg_links import Link, ogg_links
from .places import choose, complete
from .sound_length import SoundLength, sound_length, stated_seconds, states_times
from .sound_level import is_silent, levelled
from .sound_mix import SoundMixer
from .source import Skip

# The clocks of containers round to milliseconds; a lost packet is 10 ms and more.
_GAP = 0.008
_TAGS = (b"ID3", b"TAG", b"APETAGEX")


def decode_audio_file(path: Media, config: DataConfig, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Segments `[1, C, N]` int16 of the first audio stream, one after the other.

    Resampled to `sample_rate` and mixed to `channels`; the file is laid out in consecutive segments from its start,
    of which `crop` and `per_file` choose, each at the `loudness` asked for. Raises Skip when the file is damaged, cut
    short, or too short (`pad` fills up a short one with silence), or all of it silent where `silence` skips that.
    """
    silent = True
    for segment in _segments(path, config, generator):
        if config.silence == "keep" or not is_silent(segment):
            silent = False
            yield segment if config.loudness is None else levelled(segment, config.sample_rate, config.loudness)
    if silent:
        raise Skip("silent: nothing in it is above -60 dB")


def _segments(path: Media, config: DataConfig, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """The chosen segments as they are."""
    length, rate = config.clip_samples, config.sample_rate
    with decoding(path, "sound"):
        links = ogg_links(path)
        expected = _linked_length(path, links) if links else None
        mixer = SoundMixer(rate, config.channels)
        chosen: _Chosen | None = None
        total = 0
        for link in links or (None,):
            with _opened(path, link) as (container, stream):
                if expected is None:
                    expected = sound_length(path, container, stream)
                if chosen is None:
                    count = round(expected.seconds * rate) // length
                    chosen = _Chosen(max(count, 1) if config.pad else count, config, generator)
                for chunk in _chunks(container, stream, mixer, stated=expected.stated):
                    yield from chosen.take(total, chunk)
                    total += chunk.shape[1]
    assert expected is not None
    assert chosen is not None
    seconds = total / rate
    if expected.stated and not complete(seconds, expected.seconds):
        raise Skip(f"cut short: {seconds:.2f} of {expected.seconds:.2f} s could be decoded")
    if not total:
        raise Skip("empty: no sound in it")
    if total < length:
        if not config.pad:
            raise Skip(f"too short: {seconds:.3f} s for segments of {length / rate:.3f} s")
        yield chosen.padded(total)


@contextmanager
def _opened(path: Media, link: tuple[int, int] | None) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
    """The file, or a link of it, and its first sound, whose decoder reports damage instead of concealing it."""
    with Link(path, *link) if link else nullcontext() as file, open_media(file or path) as container:
        if not container.streams.audio:
            raise Skip("no audio in it")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise Skip(NO_DECODER)
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
        yield container, stream


def _linked_length(path: Media, links: list[tuple[int, int]]) -> SoundLength:
    seconds = 0.0
    for link in links:
        with _opened(path, link) as (container, stream):
            seconds += stated_seconds(container, stream) or 0.0
    return SoundLength(seconds, stated=False)


class _Chosen:
    """Collects the chosen segments from chunks that come in order."""

    def __init__(self, count: int, config: DataConfig, generator: np.random.Generator) -> None:
        self._length = config.clip_samples
        self._places = set(choose(count, config.per_file, config.crop, generator))
        self._segment = np.zeros((1, config.channels, self._length), np.int16)

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

    def padded(self, total: int) -> np.ndarray:
        """The first segment, of which `total` samples are there, followed by silence."""
        self._segment[..., total:] = 0
        return self._segment


def _chunks(
    container: av.container.InputContainer, stream: av.AudioStream, mixer: SoundMixer, *, stated: bool
) -> Iterator[np.ndarray]:
    """The stream's samples in order, int16 `[C, n]`, decoder and resampler flushed. Raises Skip where some are lost."""
    begin: float | None = None
    elapsed = 0.0
    clocked = states_times(container)
    base, codec = float(stream.time_base or 0), stream.codec_context.name
    for frame in _frames(container, stream, stated=stated):
        stamp = frame.pts if clocked else None
        if stamp is not None:
            time = stamp * base
            if begin is None or time < begin + elapsed - _GAP:
                begin = time - elapsed
            lost = time - begin - elapsed
            if lost > _GAP:
                raise Skip(f"damaged: {lost:.2f} s are missing at {elapsed:.2f} s")
        yield from mixer.add(frame, elapsed, codec)
        elapsed += frame.samples / frame.sample_rate
    yield from mixer.flush()


def _frames(container: av.container.InputContainer, stream: av.AudioStream, *, stated: bool) -> Iterator[av.AudioFrame]:
    """The decoded frames. A recording without a stated length may begin and end in the middle of a frame; any other
    that can't be decoded raises Skip."""
    started = failed = False
    for packet in demuxed(container, stream):
        if failed and packet.size:
            raise Skip("damaged: frames in the middle of it can't be decoded")
        try:
            frames = frames_of(packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            # Files that were joined have each other's tags in the middle.
            failed = (started or stated) and not bytes(packet).startswith(_TAGS)
            continue
        for frame in frames:
            if frame.is_corrupt:
                raise Skip("damaged: frames in the middle of it are broken")
            started = True
            yield frame
    if failed and stated:
        raise Skip("cut short: its last frame is incomplete")
