"""Video files to clips of one length and size, through PyAV.

Shape legend: C channels, T frames in a clip, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter

from .complaints import decoding
from .config import DataConfig
from .image_file import flatten_image
from .images import fit_image, fitted, to_channels
from .libav import open_media
from .media import Media
from .places import choose
from .source import Skip
from .video_frames import FrameReader
from .video_timeline import expect_sdr, picture_stream, read_timeline

INTERLACED = "interlaced"
OBLONG = "of pixels that are no squares, and taken as squares"
_ROUNDED_RATIO = 0.01  # what encoders put where they mean 1:1
_PROGRESSIVE = 1  # libav's order of fields; 0 is unknown, and what is above has two fields a frame


def decode_video_file(path: Media, config: DataConfig, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Clips `[1, C, T, height, width]` uint8 of the first video stream, one after the other.

    Frame k of the file, at `fps`, is what is shown k / fps seconds after the first frame. The file is laid out in
    consecutive clips, of which `crop` and `per_file` choose. Raises Skip when it is damaged, cut short or too short.
    """
    with decoding(path, "video"):
        timeline = read_timeline(path)
        # Times k / fps before the end of the last frame.
        count = math.ceil(timeline.seconds * config.fps - 1e-6) // config.frames
        if count < 1:
            needed = config.frames / config.fps
            raise Skip(f"too short: {timeline.seconds:.2f} s for clips of {needed:.2f} s")
        places = choose(count, config.per_file, config.crop, generator)
        corner = generator.random(2) if config.crop == "random" else np.array([0.5, 0.5])
        cutter = _Cutter(config, corner)
        with FrameReader(path, timeline) as reader:
            for place in places:
                begin = place * config.frames / config.fps
                reader.seek(begin)
                clip = np.empty((config.channels, config.frames, *config.sides), np.uint8)
                for k in range(config.frames):
                    cutter.cut(reader.at(begin + k / config.fps), clip[:, k])
                yield clip[None]


def video_marks(path: Media) -> tuple[str, ...]:
    """What a reader of the data set should know of a file that is used as it is: "interlaced", and pixels that are no
    squares."""
    try:
        with open_media(path) as container:
            stream = picture_stream(container)
            order, ratio = stream.codec_context.field_order, stream.sample_aspect_ratio
    except (av.error.FFmpegError, OSError, ValueError, Skip):
        return ()
    oblong = bool(ratio) and abs(float(ratio or 1) - 1) > _ROUNDED_RATIO
    return ((INTERLACED,) if order > _PROGRESSIVE else ()) + ((OBLONG,) if oblong else ())


class _Cutter:
    """Cuts frames as the configuration says; `corner` is where, from 0 to 1 along both axes. libswscale's tables are
    kept from frame to frame."""

    def __init__(self, config: DataConfig, corner: np.ndarray) -> None:
        self._config, self._corner = config, corner
        self._converters = {form: VideoReformatter() for form in ("gbrp", "rgb24", "rgba")}

    def cut(self, frame: av.VideoFrame, out: np.ndarray) -> None:
        """Writes what is cut from the frame, upright, to `out` `[C, height, width]` uint8."""
        expect_sdr(frame.color_trc)
        config = self._config
        turn = _turn_of(frame)
        transparent = _has_alpha(frame.format.name)
        size = turn.shown(frame.height, frame.width)
        if config.channels == 3 and not transparent and fitted(*size, config.sides, config) == [*size]:
            for channel, plane in zip(out, self._planes(frame), strict=True):  # without turning them around
                channel[...] = self._middle(turn.upright(plane))
            return
        pixels = turn.upright(self._colours(frame, transparent))
        if min(pixels.strides) < 0:
            pixels = np.ascontiguousarray(pixels)
        # Channels last, as decoded: scaling takes a fifth of the time.
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        image = fit_image(to_channels(image, config.channels), config.sides, config)
        out[...] = self._middle(image.permute(1, 2, 0).numpy()).transpose(2, 0, 1)

    def _middle(self, pixels: np.ndarray) -> np.ndarray:
        """The crop of `[H, W, ...]`."""
        y, x = (int(self._corner[i] * (pixels.shape[i] - self._config.sides[i])) for i in (0, 1))
        return pixels[y : y + self._config.sides[0], x : x + self._config.sides[1]]

    def _planes(self, frame: av.VideoFrame) -> list[np.ndarray]:
        """Red, green and blue, `[H, W]` uint8 each: views of what libswscale wrote."""
        planar = self._converted(frame, "gbrp")
        views = [np.frombuffer(memoryview(plane), np.uint8).reshape(planar.height, -1) for plane in planar.planes]
        return [views[i][:, : planar.width] for i in (2, 0, 1)]  # it has green first

    def _colours(self, frame: av.VideoFrame, transparent: bool) -> np.ndarray:
        """`[H, W, 3]` uint8: more bits are rounded to 8, what is transparent is over white."""
        if not transparent:
            return self._converted(frame, "rgb24").to_ndarray()
        image = torch.from_numpy(self._converted(frame, "rgba").to_ndarray()).permute(2, 0, 1)
        return flatten_image(image).permute(1, 2, 0).numpy()

    def _converted(self, frame: av.VideoFrame, form: str) -> av.VideoFrame:
        return self._converters[form].reformat(frame, format=form, threads=1)


@cache
def _has_alpha(pixel_format: str) -> bool:
    return any(part.is_alpha for part in av.VideoFormat(pixel_format).components)


@dataclass(frozen=True)
class _Turn:
    """How a frame is turned by a multiple of 90 degrees, and mirrored, to stand as it is shown."""

    across: bool = False
    rows: int = 1
    columns: int = 1

    def shown(self, height: int, width: int) -> tuple[int, int]:
        """The sides of the frame as it is shown."""
        return (width, height) if self.across else (height, width)

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """A view of `[H, W, ...]` as it is shown."""
        return (pixels.swapaxes(0, 1) if self.across else pixels)[:: self.rows, :: self.columns]


def _turn_of(frame: av.VideoFrame) -> _Turn:
    """By the frame's display matrix (ISO/IEC 14496-12, 6.2.2), to the nearest multiple of 90 degrees."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return _Turn()
    # x' = a x + c y, y' = b x + d y, with y downwards.
    a, b, _, c, d = (int(value) for value in np.frombuffer(data, np.int32)[:5])
    across = abs(a) + abs(d) < abs(b) + abs(c)
    if across:
        a, d = c, b
    return _Turn(across=across, rows=-1 if d < 0 else 1, columns=-1 if a < 0 else 1)
