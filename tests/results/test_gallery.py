"""Pictures of what runs made, read back pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from torchvision.io import decode_image

from latentbench.results.errors import UserError
from latentbench.results.gallery import gallery, png, sheet, spectrogram
from latentbench.results.record import Record
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]


def keep(store: Store, kind: str, key: str, file: str, **tensors: np.ndarray) -> str:
    """Save a finished job that has kept `tensors` in `file`; its id."""
    folder = store.job_folder(kind, key)
    folder.mkdir(parents=True)
    save_file({name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}, folder / file)
    artifacts = {file: (folder / file).stat().st_size}
    store.save(Record(kind=kind, key=key, status="finished", artifacts=artifacts))
    return f"{kind}/{key}"


def plain(count: int, value: float, *shape: int) -> np.ndarray:
    return np.full((count, *shape), value)


@pytest.fixture
def run(tmp_path: Path, add: Add) -> Path:
    """An image cell with pairs and samples, a clip and a spectrogram with samples, a waveform, and one without."""
    store = Store(tmp_path / "out")
    image = add(store, "image", metrics=[])
    pairs = {"true": plain(2, 1.0, 3, 64, 64), "reconstructed": plain(2, 0.0, 3, 64, 64)}
    image["jobs"]["reconstruction"] = keep(store, "reconstruction", "pairs", "pairs.safetensors", **pairs)
    samples = plain(3, -1.0, 3, 64, 64)
    image["jobs"]["generation"] = keep(store, "generation", "image", "samples.safetensors", samples=samples)
    clip = add(store, "clip", metrics=[], dataset="clips", modality="video")
    ramp = np.linspace(-1, 1, 4).reshape(1, 1, 4, 1, 1) * np.ones((2, 3, 4, 32, 32))
    clip["jobs"]["generation"] = keep(store, "generation", "clip", "samples.safetensors", samples=ramp)
    mel = add(store, "mel", metrics=[], dataset="mels", modality="spectrogram")
    low = np.concatenate([plain(1, 1.0, 1, 32, 64), plain(1, -1.0, 1, 32, 64)], axis=2)  # loud low frequencies
    mel["jobs"]["generation"] = keep(store, "generation", "mel", "samples.safetensors", samples=low)
    sound = add(store, "sound", metrics=[], dataset="sounds", modality="waveform")
    wave = plain(1, 0.5, 1, 256)
    sound["jobs"]["generation"] = keep(store, "generation", "sound", "samples.safetensors", samples=wave)
    store.write_suite("demo", [image, clip, mel, sound, add(store, "bare", metrics=[])])
    return store.root


def pixels(path: Path) -> np.ndarray:
    return decode_image(str(path)).permute(1, 2, 0).numpy()


def test_a_picture_per_cell_that_has_one_and_a_page_of_them(run: Path, tmp_path: Path) -> None:
    files = gallery([run], out=tmp_path / "gallery")
    names = [f"demo_{name}-0.png" for name in ("image", "clip", "mel", "sound")]
    assert [path.name for path in files] == [*names, "index.html"]
    page = files[-1].read_text()
    assert all(f'src="{name}"' in page for name in names)
    assert "true, reconstructed, samples" in page
    assert [path.name for path in gallery([run], out=tmp_path / "clips", where="modality=video")][:-1] == names[1:2]


def test_true_above_reconstructed_above_sampled(run: Path, tmp_path: Path) -> None:
    picture = pixels(gallery([run], out=tmp_path / "gallery")[0])
    tile, gap, paper = 64, 2, 255
    assert picture.shape == (3 * (tile + gap) + 2 * (3 * gap + gap), 3 * (tile + gap), 3)
    rows = [0, tile + gap + 4 * gap, 2 * (tile + gap + 4 * gap)]
    for top, value, count in zip(rows, (255, 128, 0), (2, 2, 3), strict=True):
        for i in range(3):
            block = picture[top : top + tile, i * (tile + gap) : i * (tile + gap) + tile]
            assert (block == (value if i < count else paper)).all()


def test_frames_of_a_clip_side_by_side_and_small_ones_magnified(run: Path, tmp_path: Path) -> None:
    picture = pixels(gallery([run], out=tmp_path / "gallery")[1])
    assert picture.shape == (2 * 66, 4 * 66, 3)  # frames of 32 pixels at twice their size
    assert [int(picture[10, 66 * t + 10, 0]) for t in range(4)] == [0, 85, 170, 255]


def test_low_frequencies_stand_at_the_bottom(run: Path, tmp_path: Path) -> None:
    picture = pixels(gallery([run], out=tmp_path / "gallery")[2])
    assert picture.shape == (66, 66, 3)
    assert (picture[5, 5] == 0).all()
    assert (picture[60, 5] == 255).all()


def test_a_sound_is_shown_as_its_spectrogram(run: Path, tmp_path: Path) -> None:
    picture = pixels(gallery([run], out=tmp_path / "gallery")[3])
    assert (picture[-5, 1:60] > 240).all()  # a constant of 0.5: all its power at frequency 0, in the lowest of 32 rows
    assert (picture[: len(picture) - 30, 1:60] == 0).all()


@pytest.mark.parametrize(("bin_", "level"), [(5, 1.0), (20, 0.1)])
def test_a_sine_lies_in_its_own_row_at_its_own_level(bin_: int, level: float) -> None:
    """Windows of 64 samples: a sine of k cycles a window is in row k, 0 dB at full scale, and two rows away black."""
    sine = level * np.sin(2 * np.pi * bin_ * np.arange(1024) / 64)
    silent = np.zeros(1024)
    picture = spectrogram(np.stack([[sine, sine], [silent, silent]]))
    assert picture.shape == (2, 1, 32, 61)
    expected = 1 + 20 * np.log10(level) / 40
    np.testing.assert_allclose(picture[0, 0, bin_], expected, atol=1e-3)
    assert (picture[0, 0, [bin_ - 3, bin_ + 3]] < -0.9).all()
    assert (picture[1] == -1).all()
    assert spectrogram(np.zeros((1, 1, 3))).shape == (1, 1, 2, 1)  # shorter than a window: padded


def test_many_tiles_go_on_in_the_next_row() -> None:
    assert sheet([plain(17, 0.0, 1, 64, 64)]).shape == (2 * 66, 16 * 66, 3)


def test_png_holds_the_pixels(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(png(picture))
    assert np.array_equal(pixels(tmp_path / "a.png"), picture)


def test_a_damaged_artifact_is_one_line(run: Path, tmp_path: Path) -> None:
    path = run / "jobs" / "generation" / "image" / "samples.safetensors"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(UserError, match=r"samples\.safetensors: cannot be read: ") as caught:
        gallery([run], out=tmp_path / "gallery")
    assert "\n" not in str(caught.value)


def test_a_file_that_only_its_owner_may_read(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:  # root may read whatever its mode is
        if path.suffix == ".safetensors":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"\.safetensors: you may not read it; its owner's `chmod g\+r` lets you$"):
        gallery([run], out=tmp_path / "gallery")


def test_a_run_without_pictures(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no cell has a picture: .* with generation.keep or reconstruction.keep"):
        gallery([folder], out=tmp_path / "gallery")
