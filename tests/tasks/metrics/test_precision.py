from __future__ import annotations

import torch

from latentbench.tasks.metrics.precision import full_precision


def test_training_precision_is_put_aside_and_put_back() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        x = torch.rand(4, 4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with full_precision():
                assert torch.get_float32_matmul_precision() == "highest"
                assert (x @ x).dtype == torch.float32
            assert (x @ x).dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
