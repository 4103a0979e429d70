from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from latentbench.bench.datasets.media import Member
from latentbench.bench.datasets.source import Skip
from latentbench.bench.datasets.stated_bytes import expect_asf_bytes, lacks_riff_bytes


def chunk(name: bytes, size: int, stated: int | None = None) -> bytes:
    return name + struct.pack("<I", size if stated is None else stated) + bytes(size)


@pytest.mark.parametrize(
    ("data", "lacking"),
    [
        (chunk(b"RIFF", 100), False),
        (chunk(b"RIFF", 100, 200), True),
        (chunk(b"RIFF", 99), False),  # without its pad byte
        (chunk(b"RIFF", 100) + chunk(b"RIFF", 50), False),
        (chunk(b"RIFF", 100) + chunk(b"RIFF", 50, 90), True),
        (chunk(b"RIFF", 99) + b"\0" + chunk(b"JUNK", 10) + chunk(b"RIFF", 50, 90), True),
        (chunk(b"RIFF", 100, 0), False),  # a recorder that could not go back
        (b"not one at all, and long enough", False),
        (b"", False),
    ],
)
def test_bytes_that_the_header_speaks_of(data: bytes, lacking: bool, tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(data)
    assert lacks_riff_bytes(tmp_path / "a.avi") is lacking
    assert lacks_riff_bytes(Member("a.avi", data)) is lacking


def test_asf_says_how_many_bytes_it_has(tmp_path: Path) -> None:
    path = tmp_path / "a.wma"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("wmav2", rate=16000, layout="mono")
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=16000)
        stream.bit_rate = 32000
        for start in range(0, 32000, 1024):
            wave = np.zeros((1, 1024), np.int16)
            frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    expect_asf_bytes(path)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(Skip, match=rf"^cut short: {len(data) // 2} of {len(data)} bytes are there$"):
        expect_asf_bytes(path)
    flags = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")) + 88
    broadcast = bytearray(data[: len(data) // 2])
    broadcast[flags] |= 1
    expect_asf_bytes(Member("a.wma", bytes(broadcast)))
    expect_asf_bytes(Member("a.wma", b"something else"))
