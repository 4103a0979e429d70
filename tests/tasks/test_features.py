"""Streaming features through a net."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.distances import REFERENCE, Reference, mapped_features
from latentbench.tasks.features import collect, write_features
from latentbench.tasks.interface import FeatureNet


class _Mean(FeatureNet):
    name, dim, protocol = "mean", 2, "mean"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bool] = []

    def forward(self, signal: Tensor) -> Tensor:
        self.seen.append(torch.backends.cudnn.allow_tf32 or torch.is_autocast_enabled("cpu") or torch.is_grad_enabled())
        return (signal @ torch.ones(4, 2)).double()


def test_collect_streams_in_full_precision() -> None:
    net = _Mean()
    x = torch.randn(5, 4)
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = collect(net, iter(x.split(2)))
    torch.testing.assert_close(features, x.sum(1, keepdim=True).expand(5, 2))
    assert features.dtype == torch.float32
    assert net.seen == [False, False, False]
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    assert collect(net, []).shape == (0, 2)


@pytest.mark.parametrize("ended_at", [2, 4])
def test_features_go_to_their_file_and_on_where_they_were_ended(
    ended_at: int, toys: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentbench.tasks.partial_files.SECONDS", 0.0)
    split, net, told = toys.Data(train=33).train, toys.Pixels(), []
    options: dict[str, Any] = {"device": torch.device("cpu"), "batch_size": 7}

    def ends(done: int, total: int, message: str) -> None:
        told.append(done)
        if len(told) == ended_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_features(net, split, tmp_path, progress=ends, **options)
    write_features(net, split, tmp_path, progress=ends, **options)
    write_features(net, split, tmp_path, progress=ends, **options)  # there is nothing left to do
    assert told == [7, 14, 21, 28, 33]
    stored = mapped_features(tmp_path)
    assert torch.equal(stored, net(split.data))
    whole, apart = Reference.of(net(split.data), "train"), Reference.of(stored, "train")
    whole.save(tmp_path / "whole")
    apart.save(tmp_path)
    assert (tmp_path / REFERENCE).stat().st_size < (tmp_path / "whole" / REFERENCE).stat().st_size
    for folder in (tmp_path, tmp_path / "whole"):
        again = Reference.load(folder, "train")
        assert torch.equal(again.features, whole.features)
        assert torch.equal(again.frechet.factor, whole.frechet.factor)
        assert again.manifold is not None
        assert whole.manifold is not None
        assert torch.equal(again.manifold.radii, whole.manifold.radii)


def test_a_damaged_file_of_features_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "features.npy").write_bytes(b"x")
    with pytest.raises(UserError, match=r"features.npy: not a file of features"):
        mapped_features(tmp_path)
