"""`tests/perf/gpu.py` goes through on a CPU; what it would measure on a GPU is measured there alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "perf" / "gpu.py"


def ran(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", str(SCRIPT), *options], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_it_goes_through_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.md"
    result = ran("--device", "cpu", "--quick", "--seconds", "0.1", "--out", str(out))
    assert result.returncode == 0, result.stderr
    text = out.read_text()
    assert text.strip() == result.stdout.strip()
    titles = [line.split(":")[0].removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["Doctor", "Correctness", "Determinism", "Memory", "Speed", "Sharing"]
    assert "| fsq | 0.0e+00 | 0.0e+00 |" in text
    assert "| fsq | same bits |" in text
    dashes = {cell for line in text.splitlines() if line.startswith("|") for cell in line.split(" | ") if "–" in cell}
    assert {cell.strip(" |") for cell in dashes} == {"– on a GPU alone", "– no MPS here"}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    result = ran()
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("no CUDA device")
