"""The bench of the first hour on a GPU, where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[1] / "perf" / "gpu.py"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so() -> None:
    done = subprocess.run([sys.executable, "-P", str(BENCH)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "CUDA" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_it_goes_through_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-P", str(BENCH), "--device", "cpu", "--quick", "--seconds", "0.1"]
    done = subprocess.run([*command, "--out", str(tmp_path / "gpu.md")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "gpu.md").read_text()
    for title in ("Correctness", "Determinism", "Memory", "Speed", "Sharing"):
        assert f"## {title}" in text
    assert "| fsq | 0.0e+00 | 0.0e+00 |" in text
