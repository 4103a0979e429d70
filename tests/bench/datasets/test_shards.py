"""Archives give the numbers of the folder of the same files, whoever wrote them."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
import wave
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
import webdataset

from latentbench.bench.datasets import DataConfig, file_table, fingerprint, open_dataset, parquet
from latentbench.bench.datasets.labels import class_count
from latentbench.bench.kinds.data import Data
from latentbench.results.errors import UserError
from latentbench.tokenizers.spec import Modality

from .conftest import write_video

Files = dict[str, bytes]


@pytest.fixture
def pictures(photos: Callable[..., Path]) -> Files:
    """Nine pictures of two classes by name, one of them twice, one too small and one damaged."""
    root = photos(9)
    small = photos(1, folder="small", size=(9, 9), first=20)
    files = {f"{'ab'[i % 2]}/{i}.jpg": (root / f"{i}.jpg").read_bytes() for i in range(9)}
    files |= {"a/copy.jpg": files["a/0.jpg"], "b/small.jpg": (small / "20.jpg").read_bytes()}
    return {**files, "a/damaged.jpg": files["a/2.jpg"][:300]}


def write_folder(root: Path, files: Files) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_shards(root: Path, files: Files, *, shards: int = 3) -> Path:
    """By the webdataset package, classes as `.cls`."""
    root.mkdir()
    for shard in range(shards):
        with webdataset.TarWriter(str(root / f"train-{shard:03d}.tar")) as writer:
            for name in sorted(files)[shard::shards]:
                key, _, ending = name.replace("/", "-").partition(".")
                writer.write({"__key__": key, ending: files[name], "cls": name[0].encode()})
    return root / f"train-{{000..{shards - 1:03d}}}.tar"


def write_tables(root: Path, files: Files, *, column: str = "image", groups: int = 2) -> Path:
    """As Hugging Face's `datasets` lays them out: structs of bytes and path, a number with a name as label."""
    root.mkdir()
    features = {column: {"_type": "Image"}, "label": {"names": ["a", "b"], "_type": "ClassLabel"}}
    schema = pyarrow.schema(
        [
            (column, pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
            ("label", pyarrow.int64()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    for shard in range(2):
        names = sorted(files)[shard::2]
        rows = [{column: {"bytes": files[n], "path": Path(n).name}, "label": "ab".index(n[0])} for n in names]
        table = pyarrow.Table.from_pylist(rows, schema=schema)
        pyarrow.parquet.write_table(table, root / f"train-{shard:05d}-of-00002.parquet", row_group_size=groups)
    return root / "*.parquet"


def config(source: str, path: Path, **options: Any) -> DataConfig:
    return DataConfig(**{"source": source, "path": str(path), "size": 24, "val": 0.3, **options})


def facts(data: Any) -> tuple[Any, ...]:
    reasons = sorted(item["reason"] for item in data.skipped)
    return data.counts, data.classes, data.fingerprint, reasons, data.notes


def assert_equal(one: Any, other: Any) -> None:
    assert facts(one) == facts(other)
    for split in ("train", "val"):
        a, b = getattr(one, split), getattr(other, split)
        rows = np.arange(len(a))
        assert torch.equal(a.batch(rows, torch.device("cpu")), b.batch(rows, torch.device("cpu")))
        assert (a.labels is None) == (b.labels is None)
        assert a.labels is None or (a.labels == b.labels).all()


@pytest.mark.parametrize("options", [{}, {"crop": "random", "per_file": 3, "labels": "none"}])
def test_pictures_equal_the_folder(options: dict[str, Any], pictures: Files, tmp_path: Path) -> None:
    paths = {
        "folder": write_folder(tmp_path / "files", pictures),
        "webdataset": write_shards(tmp_path / "shards", pictures),
        "parquet": write_tables(tmp_path / "tables", pictures),
    }
    folder, *others = (
        open_dataset(config(source, path, **options), cache=tmp_path / source) for source, path in paths.items()
    )
    assert (folder.counts["files"], folder.counts["used"], folder.counts["duplicates"]) == (12, 9, 1)
    assert folder.classes == (("a", "b") if not options else ())
    for other in others:
        assert_equal(folder, other)


def test_sounds_and_videos_equal_the_folder(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sounds, videos = {}, {}
    for i in range(3):
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, 8000, 0, "NONE", ""))
            writer.writeframes((random.standard_normal(8000) * 3000).astype("<i2").tobytes())
        sounds[f"{'ab'[i % 2]}/{i}.wav"] = file.getvalue()
        clip = write_video(tmp_path / "clip.mp4", random.integers(0, 255, (16, 32, 32, 3)).astype(np.uint8))
        videos[f"{'ab'[i % 2]}/{i}.mp4"] = clip.read_bytes()
    sound = {"modality": Modality.WAVEFORM, "sample_rate": 8000, "seconds": 0.25}
    film = {"modality": Modality.VIDEO, "size": 16, "frames": 4}
    for kind, files, options in (("audio", sounds, sound), ("video", videos, film)):
        folder = open_dataset(
            config("folder", write_folder(tmp_path / kind, files), **options), cache=tmp_path / f"{kind}0"
        )
        assert folder.counts["used"] == 3
        shards = write_shards(tmp_path / f"{kind}-shards", files)
        assert_equal(folder, open_dataset(config("webdataset", shards, **options), cache=tmp_path / f"{kind}1"))
        tables = write_tables(tmp_path / f"{kind}-tables", files, column=kind)
        assert_equal(folder, open_dataset(config("parquet", tables, **options), cache=tmp_path / f"{kind}2"))


def test_a_tar_of_a_folder_has_its_classes_and_is_found_in_the_cache(pictures: Files, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "files", pictures)
    with tarfile.open(tmp_path / "all.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(root, arcname=".")
    folder = open_dataset(config("folder", root), cache=tmp_path / "cache")
    shards = config("webdataset", tmp_path / "all.tar")
    assert_equal(folder, open_dataset(shards, cache=tmp_path / "cache"))
    assert len(list((tmp_path / "cache" / "datasets").glob("*/samples.bin"))) == 1
    assert class_count(shards) is None
    assert Data().name == "data"


def test_archives_are_read_once_and_anew_when_they_change(
    pictures: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_table, "_SETTLED_NS", -1_000_000_000)
    shards, cache = config("webdataset", write_shards(tmp_path / "shards", pictures)), tmp_path / "cache"
    before = fingerprint(shards, cache=cache)
    (index,) = (cache / "hashes").iterdir()
    stamp = index.stat().st_mtime_ns
    assert fingerprint(shards, cache=cache) == before
    assert index.stat().st_mtime_ns == stamp
    with webdataset.TarWriter(str(tmp_path / "shards" / "train-001.tar")) as writer:
        writer.write({"__key__": "new", "jpg": pictures["a/0.jpg"], "cls": b"b"})
    assert fingerprint(shards, cache=cache) != before
    with closing(sqlite3.connect(index)) as table:
        assert table.execute("SELECT count(*) FROM archives").fetchone() == (3,)


def test_an_archive_cut_short_loses_what_it_lost(pictures: Files, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", pictures, shards=1)
    path = tmp_path / "shards" / "train-000.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    data = open_dataset(config("webdataset", path), cache=tmp_path / "cache")
    assert any(item["reason"].startswith("cut short: the archive") for item in data.skipped)
    assert 3 <= data.counts["used"] < 9


def test_rows_without_bytes_are_skipped_and_groups_are_bounded(
    pictures: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_MOST_BYTES", 1)
    rows = [{"image": {"bytes": data, "path": name}} for name, data in pictures.items()]
    rows.append({"image": {"bytes": None, "path": "elsewhere.jpg"}})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=4)
    data = open_dataset(config("parquet", tmp_path), cache=tmp_path / "cache")
    assert (data.counts["used"], data.classes) == (9, ())
    assert "empty: the row has a path and no bytes" in [item["reason"] for item in data.skipped]
    assert len(parquet._groups._groups) == 1


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        ("webdataset", "train-{000..003}.tar", r"names .*train-003.tar, which is not there"),
        ("webdataset", "tran-000.tar", r"no file fits .*; did you mean '.*train-000.tar'\?"),
        ("webdataset", "nowhere/*.tar", "no such folder: .*nowhere"),
        ("webdataset", "packed.tar", "packed.tar can't be read as a tar archive: it is compressed"),
        ("webdataset", "text.tar", "text.tar can't be read as a tar archive"),
        ("webdataset", "train-{0..9999999}.tar", "are more than 1000000 archives"),
        ("parquet", "text.tar", "text.tar can't be read as Parquet"),
        ("parquet", "numbers.parquet", "has no column with the bytes of files .*; its columns: n"),
    ],
)
def test_what_is_wrong_is_one_line(source: str, path: str, message: str, pictures: Files, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    write_shards(root, pictures)
    with tarfile.open(root / "packed.tar", "w:gz") as archive:
        archive.add(root / "train-000.tar", arcname="x.jpg")
    (root / "text.tar").write_text("no archive " * 100)
    pyarrow.parquet.write_table(pyarrow.table({"n": [1, 2]}), root / "numbers.parquet")
    with pytest.raises(UserError, match=message) as error:
        fingerprint(config(source, root / path), cache=tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_names_of_archives_become_a_label() -> None:
    labels = {"x/train-{000..019}.tar": "train", "photos/*.parquet": "photos", "photos": "photos"}
    for path, label in labels.items():
        assert DataConfig(source="webdataset", path=path).label == f"{label}-image-32"
