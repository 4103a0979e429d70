"""The `doctor` command: versions, devices, weights and caches, to see a problem before a run does. Torch-free."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..tokenizers import weights
from . import hardware
from .datasets import default_cache

_PACKAGES = (
    "latentbench",
    "torch",
    "torchvision",
    "torchaudio",
    "av",
    "numpy",
    "scipy",
    "pandas",
    "lpips",
    "torch-fidelity",
)


def examine() -> str:
    """A page of facts about this installation."""
    lines = [f"python       {platform.python_version()} ({sys.executable})"]
    lines += [f"{name:12} {_version(name)}" for name in _PACKAGES]
    lines += ["", "devices"]
    machine = hardware.machine("cpu")
    (cpu,) = machine.devices
    lines.append(f"  cpu        {machine.cores} cores, {cpu.memory / 2**30:.1f} GiB for jobs")
    present = hardware.gpus()
    for i, gpu in enumerate(present):
        lines.append(f"  cuda:{i}     {gpu.name}, {gpu.memory / 2**30:.1f} GiB")
    unusable = "" if present else hardware.unusable_gpu()
    lines += [f"  {unusable}"] if unusable else []
    lines += ["", "weights (looked up, never downloaded; set LATENTBENCH_WEIGHTS to a folder that holds them)"]
    for name, path, what in weights.doctor_rows():
        lines.append(f"  {name:14} {f'found: {path}' if path else 'missing'}; for {what}")
    cache = default_cache()
    size = sum(p.stat().st_size for p in cache.rglob("*") if p.is_file()) if cache.is_dir() else 0
    free = shutil.disk_usage(_existing(cache)).free
    bound = os.environ.get("LATENTBENCH_CACHE_GB", "50")
    lines += [
        "",
        f"cache        {cache}: {size / 2**30:.2f} of {bound} GB used, {free / 2**30:.0f} GiB free on its disk",
    ]
    return "\n".join(lines)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
