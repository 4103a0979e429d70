"""Frame numbers in the files that people have: every container, cut, joined, trimmed, mirrored and damaged ones."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from latentbench.bench.datasets.config import DataConfig
from latentbench.bench.datasets.source import Changed, Skip
from latentbench.bench.datasets.videos import decode_video_file
from latentbench.tokenizers.spec import Modality

_BARS = 8
_FRAMES = 120
Make = Callable[..., Path]
_ENCODED: dict[Any, bytes] = {}  # files that several tests read, each encoded once


def picture(number: int, side: int = 64) -> np.ndarray:
    """`[side, side, 3]` uint8: the bits of the number as eight upright bars."""
    bits = [215 if number >> bar & 1 else 40 for bar in range(_BARS)]
    return np.broadcast_to(np.repeat(np.uint8(bits), side // _BARS)[None, :, None], (side, side, 3)).copy()


def number(frame: np.ndarray) -> int:
    """The number of `[C, H, W]`."""
    bars = frame.astype(float).mean((0, 1)).reshape(_BARS, -1)[:, 2:-2].mean(1)
    return sum(int(level > 127) << bar for bar, level in enumerate(bars))


def clips(path: Path, *, fps: float = 25.0, crop: str = "tiles", per_file: int = 99) -> list[list[int]]:
    config = DataConfig(
        source="folder", path="x", modality=Modality.VIDEO, size=64, fps=fps, crop=crop, per_file=per_file
    )  # type: ignore[arg-type]
    blocks = list(decode_video_file(path, config, np.random.default_rng(0)))
    return [[number(clip[:, k]) for k in range(8)] for block in blocks for clip in block]


def runs(first: int, last: int) -> list[list[int]]:
    return [list(range(begin, begin + 8)) for begin in range(first, last - 7, 8)]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(
        name: str,
        *,
        codec: str = "libx264",
        frames: int = _FRAMES,
        rate: Fraction | int = 25,
        form: str | None = None,
        muxer: dict[str, str] | None = None,
        **options: str,
    ) -> Path:
        path = tmp_path / name
        key = (path.suffix, codec, frames, rate, form, str(muxer), str(sorted(options.items())))
        if key in _ENCODED:
            path.write_bytes(_ENCODED[key])
            return path
        with av.open(str(path), "w", format=form, options=muxer or {}) as container:
            stream = container.add_stream(codec, rate=rate)
            stream.height = stream.width = 64
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.options = {
                "bf": "2",
                "g": "24",
                **({"crf": "10", "preset": "veryfast"} if codec == "libx264" else {}),
            }
            stream.options = {**stream.options, **options}
            for k in range(frames):
                frame = av.VideoFrame.from_ndarray(picture(k), format="rgb24")
                frame.pts, frame.time_base = k, 1 / Fraction(rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        _ENCODED[key] = path.read_bytes()
        return path

    return write


# many groups of pictures in a clip, or one in the whole file; sixty are between them
@pytest.mark.parametrize("group", ["12", pytest.param("60", marks=pytest.mark.slow), "250"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.flv", "a.ts", "a.avi", "a.vob"])
def test_h264_in_every_container(name: str, group: str, make: Make) -> None:
    path = make(name, g=group)
    assert clips(path) == runs(0, _FRAMES)
    assert clips(path, crop="center", per_file=1) == [list(range(56, 64))]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mpg", "mpeg2video"),
        ("a.mpg", "mpeg1video"),
        ("a.ts", "mpeg2video"),
        ("a.avi", "mpeg4"),
        ("a.webm", "libvpx-vp9"),
        ("a.wmv", "wmv2"),
        ("a.mkv", "ffv1"),
        ("a.mxf", "mpeg2video"),
        ("a.m2ts", "mpeg2video"),
        ("a.3gp", "mpeg4"),
        ("a.y4m", "wrapped_avframe"),
    ],
)
def test_other_codecs(name: str, codec: str, make: Make) -> None:
    plain = codec in ("wmv2", "ffv1", "libvpx-vp9")
    path = make(name, codec=codec, **({"bf": "0"} if plain else {}), **({} if codec == "ffv1" else {"b": "2000000"}))
    assert clips(path) == runs(0, _FRAMES)
    assert clips(path, crop="center", per_file=1) == [list(range(56, 64))]


@pytest.mark.parametrize("rate", [24, Fraction(30000, 1001)])
@pytest.mark.parametrize("name", ["a.mkv", "a.flv", "a.ts"])
def test_rounded_clocks(name: str, rate: Fraction | int, make: Make) -> None:
    assert clips(make(name, rate=rate), fps=float(rate)) == runs(0, _FRAMES)


@pytest.mark.parametrize("options", [{"x264-params": "open-gop=1:bframes=3"}, {"x264-params": "intra-refresh=1"}])
@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_groups_that_are_not_closed(name: str, options: dict[str, str], make: Make) -> None:
    path = make(name, **options)
    assert clips(path) == runs(0, _FRAMES)
    assert clips(path, crop="center", per_file=1) == [list(range(56, 64))]


def trim(path: Path, skip: int, keep: int, rate: int = 25) -> Path:
    """The MP4's edit list moved: it starts `skip` frames later and lasts `keep` frames."""
    data = bytearray(path.read_bytes())
    edits, media, movie, track = (data.index(box) for box in (b"elst", b"mdhd", b"mvhd", b"tkhd"))
    clock, movie_clock = (struct.unpack(">I", data[box + 16 : box + 20])[0] for box in (media, movie))
    _, start, speed = struct.unpack(">IiI", data[edits + 12 : edits + 24])
    length = keep * movie_clock // rate
    data[edits + 12 : edits + 24] = struct.pack(">IiI", length, start + skip * clock // rate, speed)
    data[track + 24 : track + 28] = data[movie + 20 : movie + 24] = struct.pack(">I", length)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("skip", "keep"), [(20, 100), (20, 16), (0, 30), (24, 24), (50, 70)])
@pytest.mark.parametrize("reordered", ["0", "2"])
def test_edit_lists(skip: int, keep: int, reordered: str, make: Make) -> None:
    assert clips(trim(make("a.mp4", bf=reordered), skip, keep)) == runs(skip, skip + keep)


def test_recordings_that_begin_inside_a_group(make: Make) -> None:
    whole = make("a.ts")
    packets = whole.read_bytes()
    cut = len(packets) // 188 // 4
    whole.write_bytes(packets[: 3 * 188] + packets[cut * 188 :])
    numbers = clips(whole)
    assert numbers[0][0] > 0
    assert numbers == runs(numbers[0][0], _FRAMES)
    stream = make("b.mpg", codec="mpeg2video", g="12")
    data = stream.read_bytes()
    stream.write_bytes(data[data.index(b"\0\0\1\xba", len(data) // 4) :])
    numbers = clips(stream)
    assert numbers[0][0] > 0
    assert numbers == runs(numbers[0][0], _FRAMES)


def test_recordings_that_end_anywhere(make: Make) -> None:
    path = make("a.ts")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    numbers = clips(path)
    assert numbers == runs(0, len(numbers) * 8)
    assert 6 <= len(numbers) <= 11


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.flv", "a.ts"])
def test_frames_stay_as_long_as_they_are_shown(name: str, tmp_path: Path) -> None:
    times = [0, 1, 2, 3, 10, 11, 12, 13, 14, *range(30, 41)]
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height = stream.width = 64
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "10", "bf": "2"}
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(k), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    shown = [max(k for k, time in enumerate(times) if time <= now) for now in range(40)]
    assert [k for clip in clips(tmp_path / name) for k in clip][:40] == shown


def test_clocks_that_wrap(make: Make) -> None:
    # 33 bits at 90 kHz are 95443.7 s.
    assert clips(make("a.ts", muxer={"output_ts_offset": "95440"})) == runs(0, _FRAMES)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.flv", "a.avi"])
def test_damage_in_the_middle(name: str, make: Make) -> None:
    path = make(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 600] = bytes(600)
    path.write_bytes(data)
    with pytest.raises(Skip, match=r"^(damaged|cut short): "):
        clips(path)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.wmv", "wmv2"), ("a.mp4", "libx264"), ("a.flv", "libx264")],
)
def test_clocks_that_start_late(name: str, codec: str, make: Make) -> None:
    """Some containers state their last timestamp as their length."""
    options = {} if codec == "libx264" else {"bf": "0", "b": "2000000"}
    path = make(name, codec=codec, muxer={"output_ts_offset": "5"}, **options)
    with av.open(str(path)) as container:
        assert container.start_time == pytest.approx(5_000_000, abs=50_000)
    assert clips(path) == runs(0, _FRAMES)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(Skip, match=r"^(cut short|damaged): "):
        clips(path)


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4", "libx264"])
def test_avi_that_was_cut_short(codec: str, make: Make) -> None:
    """libav takes its length from the bytes that are there."""
    path = make("a.avi", codec=codec, g="12", **({} if codec == "libx264" else {"bf": "0", "b": "2000000"}))
    data = path.read_bytes()
    index = data.rindex(b"idx1")
    path.write_bytes(data[: index + 40])  # without the end of its index every frame is there
    assert clips(path) == runs(0, _FRAMES)
    path.write_bytes(data[: index * 6 // 10])
    with pytest.raises(Skip, match=r"^cut short: \d.\d\d of 4.80 s are there$"):
        clips(path)


def test_h265_shows_damage_by_picture_hashes(make: Make) -> None:
    """Without them nearly none: what FFmpeg decodes without a word is refused for its hash."""
    path = make("a.mp4", codec="libx265", frames=48, crf="10", **{"x265-params": "log-level=none:hash=1"})
    assert clips(path) == runs(0, 48)
    data = path.read_bytes()
    begin = data.index(b"mdat")
    size = int.from_bytes(data[begin - 4 : begin], "big")
    unseen = 0
    for part in range(3, 9):
        changed = bytearray(data)
        changed[begin + size * part // 12] ^= 4
        path.write_bytes(changed)
        with suppress(av.error.FFmpegError), av.open(str(path)) as container:
            unseen += sum(1 for _ in container.decode(video=0)) == 48
        with pytest.raises(Skip, match=r"^damaged: "):
            clips(path)
    assert unseen >= 3


def test_animated_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    frames = [Image.fromarray(picture(k)) for k in range(16)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, loop=0)
    assert clips(path) == runs(0, 16)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    try:
        numbers = clips(path)
    except Skip:
        return
    assert numbers == runs(0, 8 * len(numbers))  # it states no length


def test_joined_recordings_are_refused_in_words(make: Make) -> None:
    one, other = make("a.ts", muxer={"output_ts_offset": "50"}), make("b.ts")
    one.write_bytes(one.read_bytes() + other.read_bytes())
    with pytest.raises(Skip, match="its timestamps start anew in the middle"):
        clips(one)


MATRICES = {
    "mirrored": ((-1, 0, 0, 1), lambda a: a[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda a: a[::-1]),
    "half turn": ((-1, 0, 0, -1), lambda a: a[::-1, ::-1]),
    "clockwise": ((0, 1, -1, 0), lambda a: np.rot90(a, -1)),
    "counter-clockwise": ((0, -1, 1, 0), lambda a: np.rot90(a)),
    "transposed": ((0, 1, 1, 0), lambda a: a.T),
    "transverse": ((0, -1, -1, 0), lambda a: a[::-1, ::-1].T),
}


@pytest.mark.parametrize("how", MATRICES)
def test_display_matrices(how: str, tmp_path: Path) -> None:
    corner = np.zeros((64, 64), np.uint8)
    corner[:32, :16], corner[:16, 16:32] = 200, 100
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height = stream.width = 64
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "4"}
        for k in range(8):
            frame = av.VideoFrame.from_ndarray(np.repeat(corner[..., None], 3, 2), format="rgb24")
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (a, b, c, d), turned = MATRICES[how]
    upright = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    movie, track, rest = path.read_bytes().split(upright)
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(movie + upright + track + matrix + rest)
    config = DataConfig(source="folder", path="x", modality=Modality.VIDEO, size=64, fps=25.0, crop="center")
    (block,) = decode_video_file(path, config, np.random.default_rng(0))
    shown = block[0, 0, 0].astype(int)
    assert np.abs(shown - turned(corner).astype(int)).mean() < 4


def test_what_is_no_video(tmp_path: Path, make: Make) -> None:
    for name, content, reason in (("a.mp4", b"", "empty: "), ("b.mp4", b"x" * 5000, "damaged: ")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Skip, match=f"^{reason}"):
            clips(tmp_path / name)
    with pytest.raises(Skip, match=r"too short: 0.04 s"):
        clips(make("one.mkv", frames=1))
    with pytest.raises(Changed, match="can't be read"):
        clips(tmp_path / "away.mp4")
