"""Video files to clips of one length and size, through PyAV.

Shape legend: C channels, T frames in a clip, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from .config import DataConfig
from .images import fit_image, to_channels
from .places import choose, complete
from .source import Skip

# A frame counts as shown from this long before its timestamp: container clocks round.
_EARLY = 1e-3
# Further ahead than this, jumping to the keyframe before a clip is cheaper than decoding up to it.
_JUMP = 2.0


def decode_video_file(path: Path, config: DataConfig, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Clips `[1, C, T, size, size]` uint8 of the first video stream, one after the other.

    Frame k of the file, at `fps`, is what is shown k / fps seconds after the first frame. The file is laid out in
    consecutive clips, of which `crop` and `per_file` choose. Raises Skip when it is damaged, cut short or too short.
    """
    try:
        extent = _measure(path)
        # Times k / fps before the end of the last frame.
        count = math.ceil(extent.seconds * config.fps - 1e-6) // config.frames
        if count < 1:
            needed = config.frames / config.fps
            raise Skip(f"too short: {extent.seconds:.2f} s for clips of {needed:.2f} s")
        places = choose(count, config.per_file, config.crop, generator)
        corner = generator.random(2) if config.crop == "random" else np.array([0.5, 0.5])
        with av.open(str(path)) as container:
            yield from _clips(container, extent, places, corner, config)
    except (av.error.FFmpegError, ValueError) as error:
        raise Skip(f"can't be decoded: {str(error).splitlines()[0][:120]}") from None


@dataclass(frozen=True)
class _Extent:
    start: int  # first timestamp, in units of `base`
    base: Fraction
    seconds: float


def _measure(path: Path) -> _Extent:
    """Reads all packets (decoding none) for the video's first timestamp and its length. Raises Skip."""
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise Skip("no video in it")
        stream = container.streams.video[0]
        base = stream.time_base
        if base is None:
            raise Skip("no timestamps in it")
        first, last, packets, reached = math.inf, -math.inf, 0, 0.0
        for packet in container.demux():
            if packet.pts is None or packet.time_base is None:
                continue
            end = packet.pts + (packet.duration or 0)
            reached = max(reached, float(end * packet.time_base))
            if packet.stream_index == stream.index:
                first, last, packets = min(first, packet.pts), max(last, end), packets + 1
        if not packets:
            raise Skip("no frames in it")
        seconds = float((int(last) - int(first)) * base)
        if container.duration is not None:
            declared = container.duration / av.time_base
            reached -= (container.start_time or 0) / av.time_base
            if not complete(reached, declared, slack=2 * seconds / packets):
                raise Skip(f"cut short: {reached:.2f} of {declared:.2f} s are there")
        return _Extent(int(first), base, seconds)


def _clips(
    container: av.container.InputContainer, extent: _Extent, places: list[int], corner: np.ndarray, config: DataConfig
) -> Iterator[np.ndarray]:
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    now = 0.0
    frames: Iterator[av.VideoFrame] | None = None
    shown: av.VideoFrame | None = None
    following: tuple[float, av.VideoFrame] | None = None
    for place in places:
        begin = place * config.frames / config.fps
        if frames is None or begin - now > _JUMP:
            if begin > _JUMP:
                container.seek(extent.start + int(begin / extent.base), stream=stream, backward=True)
            frames, shown, following = container.decode(stream), None, None
        clip: list[np.ndarray] = []
        for k in range(config.frames):
            now = begin + k / config.fps
            while following is None or following[0] <= now + _EARLY:
                if following is not None:
                    shown = following[1]
                frame = next(frames, None)
                if frame is None:
                    following = (math.inf, shown) if shown is not None else None
                    break
                if frame.pts is None:
                    raise Skip("frames without timestamps")
                following = (float((frame.pts - extent.start) * extent.base), frame)
            visible = shown if shown is not None else following[1] if following is not None else None
            if visible is None:
                raise Skip("its frames can't be decoded")
            clip.append(_cut(visible, corner, config))
        yield np.stack(clip, axis=1)[None]


def _cut(frame: av.VideoFrame, corner: np.ndarray, config: DataConfig) -> np.ndarray:
    """The frame, upright, as `[C, size, size]` uint8."""
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    image = fit_image(to_channels(image, config.channels), config.size, config)
    y, x = (int(corner[i] * (image.shape[1 + i] - config.size)) for i in (0, 1))
    return image[:, y : y + config.size, x : x + config.size].numpy()
