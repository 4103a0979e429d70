from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from latentbench.bench.datasets import DataConfig, open_dataset
from latentbench.tasks.interface import Dataset, batches
from latentbench.tasks.memory_mapped import MemoryMapped
from latentbench.tokenizers.spec import Modality

CPU = torch.device("cpu")


def test_batches_cover_the_split(cache: Path) -> None:
    data: Dataset = open_dataset(DataConfig(samples=50, val=10, size=16), cache=cache)
    whole = torch.cat(list(batches(data.train, 16, CPU)))
    assert whole.shape == (50, 3, 16, 16)
    assert torch.equal(whole[[7, 3]], data.train.batch(np.array([7, 3]), CPU))
    assert whole.min() >= -1
    assert whole.max() <= 1


@pytest.mark.parametrize("indices", [[50], [-1]])
def test_indices_outside_are_an_error(indices: list[int], cache: Path) -> None:
    data = open_dataset(DataConfig(samples=50, val=10, size=16), cache=cache)
    with pytest.raises(IndexError, match=r"\[0, 50\)"):
        data.train.batch(np.array(indices), CPU)


def test_a_batch_is_the_callers_own(cache: Path) -> None:
    data = open_dataset(DataConfig(samples=50, val=10, size=16), cache=cache)
    first = data.train.batch(np.arange(4), CPU)
    saved = first.clone()
    first.zero_()
    assert torch.equal(data.train.batch(np.arange(4), CPU), saved)


def test_extremes_of_the_integers(cache: Path) -> None:
    data = open_dataset(DataConfig(samples=50, val=10, size=16), cache=cache)
    split = data.train
    split._samples = MemoryMapped(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    assert split.batch(np.arange(2), CPU).flatten().tolist() == [-1.0, 1.0]
    split._samples = MemoryMapped(np.array([-32768, 16384], np.int16).reshape(2, 1, 1))
    assert split.batch(np.arange(2), CPU).flatten().tolist() == [-1.0, 0.5]


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.SPECTROGRAM])
def test_pickles_for_another_process(modality: Modality, cache: Path) -> None:
    data = open_dataset(DataConfig(samples=10, val=10, modality=modality), cache=cache)
    expected = data.val.batch(np.arange(10), CPU)
    copy = pickle.loads(pickle.dumps(data.val))
    assert torch.equal(copy.batch(np.arange(10), CPU), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("share", [0.0, 0.05])
def test_gpu_gives_the_same(share: float, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentbench.tasks.memory_mapped.RESIDENT_SHARE", share)
    gpu = torch.device("cuda")
    for modality in Modality:
        data = open_dataset(DataConfig(samples=50, val=10, size=16, modality=modality), cache=cache)
        indices = np.array([4, 2, 49])
        torch.testing.assert_close(data.train.batch(indices, gpu).cpu(), data.train.batch(indices, CPU))
        assert (data.train._samples._resident[gpu] is None) == (share == 0.0)
