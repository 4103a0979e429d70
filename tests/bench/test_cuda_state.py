"""How a worker sets up its GPU, with a stub in torch.cuda's place."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from latentbench.bench import cuda_state
from latentbench.bench.hardware import deterministic
from latentbench.results.errors import UserError

UUIDS = {"cuda:0": "GPU-a", "cuda:3": "GPU-b"}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What torch is asked for; its switches are as before afterwards."""
    noted: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: noted.append(f"device {device}"))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share: noted.append(f"share {share}"))
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_, **options: noted.append(f"all {options}"))
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield noted
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)


@pytest.mark.usefixtures("calls")
def test_a_worker_sees_its_own_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cuda_state.visible("cpu", UUIDS) == torch.device("cpu")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert cuda_state.visible("cuda:3", UUIDS) == torch.device("cuda:0")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    assert cuda_state.visible("cuda:1", UUIDS) == torch.device("cuda:1")  # no name is known for it
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)  # a process that can't choose any more
    assert cuda_state.visible("cuda:3", UUIDS) == torch.device("cuda:3")


@pytest.mark.parametrize(("mode", "cudnn", "everything"), [("off", False, 0), ("auto", True, 0), ("on", True, 1)])
def test_what_repeats_its_bits(
    calls: list[str], monkeypatch: pytest.MonkeyPatch, mode: str, cudnn: bool, everything: int
) -> None:
    monkeypatch.setenv("LATENTBENCH_DETERMINISTIC", mode)
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    cuda_state.set_up(torch.device("cuda:0"), 0.5)
    assert calls == ["device cuda:0", "share 0.5", *["all {'warn_only': True}"] * everything]
    assert torch.backends.cudnn.deterministic is cudnn
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.benchmark
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == bool(everything)


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_DETERMINISTIC", "yes")
    with pytest.raises(UserError, match=r"^LATENTBENCH_DETERMINISTIC=yes: expected auto, on, or off$"):
        deterministic()
