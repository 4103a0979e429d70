"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data and weights (`LATENTBENCH_TEST_DATA`, else `../shared/data`); skips when absent."""
    folder = Path(os.environ.get("LATENTBENCH_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not present: {folder} (set LATENTBENCH_TEST_DATA)")
    return folder


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    # Tiny tensors: on busy cores a second thread costs far more than it brings.
    torch.set_num_threads(1)
