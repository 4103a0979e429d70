"""Tensors on disk: whole or not at all, and one line when there is no room."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from latentbench.results.errors import UserError
from latentbench.tasks.tensors import save_tensors


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 1000 bytes; no longer than needed, since the test run's own log is a file too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_round_trip_of_views_shared_and_channels_last(tmp_path: Path) -> None:
    base = torch.randn(4, 6, 5, 5)
    tensors = {"a": base, "b": base[:, ::2].transpose(0, 1), "c": base.to(memory_format=torch.channels_last)}
    save_tensors(tmp_path / "x", tensors, {"note": "n"})
    read = load_file(tmp_path / "x")
    assert all(torch.equal(read[name], value) for name, value in tensors.items())
    with safe_open(tmp_path / "x", framework="pt") as file:
        assert file.metadata() == {"note": "n"}


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", {"a": torch.ones(3)})
    message = f"^cannot write {tmp_path}/x: File too large$"
    with full_disk(), pytest.raises(UserError, match=message) as caught:
        save_tensors(tmp_path / "x", {"a": torch.ones(3000)})
    assert isinstance(caught.value.__cause__, OSError)
    assert torch.equal(load_file(tmp_path / "x")["a"], torch.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_folder_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^cannot write .*/file/x: "):
        save_tensors(tmp_path / "file" / "x", {"a": torch.ones(3)})
