from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentbench.bench.datasets import video_frames
from latentbench.bench.datasets.config import DataConfig
from latentbench.bench.datasets.videos import decode_video_file
from latentbench.tokenizers.spec import Modality

from .conftest import write_video


def decode(path: Path, **options: object) -> np.ndarray:
    config = DataConfig(source="folder", path="x", modality=Modality.VIDEO, **options)  # type: ignore[arg-type]
    return np.concatenate(list(decode_video_file(path, config, np.random.default_rng(0))))


def counting(frames: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Frame k is plain grey of level 4 k."""
    return np.broadcast_to((np.arange(frames) * 4).astype(np.uint8)[:, None, None, None], (frames, height, width, 3))


def levels(clips: np.ndarray) -> np.ndarray:
    """Which frame of `counting` each decoded frame is."""
    return np.rint(clips.astype(float).mean((1, 3, 4)) / 4).astype(int)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_every_frame_arrives(container: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"a.{container}", counting(32))
    clips = decode(path, frames=8, fps=8.0)
    assert clips.shape == (4, 3, 8, 32, 32)
    np.testing.assert_array_equal(levels(clips), np.arange(32).reshape(4, 8))


def test_lossless_pixels_are_the_same(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    clips = decode(write_video(tmp_path / "a.mkv", frames, codec="ffv1"), frames=8, fps=8.0)
    np.testing.assert_array_equal(clips[0], frames.transpose(3, 0, 1, 2))


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(4.0, [0, 2, 4, 6, 8, 10, 12, 14]), (16.0, [0, 0, 1, 1, 2, 2, 3, 3]), (12.0, [0, 0, 1, 2, 2, 3, 4, 4])],
)
def test_frame_rate_by_timestamps(fps: float, expected: list[int], tmp_path: Path) -> None:
    clips = decode(write_video(tmp_path / "a.mp4", counting(16)), frames=8, fps=fps)
    assert levels(clips)[0].tolist() == expected


def test_seeking_gives_what_rolling_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", counting(60), options={"g": "7"})
    options = {"frames": 3, "fps": 8.0, "per_file": 3, "crop": "tiles"}
    monkeypatch.setattr(video_frames, "_JUMP", 0.1)
    sought = decode(path, **options)
    monkeypatch.setattr(video_frames, "_JUMP", 1e9)
    assert np.array_equal(sought, decode(path, **options))
    assert levels(sought).tolist() == [[9, 10, 11], [30, 31, 32], [48, 49, 50]]


def test_centre_crop_and_size(tmp_path: Path) -> None:
    frames = np.zeros((8, 64, 128, 3), np.uint8)
    frames[:, :, 32:96] = 200
    clips = decode(write_video(tmp_path / "a.mkv", frames, codec="ffv1"), frames=8, fps=8.0)
    # The middle half of the width is the whole crop, but for the resampler's edge.
    assert clips.shape == (1, 3, 8, 32, 32)
    assert (clips[..., 2:-2] == 200).all()


def test_frames_that_are_no_squares(tmp_path: Path) -> None:
    """64 x 128 pixels as 16 x 32: the whole frame; as 32 x 16: the middle quarter of its width."""
    frames = np.zeros((8, 64, 128, 3), np.uint8)
    frames[:, :, 48:80] = 200
    path = write_video(tmp_path / "a.mkv", frames, codec="ffv1")
    wide = decode(path, frames=8, fps=8.0, size=[16, 32])
    assert wide.shape == (1, 3, 8, 16, 32)
    assert wide[0, 0, 0, 8].astype(float).mean() == pytest.approx(200 / 4, rel=0.03)
    high = decode(path, frames=8, fps=8.0, size=[32, 16])
    assert high.shape == (1, 3, 8, 32, 16)
    assert (high[..., 2:-2] == 200).all()


def test_random_clips_are_seeded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", counting(48, 32, 64))
    one = decode(path, frames=4, fps=8.0, per_file=3, crop="random")
    assert np.array_equal(one, decode(path, frames=4, fps=8.0, per_file=3, crop="random"))
    assert all(start % 4 == 0 for start in levels(one)[:, 0])


def test_rotation_is_applied(tmp_path: Path) -> None:
    frames = np.zeros((8, 32, 64, 3), np.uint8)
    frames[:, :, :32] = 200
    path = write_video(tmp_path / "a.mp4", frames)
    upright = bytes.fromhex("00010000 00000000 00000000 00000000 00010000")
    clockwise = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000")
    movie, track, rest = path.read_bytes().split(upright)
    path.write_bytes(movie + upright + track + clockwise + rest)
    clips = decode(path, frames=8, fps=8.0, size=16).astype(int)
    # Left has become top.
    assert np.abs(clips[..., :6, :] - 200).max() <= 12
    assert clips[..., -6:, :].max() <= 12
