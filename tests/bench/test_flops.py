"""Counted operations against closed forms."""

from __future__ import annotations

import sys
from inspect import unwrap
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import flop_counter

from latentbench.bench import flops


@pytest.mark.parametrize("causal", [False, True])
def test_fused_attention_counts(causal: bool) -> None:
    query, key, value = torch.randn(3, 2, 4, 8, 16, requires_grad=True)
    with flops.counter() as counter:
        nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal).sum().backward()
    # queries x keys and scores x values forward; backward the scores again and four products (Dao et al. 2022)
    product = 2 * 2 * 4 * 8 * 8 * 16
    assert counter.get_total_flops() == (2 + 5) * product


def test_attention_over_a_longer_context() -> None:
    query, key = torch.randn(2, 4, 8, 16), torch.randn(2, 4, 32, 16)
    with flops.counter() as counter:
        nn.functional.scaled_dot_product_attention(query, key, key)
    assert counter.get_total_flops() == 2 * (2 * 2 * 4 * 8 * 32 * 16)


def test_linear_and_convolution_without_torch_s_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    dispatch: Any = unwrap(flop_counter._FlopCounterMode.__torch_dispatch__)
    monkeypatch.delattr(dispatch, "__dynamo_disable", raising=False)
    x = torch.randn(3, 4, 10, 10)
    with flops.counter() as counter:
        nn.Conv2d(4, 6, 3, padding=1)(x)
        nn.Linear(10, 5)(x)
    assert counter.get_total_flops() == 2 * 3 * 100 * 4 * 6 * 9 + 2 * 3 * 4 * 10 * 10 * 5
