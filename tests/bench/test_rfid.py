"""rFID of files on a disk: ours, from the folder to the number, against torch-fidelity's of the same two folders."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from latentbench.bench.datasets import open_dataset
from latentbench.bench.datasets.config import DataConfig
from latentbench.tasks.features import collect
from latentbench.tasks.interface import batches
from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance
from latentbench.tasks.nets import nets

CPU = torch.device("cpu")
SIZE, NUMBER = 24, 8


def random_tensors() -> dict[str, Tensor]:
    """Random weights of the right shapes that keep the size of what flows through them."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Empty(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *_: object, **__: object) -> None:
            """Nothing to load yet: the shapes are needed first."""

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    shapes = {k: v.shape for k, v in Empty("x", ["2048"], feature_extractor_weights_path=empty).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith("_tracked"):
            tensors[name] = torch.zeros(shape, dtype=torch.int64)
        elif name.endswith(("var", "bn.weight")):
            tensors[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            scale = 0.1 if len(shape) < 2 else (2 / shape[1:].numel()) ** 0.5
            tensors[name] = torch.randn(shape, generator=generator) * scale
    return tensors


@pytest.fixture
def weights_file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One file that both read, as torch-fidelity's strict loader wants it, with a classifier: the real weights, or
    random ones where those are not on the machine."""
    try:
        folder: Path = request.getfixturevalue("shared_data")
        tensors = load_file(folder / "weights" / "fid_inception_2015-12-05_nofc.safetensors")
    except (pytest.skip.Exception, OSError):
        tensors = random_tensors()
    else:
        tensors |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    path = tmp_path / "weights" / "weights-inception-2015-12-05-6726825d.pth"
    path.parent.mkdir()
    torch.save(tensors, path)
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(path.parent))
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """PNG files of smooth pictures, and the same a little noisier."""
    generator = np.random.default_rng(0)
    paths = tmp_path / "originals", tmp_path / "reconstructions"
    for path in paths:
        path.mkdir()
    for i in range(NUMBER):
        small = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        pixels = np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        noisy = np.clip(pixels + generator.normal(0, 12, pixels.shape), 0, 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(paths[0] / f"{i}.png")
        Image.fromarray(noisy).save(paths[1] / f"{i}.png")
    return paths


def features(folder: Path, cache: Path) -> Tensor:
    """Of all files of the folder, as a run reads them."""
    config = DataConfig(source="folder", path=str(folder), size=SIZE, val=NUMBER // 2)
    data = open_dataset(config, cache=cache)
    net = nets.get("inception")().load(data.signal, CPU)
    return torch.cat([collect(net, batches(split, 4, CPU)) for split in (data.train, data.val)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch-fidelity's
def test_rfid_is_torch_fidelitys(folders: tuple[Path, Path], weights_file: Path, tmp_path: Path) -> None:
    from torch_fidelity import metric_fid, utils

    options = {"cuda": False, "verbose": False, "feature_extractor_weights_path": str(weights_file)}
    extractor = utils.create_feature_extractor("inception-v3-compat", ["2048"], **options)
    theirs = [
        utils.extract_featuresdict_from_input_id(
            1, extractor, input1=str(folder), batch_size=4, save_cpu_ram=True, **options
        )["2048"]
        for folder in folders
    ]
    one, two = (features(folder, tmp_path / "cache") for folder in folders)
    assert one.shape == two.shape == (NUMBER, 2048)
    # In the span of all features, where both Gaussians lie: theirs takes ten seconds for 2048 eigenvalues.
    basis = torch.linalg.qr(torch.cat(theirs).double().T).Q
    statistics = [metric_fid.fid_features_to_statistics(part.double() @ basis) for part in theirs]
    expected = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    ours = frechet_distance(two, FrechetReference.of(one))
    assert ours == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert ours > 0.05
