from __future__ import annotations

import errno
from pathlib import Path

import av
import pytest
from PIL import Image

from latentbench.bench.datasets.complaints import by_reason, complaint, decoding, expect_pixels
from latentbench.bench.datasets.source import Changed, Skip


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("[[1;31m at 0x7f3a2b9c /build/jpeg.cpp:212\nTraceback"), "damaged: its data can't be decoded"),
        (av.error.InvalidDataError(1094995529, "Invalid data", "/home/me/a.mp4"), "damaged: its data can't be decoded"),
        (av.error.DecoderNotFoundError(1, "none"), "unsupported or damaged: no decoder"),
        (OSError("image file is truncated (3 bytes not processed)"), "cut short: the sound ends too early"),
        (EOFError(), "cut short: the sound ends too early"),
        (MemoryError(), "too large: this sound does not fit in memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "too large: this sound does not fit"),
        (Image.DecompressionBombError("..."), "too large: more than 200 million pixels"),
    ],
)
def test_nothing_of_the_library_reaches_a_user(error: Exception, reason: str) -> None:
    answer = complaint(error, "sound")
    assert isinstance(answer, Skip)
    assert str(answer).startswith(reason)
    assert len(str(answer).splitlines()) == 1
    assert not any(word in str(answer) for word in ("0x", "Traceback", "/", "[", "Error"))


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOENT, errno.EACCES, errno.ESTALE])
def test_the_systems_trouble_is_not_the_files(number: int) -> None:
    answer = complaint(OSError(number, "Some Trouble"), "image")
    assert isinstance(answer, Changed)
    assert str(answer) == "can't be read (some trouble)"


def test_faults_of_the_program_stay_visible(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    for fault in (TypeError("ours"), NotImplementedError("ours")):
        with pytest.raises(type(fault), match="ours"), decoding(tmp_path / "a", "image"):
            raise fault


def test_bounds_and_counts() -> None:
    expect_pixels(16_320, 12_240)
    with pytest.raises(Skip, match="too large: 20000 x 20000 pixels, more than 200 million"):
        expect_pixels(20_000, 20_000)
    reasons = ["too short: 1 s", "damaged: its data", "too short: 2 s", "no video in it"]
    assert by_reason(reasons) == {"too short": 2, "damaged": 1, "no video in it": 1}
