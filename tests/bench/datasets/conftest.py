"""Media made on the fly, and a cache folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torchvision.io import write_jpeg, write_png

Writer = Callable[..., Path]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> Writer:
    """`photos(n, folder=, size=)` writes n different JPEGs and returns the folder."""

    def write(n: int, *, folder: str = "photos", size: tuple[int, int] = (48, 64), first: int = 0) -> Path:
        root = tmp_path / folder
        root.mkdir(parents=True, exist_ok=True)
        for i in range(first, first + n):
            small = torch.randint(0, 256, (3, 6, 8), generator=torch.Generator().manual_seed(i)).float()[None]
            image = torch.nn.functional.interpolate(small, size, mode="bilinear")[0].to(torch.uint8)
            write_jpeg(image, str(root / f"{i}.jpg"))
        return root

    return write


def write_image(path: Path, image: torch.Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (write_png if path.suffix == ".png" else write_jpeg)(image, str(path))
    return path


def write_wav(path: Path, wave: np.ndarray, rate: int = 8000) -> Path:
    """`[C, N]` int16 to a WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = "stereo" if len(wave) == 2 else "mono"
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout=layout)
        container.start_encoding()
        for start in range(0, wave.shape[1], 1024):
            part = np.ascontiguousarray(wave[:, start : start + 1024].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
            frame.sample_rate = rate
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_video(
    path: Path, frames: np.ndarray, rate: int = 8, *, codec: str = "libx264", options: dict[str, str] | None = None
) -> Path:
    """`[T, H, W, 3]` uint8 to a video file, as near to lossless as the codec goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p" if codec == "libx264" else "bgr0"
        stream.time_base = Fraction(1, rate)
        stream.options = {"crf": "1", "g": "8", **(options or {})} if codec == "libx264" else {}
        for k, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
