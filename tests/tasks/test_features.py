"""Streaming features through a net."""

from __future__ import annotations

import torch
from torch import Tensor

from latentbench.tasks.features import collect
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
