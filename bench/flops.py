"""Counting floating-point operations: one multiply-add is two; normalisations and activations count nothing."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.utils import flop_counter
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

Shape = tuple[int, ...]

# It is wrapped for torch's compiler, all of which would be imported for the first count: see `tokenizers.optimisers`.
_MODE: Any = flop_counter._FlopCounterMode
_MODE.__torch_dispatch__ = inspect.unwrap(_MODE.__torch_dispatch__)


def counter() -> FlopCounterMode:
    """A context in which operations are counted, the same on every device; see `get_total_flops`.

    Torch knows the fused attention of GPUs but not the CPU's, for which it would count nothing. As on GPUs, a causal
    mask saves nothing, and the backward pass counts the scores that it computes again.
    """
    aten = torch.ops.aten
    mapping = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))
