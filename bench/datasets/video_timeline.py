"""When the frames of a video file are shown: read from its packets, without decoding more than its beginning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice, pairwise
from statistics import median
from typing import Any

import av
import numpy as np

from .complaints import expect_pixels
from .libav import NO_DECODER, STATES_LAST_TIME, demuxed, frames_of, open_media
from .media import Media
from .places import complete
from .source import Skip
from .stated_bytes import expect_asf_bytes, lacks_riff_bytes

# Transfer characteristics (ITU-T H.273) whose values an 8-bit screen would show flat and pale.
_HDR = {16: "PQ (SMPTE ST 2084)", 18: "HLG (ARIB STD-B67)"}
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_REPORTING = {"err_detect": "crccheck+bitstream+buffer+explode"}  # damage, instead of concealing it
# So many frames tell whether a decoder's output carries timestamps in order.
_TOLD_BY = 48
# Program and transport streams carry no index and no statement of their length: they end where they were cut off.
_STREAMS = frozenset({"mpeg", "mpegts"})
# Of these, program streams don't count their packets, but have a constant frame rate: a loss is a gap in time.
_CONSTANT_RATE = frozenset({"mpeg"})
# Containers that store frames in the order of decoding, without a time of their own.
_NO_TIMES = frozenset({"avi"})
# In these, packets follow each other in the file, but for a few bytes: what was passed over before a jump in time is
# lost.
_IN_ORDER = frozenset({"flv", "matroska,webm"})
_HOLE = 200
# Decoders put frames in order within so many.
_REORDERED = 16


@dataclass(frozen=True)
class Timeline:
    """The times of a stream's shown frames, in units of `base` seconds.

    `stamps` `[N]` int64 are sorted, the first is that of the first frame that can be decoded. `counted` says that the
    decoder's frame j is shown at `stamps[j]`, because its own timestamps are missing or out of order. `keys` are the
    timestamps from which decoding can start.
    """

    base: Fraction
    stamps: np.ndarray
    end: int
    interval: float
    counted: bool
    keys: np.ndarray

    @property
    def seconds(self) -> float:
        """From the first frame to the end of the last."""
        return float((self.end - int(self.stamps[0])) * self.base)


@dataclass
class _Packets:
    """What the packets of one stream say, in the order of the file."""

    stamps: list[int | None] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    corrupt: list[bool] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)  # bytes between the packet and the one before, of any stream
    reached: float = 0.0  # the end of the last packet of any stream, in seconds


def picture_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The first video stream that is not a cover picture. Raises Skip, also where it has no decoder."""
    videos = container.streams.video
    if not videos:
        raise Skip("no video in it")
    cover = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    moving = [stream for stream in videos if not stream.disposition & cover]
    if not moving:
        raise Skip("no video in it: only a cover picture")
    if moving[0].codec_context is None:
        raise Skip(NO_DECODER)
    return moving[0]


def expect_sdr(transfer: int) -> None:
    """Raises Skip for a transfer characteristic of HDR."""
    if (name := _HDR.get(int(transfer))) is not None:
        raise Skip(f"HDR: its brightness is {name}; convert it to SDR")


def open_decoder(stream: av.VideoStream | av.AudioStream) -> None:
    """Sets the stream's decoder to one thread and to report damage instead of concealing it."""
    stream.codec_context.thread_count = 1
    stream.codec_context.options = dict(_REPORTING)


def alpha_decoder(stream: av.VideoStream) -> Any:
    """A decoder of its own for a stream of VP8 or VP9 with transparency, which FFmpeg's decoders pass over; None for
    any other. Raises Skip where there is none that knows it."""
    known = _ALPHA_DECODERS.get(stream.codec_context.codec.name)
    if known is None or stream.metadata.get("alpha_mode") != "1":
        return None
    try:
        decoder: Any = av.CodecContext.create(known, "r")
    except av.codec.codec.UnknownCodecError:
        raise Skip(f"transparent: there is no {known} here, which can tell what is; convert it") from None
    decoder.thread_count = 1
    return decoder


def decoded(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The stream's frames in the order of showing. What comes before the first whole frame is passed over: a recording
    may start anywhere. Raises Skip, or what the decoder raises, at damage after that."""
    started = False
    decoder = alpha_decoder(stream)
    for packet in demuxed(container, stream):
        try:
            frames = frames_of(packet, decoder)
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            if started:
                raise
            continue
        for frame in frames:
            if not frame.is_corrupt:
                started = True
                yield frame
            elif started:
                raise Skip("damaged: frames in the middle of it are broken")


def read_timeline(path: Media) -> Timeline:
    """Reads all packets of the file. Raises Skip when it has no usable video, is damaged or is cut short."""
    with open_media(path) as container:
        stream = picture_stream(container)
        if stream.time_base is None:
            raise Skip("no timestamps in it")
        expect_pixels(stream.width or 0, stream.height or 0)
        expect_sdr(stream.codec_context.color_trc)  # the container's word, which a decoder forgets
        packets = _read_packets(container, stream.index)
        if not packets.stamps:
            raise Skip("no frames in it")
        _expect_end(path, container, stream, packets)
        return _timeline(path, stream, packets, container.format.name)


def _expect_end(path: Media, container: av.container.InputContainer, stream: av.VideoStream, packets: _Packets) -> None:
    """Raises Skip where the container states a later end than its packets reach."""
    form, start = container.format.name, (container.start_time or 0) / av.time_base
    if container.duration is None:
        expect_asf_bytes(path)
    if container.duration is None or form in _STREAMS:
        return
    declared = container.duration / av.time_base
    if form == "avi" and stream.frames and stream.average_rate and lacks_riff_bytes(path):
        declared = max(declared, float(stream.frames / stream.average_rate))  # libav's is guessed from the bytes there
    reached = packets.reached - (min(start, 0.0) if form in STATES_LAST_TIME else start)
    if not complete(reached, declared, slack=2 * reached / len(packets.stamps)):
        raise Skip(f"cut short: {reached:.2f} of {declared:.2f} s are there")


def _read_packets(container: av.container.InputContainer, index: int) -> _Packets:
    packets = _Packets()
    ends: dict[int, int] = {}
    place: int | None = None
    for packet in demuxed(container):
        if packet.is_discard or not packet.size:
            continue
        stamp, duration, of = packet.pts, packet.duration or 0, packet.stream_index
        if stamp is not None and stamp + duration > ends.get(of, 0):
            ends[of] = stamp + duration
        if of == index:
            packets.stamps.append(stamp)
            packets.durations.append(duration)
            packets.keys.append(packet.is_keyframe)
            packets.corrupt.append(packet.is_corrupt)
            packets.skipped.append(0 if place is None or packet.pos is None else packet.pos - place)
        place = None if packet.pos is None else packet.pos + packet.size
    bases = {stream.index: stream.time_base or 0 for stream in container.streams}
    packets.reached = max((float(end * bases[of]) for of, end in ends.items()), default=0.0)
    return packets


def _timeline(path: Media, stream: av.VideoStream, packets: _Packets, form: str) -> Timeline:
    base = stream.time_base
    assert base is not None
    rate = stream.average_rate or stream.guessed_rate
    nominal = float(median(packets.durations)) or (float(1 / (rate * base)) if rate else 0.0)
    known = [stamp for stamp in packets.stamps if stamp is not None]
    counted = len(known) < len(packets.stamps)
    if counted:
        stamps = _constant(packets.stamps, nominal)
    else:
        stamps = np.array(known, np.int64)
        increasing = len(stamps) > 1 and bool((np.diff(stamps) > 0).all())
        # A decoder that reorders was given times in the order of decoding: these can't be the frames' own.
        if increasing and stream.codec_context.has_b_frames:
            counted = form in _NO_TIMES or not _ordered(path)
    keyed = np.array(packets.keys)
    if counted:
        lead = int(keyed.argmax()) if keyed.any() else 0
        first = int(stamps[lead])
    else:
        first = int(stamps[0])
        if not packets.keys[0] or first != stamps.min():
            first = _first_stamp(path)
    interval = float(np.median(np.diff(np.sort(stamps)))) if len(stamps) > 1 else nominal
    interval = interval or nominal
    _expect_whole(stamps, packets, first, interval, base, form)
    lasting = np.array(packets.durations)
    ends = stamps + np.where(lasting > 0, lasting, round(interval))
    shown = stamps >= first
    ordered, end = np.sort(stamps[shown]), int(ends[shown].max())
    if form in _STREAMS:
        # Where a recording was cut off, frames may be there without the few that are shown before them.
        tail = len(ordered) - min(len(ordered), _REORDERED)
        gaps = np.flatnonzero(np.diff(ordered[tail:]) > 1.9 * interval)
        if len(gaps) and np.diff(ordered).max() < 4.5 * interval:
            ordered = ordered[: tail + int(gaps[0]) + 1]
            end = int(ordered[-1]) + round(interval)
    return Timeline(
        base=base,
        stamps=ordered,
        end=end,
        interval=interval,
        counted=counted,
        keys=np.sort(stamps[shown & keyed]),
    )


def _constant(stamps: list[int | None], interval: float) -> np.ndarray:
    """Times at a constant rate for a stream of which not every frame has one. Raises Skip where the known ones
    disagree with that."""
    known = [(place, stamp) for place, stamp in enumerate(stamps) if stamp is not None]
    if not known or interval <= 0:
        raise Skip("no timestamps in it")
    place, stamp = known[0]
    times = np.rint(stamp + (np.arange(len(stamps)) - place) * interval).astype(np.int64)
    if any(abs(stamp - times[place]) > 16 * interval for place, stamp in known):
        raise Skip("timestamps are missing: remux it into MP4 or Matroska")
    return times


def _ordered(path: Media) -> bool:
    with open_media(path) as container:
        stream = picture_stream(container)
        open_decoder(stream)
        stamps = [frame.pts for frame in islice(decoded(container, stream), _TOLD_BY)]
    return all(earlier is not None and later is not None and later > earlier for earlier, later in pairwise(stamps))


def _first_stamp(path: Media) -> int:
    """The timestamp of the first frame that can be decoded. Raises Skip."""
    with open_media(path) as container:
        stream = picture_stream(container)
        open_decoder(stream)
        frame = next(decoded(container, stream), None)
    if frame is None or frame.pts is None:
        raise Skip("its frames can't be decoded")
    return frame.pts


def _expect_whole(
    stamps: np.ndarray, packets: _Packets, first: int, interval: float, base: Fraction, form: str
) -> None:
    """Raises Skip where packets are broken or lost in the middle, or where times start anew."""
    back = np.maximum.accumulate(stamps) - stamps > max(1 / float(base), 2 * _REORDERED * interval)
    if back.any():
        raise Skip("its timestamps start anew in the middle (recordings joined?): remux it into MP4 or Matroska")
    # The last packet of a recording that was stopped may be incomplete, and so may what precedes its first frame.
    broken = np.array(packets.corrupt) & (stamps > first)
    broken[-1] = False
    if form in _IN_ORDER:
        for hole in np.flatnonzero(np.array(packets.skipped) > _HOLE):
            around = np.sort(stamps[max(0, hole - _REORDERED) : hole + _REORDERED])
            broken[hole] |= bool((np.diff(around) > 1.9 * interval).any())
    if broken.any():
        raise Skip(f"damaged: data are missing at {_at(stamps, first, int(broken.argmax()), base)}")
    ordered = np.sort(stamps[stamps >= first])
    gaps = np.diff(ordered)[:-_REORDERED] > 1.9 * interval
    if form in _CONSTANT_RATE and gaps.any():
        raise Skip(f"damaged: frames are missing at {_at(ordered, first, int(gaps.argmax()), base)}")


def _at(stamps: np.ndarray, first: int, place: int, base: Fraction) -> str:
    return f"{float((int(stamps[place]) - first) * base):.2f} s"
