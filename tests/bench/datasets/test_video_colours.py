"""Colours of video files: HDR is refused, more bits are rounded, transparency is over white, fields are marked."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from latentbench.bench.datasets import open_dataset, video_timeline
from latentbench.bench.datasets.config import DataConfig
from latentbench.bench.datasets.source import Skip
from latentbench.bench.datasets.videos import OBLONG, decode_video_file, video_marks
from latentbench.tokenizers.spec import Modality

SIDE = 64


def gradient() -> np.ndarray:
    """`[64, 64, 3]` uint8, smooth."""
    row, column = np.mgrid[:SIDE, :SIDE]
    return np.stack([row * 3 + 20, column * 3 + 20, (row + column) // 2 + 40], -1).astype(np.uint8)


def write(
    path: Path,
    codec: str,
    form: str,
    *,
    source: np.ndarray,
    layout: str = "rgb24",
    frames: int = 8,
    ratio: Fraction | None = None,
    **options: Any,
) -> Path:
    """A video of one picture; `color_trc` and the like are set on the encoder, text options handed to it."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width = source.shape[:2]
        stream.pix_fmt = form
        if ratio is not None:
            stream.codec_context.sample_aspect_ratio = ratio
        for name in ("color_trc", "color_primaries", "colorspace"):
            if name in options:
                setattr(stream.codec_context, name, options.pop(name))
        stream.options = options
        for k in range(frames):
            frame = av.VideoFrame.from_ndarray(source, format=layout).reformat(format=form)
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def config(path: str = "x") -> DataConfig:
    return DataConfig(source="folder", path=path, modality=Modality.VIDEO, size=SIDE, fps=25.0, crop="center")


def shown(path: Path) -> np.ndarray:
    (block,) = decode_video_file(path, config(), np.random.default_rng(0))
    return block[0, :, 0].astype(int)


def last(path: Path) -> np.ndarray:
    """The last frame."""
    one = DataConfig(source="folder", path="x", modality=Modality.VIDEO, size=SIDE, frames=1, fps=25.0, per_file=99)
    *_, block = decode_video_file(path, one, np.random.default_rng(0))
    return block[0, :, 0].astype(int)


@pytest.mark.parametrize(("trc", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize(
    ("file", "codec", "form"),
    [
        ("a.mkv", "libx264", "yuv420p10le"),
        ("a.ts", "libx264", "yuv420p10le"),
        ("a.mp4", "libx265", "yuv420p10le"),
        ("a.mkv", "ffv1", "yuv420p10le"),
        ("a.mov", "prores_ks", "yuv422p10le"),  # whose container alone says so
    ],
)
def test_hdr_is_refused(file: str, codec: str, form: str, trc: int, name: str, tmp_path: Path) -> None:
    more: dict[str, Any] = {"color_primaries": 9, "colorspace": 9}
    more |= {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write(tmp_path / file, codec, form, source=gradient(), color_trc=trc, **more)
    with pytest.raises(Skip, match=rf"^HDR: its brightness is {name} \(.*\); convert it to SDR"):
        shown(path)


@pytest.mark.parametrize("form", ["yuv444p", "yuv444p10le", "yuv422p10le", "yuv444p12le", "gray10le"])
def test_more_bits_are_rounded(form: str, tmp_path: Path) -> None:
    expected = gradient().transpose(2, 0, 1).astype(int)
    frame = shown(write(tmp_path / "a.mkv", "ffv1", form, source=gradient()))
    if form.startswith("gray"):
        grey = expected[0] * 0.299 + expected[1] * 0.587 + expected[2] * 0.114
        assert np.abs(frame - grey).max() < 4
    else:
        assert np.abs(frame - expected).max() < 6


def test_transparent_parts_are_over_white(tmp_path: Path) -> None:
    rgba = np.concatenate([gradient(), np.zeros((SIDE, SIDE, 1), np.uint8)], -1)
    rgba[:, 32:, 3] = 255
    rgba[:, 16:32, 3] = 128
    frame = shown(write(tmp_path / "a.mkv", "ffv1", "bgra", source=rgba, layout="rgba"))
    assert (frame[:, :, :16] == 255).all()
    assert np.abs(frame[:, :, 32:] - gradient().transpose(2, 0, 1)[:, :, 32:]).max() < 2
    half = (gradient().transpose(2, 0, 1)[:, :, 16:32].astype(float) * 128 + 255 * 127) / 255
    assert np.abs(frame[:, :, 16:32] - half).max() <= 1


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparent_webm_is_over_white(codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's own decoders of VP8 and VP9 pass its transparency over."""
    rgba = np.concatenate([gradient(), np.full((SIDE, SIDE, 1), 255, np.uint8)], -1)
    rgba[:, 32:, 3] = 0
    options = {"b": "2000000", "auto-alt-ref": "0", "deadline": "realtime", "cpu-used": "8"}
    path = write(tmp_path / "a.webm", codec, "yuva420p", source=rgba, layout="rgba", **options)
    for frame in (shown(path), last(path)):
        assert (frame[:, :, 36:] > 250).all()
        assert np.abs(frame[:, :, :28] - gradient().transpose(2, 0, 1)[:, :, :28]).mean() < 8
    monkeypatch.setattr(video_timeline, "_ALPHA_DECODERS", {"vp8": "nobodys", "vp9": "nobodys"})
    with pytest.raises(Skip, match=r"^transparent: there is no nobodys here"):
        shown(path)
    opaque = write(tmp_path / "b.webm", codec, "yuv420p", source=gradient(), **options)
    assert np.abs(shown(opaque) - gradient().transpose(2, 0, 1)).mean() < 8


def test_pixels_that_are_no_squares_are_marked(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for k, name in enumerate(("a.mp4", "b.mkv")):
        write(folder / name, "libx264", "yuv420p", source=gradient()[k:][::-1][: SIDE - 2], ratio=Fraction(2, 1))
    write(folder / "c.mp4", "libx264", "yuv420p", source=gradient())
    assert video_marks(folder / "a.mp4") == (OBLONG,)
    assert video_marks(folder / "c.mp4") == ()
    data = open_dataset(config(str(folder)), cache=tmp_path / "cache")
    (note,) = (note for note in data.notes if "squares" in note)
    assert note.startswith("2 files are of pixels that are no squares, and taken as squares: ")
    assert {"a.mp4", "b.mkv"} == set(note.partition(": ")[2].split(", "))


def test_interlaced_files_are_marked(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    fields = write(folder / "a.mkv", "libx264", "yuv420p", source=gradient(), **{"x264-params": "interlaced=1:tff=1"})
    other = write(folder / "b.mkv", "libx264", "yuv420p", source=gradient()[::-1].copy())
    old = write(folder / "c.mpg", "mpeg2video", "yuv420p", source=gradient()[:, ::-1].copy(), flags="+ildct+ilme")
    assert [video_marks(path) for path in (fields, other, old)] == [("interlaced",), (), ("interlaced",)]
    (folder / "d.mkv").write_bytes(b"no video")
    assert video_marks(folder / "d.mkv") == ()
    data = open_dataset(config(str(folder)), cache=tmp_path / "cache")
    assert data.counts["used"] == 3
    (note,) = (note for note in data.notes if "interlaced" in note)
    assert note in ("2 files are interlaced: a.mkv, c.mpg", "2 files are interlaced: c.mpg, a.mkv")


def test_only_clips_of_files_have_moved() -> None:
    assert config().version == 2
    assert DataConfig(modality=Modality.VIDEO).version == 1
    assert DataConfig(source="folder", path="x", modality=Modality.IMAGE).version == 1


@pytest.mark.parametrize("matrix", [("ITU709", 1), ("ITU601", 5)])
@pytest.mark.parametrize("span", [("MPEG", 1), ("JPEG", 2)])
def test_the_matrix_and_range_that_a_file_states(
    matrix: tuple[str, int], span: tuple[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.height = stream.width = SIDE
        stream.pix_fmt = "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix[1], span[1]
        for k in range(8):
            frame = av.VideoFrame.from_ndarray(gradient(), format="rgb24")
            frame = frame.reformat(format="yuv444p", dst_colorspace=matrix[0], dst_color_range=span[0])
            frame.colorspace, frame.color_range, frame.pts = matrix[1], span[1], k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.abs(shown(path) - gradient().transpose(2, 0, 1).astype(int)).max() < 4


def test_frames_that_keep_their_size_have_the_pixels_of_libswscale(tmp_path: Path) -> None:
    """They are taken plane by plane: the same as interleaved."""
    path = write(tmp_path / "a.mkv", "libx264", "yuv420p", source=gradient(), crf="20")
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert np.array_equal(shown(path), frame.to_ndarray(format="rgb24").transpose(2, 0, 1))
    smaller = DataConfig(
        source="folder", path="x", modality=Modality.VIDEO, size=32, fps=25.0, resize="none", crop="center"
    )
    (block,) = decode_video_file(path, smaller, np.random.default_rng(0))
    assert np.array_equal(block[0, :, 0], shown(path)[:, 16:48, 16:48])
