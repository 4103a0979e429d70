"""What PyAV stumbles over is told as the file's fault, and a fault of this program's is not."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from latentbench.bench.datasets import open_dataset
from latentbench.bench.datasets.audio import decode_audio_file
from latentbench.bench.datasets.config import DataConfig
from latentbench.bench.datasets.libav import demuxed, frames_of
from latentbench.bench.datasets.source import Changed, Skip
from latentbench.bench.datasets.videos import decode_video_file, video_marks
from latentbench.tokenizers.spec import Modality

VIDEO = DataConfig(source="folder", path="x", modality=Modality.VIDEO, size=32, frames=2, fps=8.0, per_file=2)
SOUND = DataConfig(source="folder", path="x", modality=Modality.WAVEFORM, seconds=0.128, per_file=2)


def video(path: Path, codec: str, *, frames: int = 10, rate: int = 10, offset: int = 0, sound: bool = False) -> Path:
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", options={"output_ts_offset": str(offset)} if offset else {}) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height = stream.width = 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = {"preset": "ultrafast"} if codec == "libx264" else {}
        heard: Any = container.add_stream("mp2", rate=32000, layout="mono") if sound else None
        for k in range(frames):
            picture = np.full((64, 64, 3), 20 * k % 256, np.uint8)
            if offset or rate == 5:
                picture = noise.integers(0, 256, picture.shape, np.uint8)  # many bytes
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, rate)
            container.mux(stream.encode(frame))
            if heard is not None:
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
                samples.sample_rate, samples.pts = 32000, 1152 * k
                container.mux(heard.encode(samples))
        container.mux(stream.encode(None))
        if heard is not None:
            container.mux(heard.encode(None))
    return path


def sound(path: Path, codec: str) -> Path:
    wave = np.round(9000 * np.sin(np.arange(16000) / 7)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=16000, layout="mono")
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=16000)
        for start in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return path


def read(path: Path) -> int:
    """How many blocks the file gives."""
    if path.suffix in (".flac", ".m4a", ".mp3", ".ogg", ".wav"):
        return sum(1 for _ in decode_audio_file(path, SOUND, np.random.default_rng(0)))
    blocks = sum(1 for _ in decode_video_file(path, VIDEO, np.random.default_rng(0)))
    video_marks(path)
    return blocks


def renamed(path: Path, codec: bytes, other: bytes) -> Path:
    """The file with its codec named something that nobody decodes."""
    data = path.read_bytes()
    assert codec in data
    path.write_bytes(data.replace(codec, other))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "known", "unknown"),
    [
        ("a.mp4", "libx264", b"avc1\0\0\0\0", b"xyz9\0\0\0\0"),
        ("a.mkv", "libx264", b"V_MPEG4/ISO/AVC", b"V_XXXXX/YYY/ZZZ"),
        ("a.avi", "mjpeg", b"MJPG", b"QZQZ"),
        ("a.m4a", "alac", b"alac\0\0\0\0", b"xyz9\0\0\0\0"),
        ("a.wav", "pcm_s16le", struct.pack("<IHH", 16, 1, 1), struct.pack("<IHH", 16, 0x7777, 1)),
    ],
)
def test_codecs_that_nobody_knows(name: str, codec: str, known: bytes, unknown: bytes, tmp_path: Path) -> None:
    make = video if codec in ("libx264", "mjpeg") else sound
    path = make(tmp_path / name, codec)
    assert read(path)
    with pytest.raises(Skip, match=r"^unsupported or damaged: no decoder for its codec; convert it$"):
        read(renamed(path, known, unknown))
    assert video_marks(path) == ()


def test_a_set_with_such_a_file_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for k, name in enumerate(("a.mp4", "b.mp4", "c.mp4")):
        video(folder / name, "libx264", frames=10 + k)
    renamed(folder / "b.mp4", b"avc1\0\0\0\0", b"xyz9\0\0\0\0")
    config = DataConfig(source="folder", path=str(folder), modality=Modality.VIDEO, size=32, frames=2, fps=8.0)
    data = open_dataset(config, cache=tmp_path / "cache")
    assert [each["file"] for each in data.skipped] == ["b.mp4"]
    assert data.counts["used"] == 2


def counted(stream: bytes) -> bytes:
    """The transport stream with its packets counted anew, as one recording has them."""
    data, counts = bytearray(stream), {}
    for start in range(0, len(data), 188):
        pid = (data[start + 1] & 31) << 8 | data[start + 2]
        if data[start + 3] & 16:  # it has a payload
            counts[pid] = counts.get(pid, -1) + 1 & 15
        data[start + 3] = data[start + 3] & 240 | counts.get(pid, 0)
    return bytes(data)


def test_streams_that_turn_up_late(tmp_path: Path) -> None:
    """A broadcast with sound in its middle, which libav does not come to while it opens the file."""
    parts = [
        video(tmp_path / "a.ts", "libx264", frames=60, rate=5),
        video(tmp_path / "b.ts", "libx264", frames=20, rate=5, offset=12, sound=True),
        video(tmp_path / "c.ts", "libx264", frames=60, rate=5, offset=16),
    ]
    parts[0].write_bytes(counted(b"".join(part.read_bytes() for part in parts)))
    with av.open(str(parts[0])) as container:
        assert not container.streams.audio
    config = DataConfig(source="folder", path="x", modality=Modality.VIDEO, size=32, frames=8, fps=5.0, per_file=99)
    assert sum(1 for _ in decode_video_file(parts[0], config, np.random.default_rng(0))) == 17


class _Container:
    """Gives two packets, then raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def demux(self, *streams: Any) -> Iterator[str]:
        yield from ("first", "second")
        raise self._error


class _Packet:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def decode(self) -> list[Any]:
        raise self._error


def test_what_is_the_files_fault_and_what_is_ours() -> None:
    packets: Any = _Container(IndexError("list index out of range"))
    assert list(demuxed(packets)) == ["first", "second"]  # raised at the end, where all packets have been given
    packets = _Container(AttributeError("no attribute 'width'"))
    with pytest.raises(Skip, match=r"^damaged: its container can't be read$"):
        list(demuxed(packets))
    packets = _Container(av.error.InvalidDataError(1, "x"))
    with pytest.raises(av.error.InvalidDataError):
        list(demuxed(packets))
    broken: Any = _Packet(AttributeError("no attribute"))
    with pytest.raises(Skip, match=r"^damaged: its data can't be decoded$"):
        frames_of(broken)
    packets = _Container(RuntimeError("never come to"))
    with pytest.raises(AttributeError):  # noqa: PT012 - the loop's own fault is not the generator's
        for packet in demuxed(packets):
            packet.no_such_thing  # noqa: B018


def test_titles_in_other_encodings(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav", "pcm_s16le")
    data = path.read_bytes()
    title = b"INFOINAM" + struct.pack("<I", 6) + "Für E".encode("latin-1") + b"\0"
    data = data[:12] + b"LIST" + struct.pack("<I", len(title)) + title + data[12:]
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    with pytest.raises(UnicodeDecodeError):
        av.open(str(path))
    assert read(path)


FILES = {
    "a.mp4": "libx264", "a.mov": "mpeg4", "a.mkv": "libx264", "a.webm": "libvpx", "a.avi": "mjpeg", "a.flv": "flv1",
    "a.wmv": "wmv2", "a.ts": "libx264", "a.wav": "pcm_s16le", "a.flac": "flac", "a.mp3": "libmp3lame", "a.m4a": "aac",
    "a.ogg": "libopus",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_bytes_that_were_changed(name: str, tmp_path: Path) -> None:
    """A read ends in blocks or in a reason, whatever a few bytes say."""
    codec = FILES[name]
    path = (sound if name[2:] in ("flac", "m4a", "mp3", "ogg", "wav") else video)(tmp_path / name, codec)
    data = path.read_bytes()
    header = data.find(b"moov") - 8 if b"moov" in data else 0
    ends = set()
    for seed in range(30):
        generator, changed = np.random.default_rng(seed), bytearray(data)
        # Every other time in the header, where a byte says more.
        low, high = (header, min(header + 1500, len(data))) if seed % 2 else (0, len(data))
        for _ in range(int(generator.integers(1, 6))):
            changed[int(generator.integers(low, high))] = int(generator.integers(256))
        path.write_bytes(changed)
        with suppress(Skip, Changed):
            read(path)
            ends.add("read")
            continue
        ends.add("refused")
    assert ends
