"""How many classes a data set has, told without decoding it."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentbench.bench.datasets import folder
from latentbench.bench.datasets.config import DataConfig
from latentbench.bench.datasets.labels import class_count
from latentbench.bench.datasets.procedural import classes
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.tokenizers.spec import Modality


@pytest.mark.parametrize("modality", list(Modality))
def test_embedded_data_have_the_kinds_of_structure(modality: Modality) -> None:
    assert class_count(DataConfig(modality=modality)) == len(classes(modality)) > 1


def test_a_folder_has_its_sub_folders(tmp_path: Path) -> None:
    for name in ("cats/a.png", "cats/b.png", "dogs/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert class_count(DataConfig(source="folder", path=str(tmp_path))) == 2
    assert class_count(DataConfig(source="folder", path=str(tmp_path), labels="none")) == 0
    assert class_count(DataConfig(source="folder", path=str(tmp_path / "cats"))) == 0


def test_what_only_reading_can_tell(tmp_path: Path) -> None:
    assert class_count(DataConfig(source="torchvision:CIFAR10", path=str(tmp_path))) is None
    assert class_count(DataConfig(source="folder", path=str(tmp_path / "none"))) is None
    assert class_count(DataConfig(source="folder")) is None


def test_a_folder_is_walked_once_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    walks: list[Path] = []
    walk = folder.walk
    monkeypatch.setattr(folder, "walk", lambda root, *rest: walks.append(root) or walk(root, *rest))
    prior = {"name": "flow", "flow": {"classes": 2}}
    suite = {
        "name": "labelled",
        "data": {"source": "folder", "path": str(tmp_path), "size": 16},
        "tokenizers": [{"recipe": "kl-vae", "downsample": 4, "grid": {"tsr": [12, 24]}}],
        "prior": prior,
    }
    make_plan(load_suite(suite), {})
    assert len(walks) == 1
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.png").touch()
    with pytest.raises(UserError, match="has 3 classes"):
        make_plan(load_suite(suite), {})
