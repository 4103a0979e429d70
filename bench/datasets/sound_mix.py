"""Decoded frames of sound to 16 bits at one rate and number of channels, whatever they are and become. No torch."""

from __future__ import annotations

from typing import Any

import av
import numpy as np

from .source import Skip

# Samples that are stored as floats may pass full scale by rounding alone. What lossy codecs decode passes it often, and
# is clipped, as media players do.
_MOST = 1.01
_STORE_FLOATS = ("pcm_f", "wavpack")


class SoundMixer:
    """Resamples to `rate`, mixes to `channels` (1 or 2) and rounds to 16 bits through libswresample.

    One channel is copied to two, two are averaged to one, more are mixed by their positions (ITU-R BS.775, scaled so
    that nothing clips) or averaged where they have none. The input may change its format in the middle.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._rate = rate
        self._channels = channels
        self._input: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None
        self._as_it_is = True
        self._average = False
        self._sources = channels  # channels that the resampler gives

    def add(self, frame: av.AudioFrame, seconds: float, codec: str) -> list[np.ndarray]:
        """int16 `[channels, n]` that the frame, `seconds` after the beginning, completes. Raises Skip where what
        `codec` decoded is no sound."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if codec.startswith(_STORE_FLOATS) and kind[0].startswith(("flt", "dbl")):
            _expect_levels(frame, seconds)
        if kind == self._input:
            return self._resample(frame if self._as_it_is else self._prepared(frame))
        rest, self._input = self.flush(), kind
        return rest + self._open(frame)

    def flush(self) -> list[np.ndarray]:
        """What the resampler still holds."""
        rest = [] if self._resampler is None else self._resample(None)
        self._resampler = self._input = None
        return rest

    def _open(self, frame: av.AudioFrame) -> list[np.ndarray]:
        count, name = frame.layout.nb_channels, frame.layout.name
        if "ambisonic" in name:
            raise Skip("unsupported: ambisonic sound; mix it to stereo")
        self._average, self._as_it_is = False, count > 2 or name in (("mono", "stereo")[count - 1], f"{count} channels")
        self._sources = 1 if self._channels == 1 or count == 1 else 2
        self._resampler = av.AudioResampler(format="s16", layout=("mono", "stereo")[self._sources - 1], rate=self._rate)
        try:
            return self._resample(frame if self._as_it_is else self._prepared(frame))
        except (av.error.FFmpegError, ValueError):
            if count <= 2:
                raise
        # Channels without positions, or with some that no rule mixes.
        self._average, self._as_it_is, self._sources = True, False, 1
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=self._rate)
        return self._resample(self._prepared(frame))

    def _prepared(self, frame: av.AudioFrame) -> av.AudioFrame:
        """The frame as the resampler must see it: one and two channels are mono and stereo, whatever they are called
        (a front-left channel alone would be mixed 3 dB down)."""
        count = frame.layout.nb_channels
        data: Any = frame.to_ndarray()
        name = frame.format.name
        if self._average:
            samples = data if frame.format.is_planar else data.reshape(-1, count).T
            scale, offset = 1.0, 0.0
            if samples.dtype.kind in "iu":
                scale = float(2 ** (8 * samples.dtype.itemsize - 1))
                offset = 128.0 if samples.dtype == np.uint8 else 0.0
            data, name = ((samples.astype(np.float64) - offset) / scale).mean(0, keepdims=True), "dbl"
            count = 1
        data = np.ascontiguousarray(data)
        layout = "mono" if count == 1 else "stereo"
        renamed = av.AudioFrame.from_ndarray(data, format=name, layout=layout)
        renamed.sample_rate, renamed.pts = frame.sample_rate, None
        return renamed

    def _resample(self, frame: av.AudioFrame | None) -> list[np.ndarray]:
        assert self._resampler is not None
        parts = [part.to_ndarray().reshape(-1, self._sources).T for part in self._resampler.resample(frame)]
        return parts if self._sources == self._channels else [np.repeat(part, self._channels, axis=0) for part in parts]


def _expect_levels(frame: av.AudioFrame, seconds: float) -> None:
    peak = float(np.abs(frame.to_ndarray()).max(initial=0.0))
    if not np.isfinite(peak):
        raise Skip(f"damaged: samples that are not numbers at {seconds:.2f} s")
    if peak > _MOST:
        raise Skip(f"too loud: {peak:.3g} times full scale at {seconds:.2f} s; scale its samples to -1..1")
