from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from latentbench.bench.datasets import DataConfig, fingerprint, open_dataset
from latentbench.results.errors import UserError
from latentbench.tokenizers.spec import Modality

CPU = torch.device("cpu")


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, np.ndarray]]:
    """A root with a CIFAR-10 of twelve training and six test images, and its pixels and labels."""
    folder = tmp_path / "root" / CIFAR10.base_folder
    folder.mkdir(parents=True)
    rng, contents = np.random.default_rng(0), {}

    def write(name: str, content: dict[str, object]) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(name: str, n: int) -> list[str]:
        contents[name] = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
        contents[f"{name}_labels"] = rng.integers(0, 10, n)
        return write(name, {"data": contents[name], "labels": contents[f"{name}_labels"].tolist()})

    monkeypatch.setattr(CIFAR10, "train_list", [batch("data_batch_1", 12)])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch", 6)])
    filename, digest = write("batches.meta", {"label_names": [f"class{i}" for i in range(10)]})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": filename, "key": "label_names", "md5": digest})
    return folder.parent, contents


def config(root: Path, source: str = "torchvision:CIFAR10", **options: object) -> DataConfig:
    return DataConfig(source=source, path=str(root), **options)  # type: ignore[arg-type]


def test_own_splits_labels_and_classes(cifar: tuple[Path, dict[str, np.ndarray]], cache: Path) -> None:
    root, contents = cifar
    data = open_dataset(config(root), cache=cache)
    assert (len(data.train), len(data.val)) == (12, 6)
    assert data.classes == tuple(f"class{i}" for i in range(10))
    assert data.val.labels is not None
    assert data.val.labels.tolist() == contents["test_batch_labels"].tolist()
    expected = torch.from_numpy(contents["data_batch_1"].reshape(-1, 3, 32, 32)).float() / 127.5 - 1
    torch.testing.assert_close(data.train.batch(np.arange(12), CPU), expected)


def test_caps(cifar: tuple[Path, dict[str, np.ndarray]], cache: Path) -> None:
    data = open_dataset(config(cifar[0], samples=5, val=2, size=16), cache=cache)
    assert (len(data.train), len(data.val)) == (5, 2)
    assert len(open_dataset(config(cifar[0], val=0.5), cache=cache).val) == 3


def test_fingerprint_ignores_other_data_in_the_root(cifar: tuple[Path, dict[str, np.ndarray]], cache: Path) -> None:
    root = cifar[0]
    before = fingerprint(config(root), cache=cache)
    (root / "other.bin").write_bytes(b"x")
    assert fingerprint(config(root), cache=cache) == before
    with (root / CIFAR10.base_folder / "test_batch").open("ab") as file:
        file.write(b"x")
    assert fingerprint(config(root), cache=cache) != before


def test_absent_data_say_what_to_do(tmp_path: Path, cache: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            UserError, match=r"CIFAR10 is not there .*torchvision\.datasets\.CIFAR10\(.*download=True\)"
        ):
            fingerprint(config(root), cache=cache)
    (tmp_path / CIFAR10.base_folder).mkdir()
    (tmp_path / CIFAR10.base_folder / "data_batch_1").write_bytes(b"x")
    with pytest.raises(UserError, match="CIFAR10 is not there"):
        open_dataset(config(tmp_path), cache=cache)


def test_unknown_class_and_wrong_modality(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=r"unknown torchvision data set 'CIFAR11'; did you mean 'CIFAR10"):
        fingerprint(config(tmp_path, "torchvision:CIFAR11"), cache=cache)
    with pytest.raises(UserError, match="gives images"):
        fingerprint(config(tmp_path, "torchvision:UCF101", modality=Modality.VIDEO), cache=cache)


def test_a_set_without_splits_is_shuffled_and_divided(tmp_path: Path, cache: Path) -> None:
    from torchvision.io import write_png

    for i in range(10):
        folder = tmp_path / "images" / f"class{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        write_png(torch.full((3, 32, 32), i * 20, dtype=torch.uint8), str(folder / f"{i}.png"))
    data = open_dataset(config(tmp_path / "images", "torchvision:ImageFolder", val=3), cache=cache)
    assert (len(data.train), len(data.val)) == (7, 3)
    assert data.classes == ("class0", "class1")
    assert data.train.labels is not None
    levels = data.train.batch(np.arange(7), CPU)[:, 0, 0, 0]
    expected = (torch.round((levels + 1) * 127.5 / 20).long() % 2).tolist()
    assert data.train.labels.tolist() == expected


def test_sets_that_unpickle_unchecked_files_are_refused(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "_cache_x").write_bytes(b"cos\nsystem\n(S'exit'\ntR.")
    with pytest.raises(UserError, match=r"data\.source: LSUN unpickles an unchecked file.*use source 'folder'"):
        open_dataset(config(tmp_path, "torchvision:LSUN"), cache=cache)
