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
