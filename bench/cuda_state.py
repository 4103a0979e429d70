"""How a worker sets up torch on its GPU: which one it sees, its share of memory, precision, and which algorithms.

`LATENTBENCH_DETERMINISTIC` decides about the last: "off" leaves the choice to torch, "auto" (the default) has cuDNN
take convolutions that give the same bits each time, "on" also cuBLAS and torch's own operators, those excepted that
have no such form (each writes a warning to the job's log).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from .hardware import deterministic


def visible(device: str, uuids: Mapping[str, str]) -> torch.device:
    """The torch device of the machine's `device`: alone in sight, as cuda:0, where its name in `uuids` is known.

    Only a process that has not touched CUDA can still choose what it sees.
    """
    uuid = uuids.get(device)
    if not uuid or torch.cuda.is_initialized():
        return torch.device(device)
    os.environ["CUDA_VISIBLE_DEVICES"] = uuid
    return torch.device("cuda:0")


def set_up(device: torch.device, memory_fraction: float) -> None:
    """Make `device`, a GPU, the process's own, before anything is computed on it."""
    mode = deterministic()
    if mode == "on":  # read by cuBLAS when it starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.cuda.set_device(device)
    if memory_fraction < 1:  # what others run on the device must not fall with this job
        torch.cuda.set_per_process_memory_fraction(memory_fraction)
    # Metrics and comparisons between cells are float32; matrix products in bf16 are asked for by autocast alone.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = mode != "off"
    if mode == "on":
        torch.use_deterministic_algorithms(True, warn_only=True)
