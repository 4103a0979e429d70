"""The frames of a video file by the time at which they are shown, in order, with jumps where they save decoding."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import av

from .libav import open_media
from .media import Media
from .source import Skip
from .video_timeline import Timeline, decoded, open_decoder, picture_stream

# A frame counts as shown from this long before its timestamp: the clocks of containers round to milliseconds.
_EARLY = 1.1e-3
# Further ahead than this, jumping to the keyframe before a time is cheaper than decoding up to it.
_JUMP = 2.0
# A jump that lands late is tried again from so many seconds earlier, then from the start.
_RETRIES = (0.0, 1.0, 8.0)
# MPEG program streams name times for packets that begin inside another frame: a jump may be one frame off.
_NO_JUMPS = frozenset({"mpeg"})


class FrameReader:
    """Gives the frame that is shown at a time; times must not decrease. A context manager."""

    def __init__(self, path: Media, timeline: Timeline) -> None:
        self._path = path
        self._timeline = timeline
        self._stamps: list[int] = timeline.stamps.tolist()
        self._scale = float(timeline.base)
        self._container: av.container.InputContainer | None = None
        self._frames: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._shown: tuple[int, av.VideoFrame] | None = None
        self._following: tuple[int, av.VideoFrame] | None = None
        self._ended = False

    def __enter__(self) -> FrameReader:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            self._container.close()

    def seek(self, seconds: float) -> None:
        """Goes close to a time if that saves decoding. Frames before it can't be had any more."""
        line, position = self._timeline, self._following or self._shown
        now = 0.0 if position is None else self._time(position[0])
        assert self._container is not None
        if line.counted or seconds - now <= _JUMP or self._container.format.name in _NO_JUMPS:
            return
        target = self._stamps[0] + (seconds + _EARLY) / self._scale
        keys = line.keys[line.keys <= target]
        if not len(keys) or self._time(int(keys[-1])) <= now + _EARLY:
            return
        for earlier in _RETRIES:
            stamp = int(keys[-1]) - int(earlier / self._scale)
            if stamp <= self._stamps[0]:
                break
            if self._jump(stamp, target):
                return
        self._start()

    def at(self, seconds: float) -> av.VideoFrame:
        """The frame that is shown at `seconds` after the first one. Raises Skip where it can't be decoded."""
        while not self._ended and (self._following is None or self._time(self._following[0]) <= seconds + _EARLY):
            following = next(self._frames, None)
            if following is None:
                self._ended = True
            self._expect_next(self._following or self._shown, following)
            self._shown, self._following = self._following or self._shown, following
        if self._shown is None:
            # The first frame's time is rounded, or it is the only one.
            if self._following is None:
                raise Skip("its frames can't be decoded")
            return self._following[1]
        return self._shown[1]

    def _expect_next(
        self, frame: tuple[int, av.VideoFrame] | None, following: tuple[int, av.VideoFrame] | None
    ) -> None:
        """Raises Skip when frames between the two were in the file and did not come out of the decoder."""
        begin = self._stamps[0] - 1 if frame is None else frame[0]
        if following is not None and following[0] <= begin:
            raise Skip("its timestamps are out of order: remux it into MP4 or Matroska")
        end = math.inf if following is None else following[0]
        if frame is None and following is not None:
            return
        between = bisect_left(self._stamps, end) - bisect_right(self._stamps, begin)
        # The second field of an interlaced frame may be a packet of its own.
        if between > (1 if frame is not None and frame[1].interlaced_frame else 0):
            raise Skip(f"damaged: frames after {self._time(begin):.2f} s can't be decoded")

    def _time(self, stamp: int) -> float:
        """Seconds from the first frame to `stamp`."""
        return (stamp - self._stamps[0]) * self._scale

    def _start(self) -> None:
        """Decoding from the file's beginning."""
        if self._container is not None:
            self._container.close()
        self._container = open_media(self._path)
        stream = picture_stream(self._container)
        open_decoder(stream)
        self._restart(self._timed(decoded(self._container, stream)))

    def _restart(self, frames: Iterator[tuple[int, av.VideoFrame]]) -> None:
        self._frames, self._shown, self._following, self._ended = frames, None, None, False

    def _jump(self, stamp: int, target: float) -> bool:
        """Whether decoding goes on from a keyframe that is not later than `target`."""
        assert self._container is not None
        stream = picture_stream(self._container)
        try:
            self._container.seek(stamp, stream=stream, backward=True)
            frames = self._timed(decoded(self._container, stream))
            for landed in frames:
                if landed[0] > target:
                    return False
                # What is shown before the first keyframe may lack what it refers to.
                if landed[1].key_frame and landed[0] in self._timeline.keys:
                    self._restart(frames)
                    self._following = landed
                    return True
        except (av.error.FFmpegError, Skip):
            return False
        return False

    def _timed(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        if self._timeline.counted:
            yield from zip(self._stamps, frames, strict=False)
            return
        for frame in frames:
            stamp = frame.pts
            if stamp is None:
                raise Skip("frames without timestamps: remux it into MP4 or Matroska")
            if stamp >= self._stamps[0]:
                yield stamp, frame
