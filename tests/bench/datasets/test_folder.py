from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from latentbench.bench.datasets import DataConfig, file_source, file_table, fingerprint, open_dataset
from latentbench.bench.datasets.cached import CachedDataset
from latentbench.results.errors import UserError
from latentbench.tokenizers.spec import Modality

from .conftest import write_image, write_video, write_wav

CPU = torch.device("cpu")
Photos = Callable[..., Path]


def config(path: Path, **options: object) -> DataConfig:
    return DataConfig(source="folder", path=str(path), **options)  # type: ignore[arg-type]


def everything(data: CachedDataset, split: str = "train") -> torch.Tensor:
    part = getattr(data, split)
    return part.batch(np.arange(len(part)), CPU)


def reasons(data: CachedDataset) -> dict[str, str]:
    return {entry["file"]: entry["reason"] for entry in data.skipped}


def test_fingerprint_is_of_the_content(photos: Photos, tmp_path: Path, cache: Path) -> None:
    root = photos(5)
    first = fingerprint(config(root), cache=cache)
    moved = root.rename(tmp_path / "elsewhere")
    assert fingerprint(config(moved), cache=cache) == first
    (moved / "0.jpg").rename(moved / "renamed.jpg")
    assert fingerprint(config(moved), cache=cache) == first
    assert fingerprint(config(moved, size=48), cache=cache) != first
    data = bytearray((moved / "1.jpg").read_bytes())
    data[-1] ^= 1
    (moved / "1.jpg").write_bytes(data)
    assert fingerprint(config(moved), cache=cache) != first


def test_moved_folder_is_not_decoded_again(photos: Photos, tmp_path: Path, cache: Path) -> None:
    root = photos(5)
    before = everything(open_dataset(config(root), cache=cache))
    moved = root.rename(tmp_path / "elsewhere")
    assert torch.equal(everything(open_dataset(config(moved), cache=cache)), before)
    assert len(list((cache / "datasets").glob("*/meta.json"))) == 1


def test_split_is_by_content_and_deterministic(photos: Photos, tmp_path: Path, cache: Path) -> None:
    root = photos(10)
    data = open_dataset(config(root, val=0.3), cache=cache)
    assert data.counts == {"files": 10, "used": 10, "skipped": 0, "duplicates": 0, "train": 7, "val": 3}
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for i in range(10):
        shutil.copy(root / f"{i}.jpg", shuffled / f"{9 - i}.jpg")
    again = open_dataset(config(shuffled, val=0.3), cache=tmp_path / "other")
    assert torch.equal(everything(data), everything(again))
    assert torch.equal(everything(data, "val"), everything(again, "val"))


def test_both_sides_are_there_from_two_files_on(photos: Photos, cache: Path) -> None:
    for n, expected in ((2, (1, 1)), (3, (2, 1))):
        data = open_dataset(config(photos(n, folder=f"p{n}")), cache=cache)
        assert (len(data.train), len(data.val)) == expected


def test_one_unusable_of_two_leaves_a_clear_line(photos: Photos, cache: Path) -> None:
    root = photos(1)
    (root / "broken.png").write_text("no picture")
    with pytest.raises(UserError, match="one usable file with one sample can't be split"):
        open_dataset(config(root), cache=cache)


def test_one_file_is_split_inside(photos: Photos, cache: Path) -> None:
    data = open_dataset(config(photos(1, size=(96, 96)), crop="tiles", val=0.2), cache=cache)
    assert (len(data.train), len(data.val)) == (7, 2)
    assert "one usable file" in data.notes[0]


def test_val_as_a_number_and_samples_as_a_cap(photos: Photos, cache: Path) -> None:
    root = photos(8, size=(64, 64))
    data = open_dataset(config(root, crop="tiles", val=5, samples=9), cache=cache)
    assert (len(data.val), len(data.train)) == (5, 9)
    # Eight files of four tiles; files 1 and 2 by rank validate, so the cap is reached in file 5.
    assert data.counts["used"] == 5
    huge = open_dataset(config(root, crop="tiles", val=1000), cache=cache)
    assert (len(huge.val), len(huge.train)) == (28, 4)


def test_splits_share_no_file(photos: Photos, cache: Path) -> None:
    data = open_dataset(config(photos(6, size=(64, 64)), crop="tiles", val=0.5), cache=cache)
    train, val = everything(data).flatten(1), everything(data, "val").flatten(1)
    assert torch.cdist(train, val).min() > 0


def test_duplicates_count_once(photos: Photos, cache: Path) -> None:
    root = photos(4)
    before = fingerprint(config(root), cache=cache)
    shutil.copy(root / "0.jpg", root / "copy.jpg")
    assert fingerprint(config(root), cache=cache) == before
    data = open_dataset(config(root), cache=cache)
    assert (data.counts["files"], data.counts["used"], data.counts["duplicates"]) == (5, 4, 1)


def test_labels_are_parent_folders(photos: Photos, cache: Path) -> None:
    photos(4, folder="pets/cat")
    root = photos(4, folder="pets/b/dog", first=4).parents[1]
    data = open_dataset(config(root, val=2), cache=cache)
    assert data.classes == ("cat", "dog")
    assert data.train.labels is not None
    assert data.val.labels is not None
    assert sorted([*data.train.labels, *data.val.labels]) == [0] * 4 + [1] * 4
    assert open_dataset(config(root, val=2, labels="none"), cache=cache).train.labels is None
    photos(1, folder="pets", first=8)
    assert open_dataset(config(root, val=2), cache=cache).classes == ()
    with pytest.raises(UserError, match=r"data\.labels: 'folder' needs every file"):
        open_dataset(config(root, val=2, labels="folder"), cache=cache)


def test_a_label_is_part_of_the_fingerprint(photos: Photos, cache: Path) -> None:
    photos(2, folder="pets/cat")
    root = photos(2, folder="pets/dog", first=2).parent
    before = fingerprint(config(root), cache=cache)
    (root / "dog").rename(root / "wolf")
    assert fingerprint(config(root), cache=cache) != before


def test_unusable_images_are_skipped_counted_and_named(photos: Photos, cache: Path) -> None:
    root = photos(4)
    whole = (root / "0.jpg").read_bytes()
    (root / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "text.png").write_text("no picture")
    (root / "empty.png").write_bytes(b"")
    write_image(root / "pixel.png", torch.zeros(3, 1, 1, dtype=torch.uint8))
    write_image(root / "thin.png", torch.zeros(3, 1, 500, dtype=torch.uint8))
    (root / "notes.txt").write_text("not looked at")
    data = open_dataset(config(root), cache=cache)
    skipped = reasons(data)
    assert set(skipped) == {"cut.jpg", "text.png", "empty.png", "pixel.png", "thin.png"}
    assert "cut short" in skipped["cut.jpg"]
    assert "empty" in skipped["empty.png"]
    assert "too small: 1 x 1 pixels" in skipped["pixel.png"]
    assert data.counts == {"files": 9, "used": 4, "skipped": 5, "duplicates": 0, "train": 3, "val": 1}
    assert data.notes == ("1 file of other kinds passed over: .txt",)
    assert not any("\n" in reason for reason in skipped.values())


def test_unusable_sounds(tmp_path: Path, cache: Path) -> None:
    root, wave = tmp_path / "sounds", np.random.default_rng(0).integers(-9000, 9000, (3, 8000)).astype(np.int16)
    for i in range(3):
        write_wav(root / f"{i}.wav", wave[i : i + 1])
    whole = (root / "0.wav").read_bytes()
    (root / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (root / "header.wav").write_bytes(whole[:20])
    write_wav(root / "nothing.wav", wave[:1, :0])
    write_wav(root / "short.wav", wave[:1, :500])
    (root / "text.wav").write_text("no sound")
    data = open_dataset(config(root, modality=Modality.WAVEFORM, seconds=0.128, sample_rate=8000), cache=cache)
    skipped = reasons(data)
    assert set(skipped) == {"cut.wav", "header.wav", "nothing.wav", "short.wav", "text.wav"}
    assert "cut short: 8039 of 16078 bytes" in skipped["cut.wav"]
    assert "too short: 0.062 s for segments of 0.128 s" in skipped["short.wav"]
    assert (data.counts["train"], data.counts["val"]) == (14, 7)


def test_unusable_videos(tmp_path: Path, cache: Path) -> None:
    root, rng = tmp_path / "clips", np.random.default_rng(0)
    for i in range(2):
        write_video(root / f"{i}.mp4", rng.integers(0, 256, (32, 32, 32, 3), dtype=np.uint8))
    whole = (root / "0.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "text.mp4").write_text("no video")
    (root / "empty.mp4").write_bytes(b"")
    write_video(root / "short.mp4", rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8))
    write_video(root / "small.mp4", rng.integers(0, 256, (16, 8, 8, 3), dtype=np.uint8))
    write_video(root / "whole.mkv", rng.integers(0, 256, (32, 32, 32, 3), dtype=np.uint8))
    half = (root / "whole.mkv").read_bytes()
    (root / "whole.mkv").unlink()
    (root / "cut.mkv").write_bytes(half[: len(half) // 2])
    data = open_dataset(config(root, modality=Modality.VIDEO), cache=cache)
    skipped = reasons(data)
    assert set(skipped) == {"cut.mp4", "cut.mkv", "text.mp4", "empty.mp4", "short.mp4", "small.mp4"}
    assert "cut short" in skipped["cut.mp4"]
    assert "cut short" in skipped["cut.mkv"]
    assert "too short: 0.62 s for clips of 1.00 s" in skipped["short.mp4"]
    assert "too small: 8 x 8" in skipped["small.mp4"]
    assert data.counts["used"] == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "no such folder"),
        (lambda root: root.mkdir(), r"is empty \(read are \.gif \.jpeg \.jpg \.png \.webp\)"),
        (
            lambda root: write_wav(root / "a.wav", np.zeros((1, 10), np.int16)),
            r"has no image files \(read are .*; 1 file of other kinds passed over: \.wav\)",
        ),
        (
            lambda root: (root.mkdir(), (root / "a.png").write_text("x")),
            r"none of the 1 image files .* can be used: 1 not image data",
        ),
    ],
)
def test_nothing_usable_is_said_before_anything_runs(
    make: Callable[[Path], object], message: str, tmp_path: Path, cache: Path
) -> None:
    make(tmp_path / "data")
    with pytest.raises(UserError, match=message):
        fingerprint(config(tmp_path / "data"), cache=cache)


def test_nothing_decodable_is_said_with_reasons(photos: Photos, cache: Path) -> None:
    root = photos(2)
    for file in root.iterdir():
        file.write_bytes(file.read_bytes()[:-60])
    fingerprint(config(root), cache=cache)
    with pytest.raises(UserError, match=r"none of the 2 image files in .* can be used: 2 cut short"):
        open_dataset(config(root), cache=cache)
    assert list((cache / "datasets").glob("*/meta.json")) == []


def test_large_files_stream_one_at_a_time(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = np.random.default_rng(0).integers(-9000, 9000, (2, 40000)).astype(np.int16)
    for i in range(2):
        write_wav(tmp_path / "sounds" / f"{i}.wav", wave[i : i + 1])
    options = config(
        tmp_path / "sounds", modality=Modality.WAVEFORM, seconds=0.01, sample_rate=8000, per_file=10000, val=0.5
    )
    ahead = open_dataset(options, cache=cache)
    monkeypatch.setattr(file_source, "_AHEAD_BYTES", 1)
    monkeypatch.setattr(file_source, "_ahead", lambda *_: pytest.fail("decoded ahead"))
    streamed = open_dataset(options, cache=tmp_path / "other")
    assert len(streamed.train) == 500
    assert torch.equal(everything(ahead), everything(streamed))


def test_a_remembered_hash_makes_the_second_start_fast(
    photos: Photos, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photos(3)
    monkeypatch.setattr(file_table, "_SETTLED_NS", -1_000_000_000)
    fingerprint(config(root), cache=cache)
    reads: list[str] = []
    index = next((cache / "hashes").iterdir())
    stamp = index.stat().st_mtime_ns
    start = time.perf_counter()
    fingerprint(config(root), cache=cache, progress=lambda done, total, message: reads.append(message))
    assert index.stat().st_mtime_ns == stamp
    assert time.perf_counter() - start < 5


def test_a_file_away_while_decoding_does_not_poison_the_cache(photos: Photos, cache: Path) -> None:
    root = photos(8)
    last = max(root.iterdir(), key=lambda file: hashlib.sha256(file.read_bytes()).hexdigest())
    content = last.read_bytes()

    def away(done: int, total: int, message: str) -> None:
        if message == "decoding":
            last.unlink(missing_ok=True)

    without = open_dataset(config(root), cache=cache, progress=away)
    assert without.counts["used"] == without.counts["files"] == 7
    last.write_bytes(content)
    again = open_dataset(config(root), cache=cache)
    assert (again.counts["used"], again.skipped) == (8, ())
    assert again.fingerprint != without.fingerprint


@pytest.mark.parametrize("back", [False, True])
def test_a_file_exchanged_while_decoding_is_decoded_anew(back: bool, photos: Photos, cache: Path) -> None:
    root, other = photos(4), next(photos(1, folder="other", first=9).iterdir()).read_bytes()
    last = max(root.iterdir(), key=lambda file: hashlib.sha256(file.read_bytes()).hexdigest())
    content, times = last.read_bytes(), last.stat()
    calls: list[str] = []

    def exchange(done: int, total: int, message: str) -> None:
        calls.append(message)
        if calls.count("decoding") == 1 and message == "decoding":
            last.write_bytes(other)
            if back:
                last.write_bytes(content)
            os.utime(last, ns=(times.st_atime_ns, times.st_mtime_ns))

    data = open_dataset(config(root), cache=cache, progress=exchange)
    assert data.fingerprint == fingerprint(config(root), cache=cache)
    fresh = open_dataset(config(root), cache=cache.parent / "fresh")
    assert torch.equal(everything(data), everything(fresh))


def test_files_that_never_rest_are_an_error(photos: Photos, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photos(4)
    decode = file_source.decoder(Modality.IMAGE)

    def written(path: Path, config: DataConfig, generator: np.random.Generator) -> Iterator[np.ndarray]:
        path.write_bytes(path.read_bytes())
        yield from decode(path, config, generator)

    monkeypatch.setattr(file_source, "decoder", lambda modality, resized: written)
    with pytest.raises(UserError, match=r"\d.jpg has changed while it was being decoded; run again"):
        open_dataset(config(root), cache=cache)
    assert not list(cache.glob("datasets/*/meta.json"))


def test_real_photographs(shared_data: Path, cache: Path) -> None:
    data = open_dataset(config(shared_data / "images" / "kodak", size=64, crop="tiles", per_file=8), cache=cache)
    assert data.counts == {"files": 16, "used": 16, "skipped": 0, "duplicates": 0, "train": 112, "val": 16}
    images = everything(data)
    assert images.shape == (112, 3, 64, 64)
    assert 0.2 < images.std() < 0.8


@pytest.mark.slow
def test_real_speech(shared_data: Path, cache: Path) -> None:
    path = shared_data / "audio" / "fsdd"
    data = open_dataset(config(path, modality=Modality.WAVEFORM, seconds=0.256, sample_rate=8000), cache=cache)
    assert data.counts["used"] == 325
    assert all(reason.startswith("too short") for reason in reasons(data).values())
    assert 0.01 < everything(data).std() < 0.3


@pytest.mark.slow
def test_real_video(shared_data: Path, cache: Path) -> None:
    options = config(shared_data / "video", modality=Modality.VIDEO, size=32, per_file=1, val=4, samples=12)
    data = open_dataset(options, cache=cache)
    assert data.counts["skipped"] == 0
    clips = everything(data)
    assert clips.shape == (12, 3, 8, 32, 32)
    # Neighbouring frames are alike, and not the same.
    change = (clips[:, :, 1:] - clips[:, :, :-1]).abs().mean()
    spread = (clips - clips.flip(0)).abs().mean()
    assert 0 < change < spread / 3
